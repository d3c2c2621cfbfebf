"""`metadata.jsonl`: a line for each picture of a folder, to which several sinks may add at once."""

from __future__ import annotations

import codecs
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from pydantic_core import to_json

from ...files import flush_to_disk, sync_directory, write_whole
from ...folder import METADATA, read_line
from ...locks import alone
from ...models import Generation, Image

__all__ = ["Metadata", "line_of", "tidy"]


class Metadata:
    """The file, open to be added to. Blocking. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / METADATA
        self._file = open(self._path, "a+b", buffering=0)
        try:
            self._end_last_line()
        except BaseException:
            self._file.close()
            raise

    def _end_last_line(self) -> None:
        """Whoever edited the file by hand may have left it without its last newline."""
        with alone(self._file):
            if self._file.seek(0, os.SEEK_END) > 0:
                self._file.seek(-1, os.SEEK_END)
                if self._file.read(1) != b"\n":
                    self._file.write(b"\n")

    def is_in_its_place(self) -> bool:
        """Whether it is still the one that is in the folder of this name."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._file.fileno()))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def add(self, lines: bytes) -> None:
        """Add whole lines: all of them, or none where there is no room."""
        with alone(self._file):
            end = os.fstat(self._file.fileno()).st_size
            if self._file.write(lines) != len(lines):
                self._file.truncate(end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def flush(self) -> None:
        """Wait until the lines would survive a power cut."""
        flush_to_disk(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def line_of(generation: Generation, image: Image, file_name: str) -> bytes:
    """A picture's line; a column of the user's that is named as one of ours is `given_NAME`.

    Where that is a name of the user's too, it is `given_given_NAME`, and so on.
    """
    request = generation.request
    created = generation.created
    ours = {
        **({"id": request.id} if request.id is not None else {}),
        "file_name": file_name,
        "prompt": request.prompt,
        "revised_prompt": generation.revised_prompt,
        "size": request.size,
        "model": request.model,
        "width": image.width,
        "height": image.height,
        "mime_type": image.mime_type,
        "created": created and created.isoformat(),
        "attempts": generation.attempts,
        "elapsed": round(generation.elapsed, 3),
    }
    given = {**request.metadata, **request.sent_beside}
    line = {name: value for name, value in given.items() if name not in ours}
    for name in [each for each in given if each in ours]:
        free = f"given_{name}"
        while free in line:
            free = f"given_{free}"
        line[free] = given[name]
    return to_json({**line, **ours}) + b"\n"


def tidy(folder: Path, temporary_directory: Path) -> None:
    """Leave no torn line, one line a picture (the last), no line without one. Blocking. Raises OSError."""
    path = folder / METADATA
    if not path.is_file():  # nor where it leads to a device, which may have no end
        return
    last = {name: number for number, (name, _) in enumerate(_read(path))}
    kept = (
        line
        for number, (name, line) in enumerate(_read(path))
        if last.get(name, number) == number
        and os.path.isfile(folder / name)  # a name may be longer than any file's
    )
    write_whole(path, kept, temporary_directory=temporary_directory)
    sync_directory(folder)


def _read(path: Path) -> Iterator[tuple[str, bytes]]:
    with open(path, "rb") as file:
        for line in file:
            read = read_line(line)
            if read is not None:
                yield read["file_name"], line.removeprefix(codecs.BOM_UTF8).rstrip(b"\n") + b"\n"
