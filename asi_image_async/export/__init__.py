"""A folder of pictures in the forms that training tools read: WebDataset shards, Parquet, CSV.

In goes what a batch has left; the pictures go out as they are, byte for byte, with all that is known of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, SinkError
from ..folder import Tail, check_folder, check_output

__all__ = ["FORMATS", "Exported", "Line", "Lines", "export_folder", "read_picture"]

FORMATS = ("webdataset", "parquet", "csv")
Line = dict[str, Any]


@dataclass(frozen=True)
class Exported:
    """What was written: so many pictures, into these files."""

    pictures: int
    files: tuple[Path, ...]


class Lines:
    """What is known of each picture, read whenever it is asked for; of a name that comes again, the last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        tail = Tail(folder)
        # By where it ends: its number changes where a picture before it is taken away meanwhile.
        self._last = {line["file_name"]: tail.end for line in tail}

    def __iter__(self) -> Iterator[Line]:
        tail = Tail(self._folder)
        for line in tail:
            if self._last.get(line["file_name"]) == tail.end:
                yield line


def export_folder(folder: str | Path, to: str, path: str | Path) -> Exported:
    """Write the pictures of a folder in another form. Blocking; nothing but a picture at a time is in memory.

    `to` "webdataset": tar files, `path` is the first one's name or a folder for them. "parquet": one file, as
    `datasets` reads it with an image column. "csv": the lines without the pictures.

    Raises ConfigurationError for what is no folder, an unknown form, or where its library is missing,
    SinkError where `path` cannot be written, or a picture cannot be read.
    """
    folder, path = Path(folder), Path(path)
    check_folder(folder)
    check_output(folder, path)
    write = _writer(to)
    try:
        return write(folder, Lines(folder), path)
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror or error}") from error


def read_picture(path: Path) -> bytes:
    """Its bytes; raises SinkError where they cannot be read, such as when it was taken away meanwhile."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SinkError(
            f"cannot read {path}: {error.strerror or error}", hint="Run the same again, or look at that file."
        ) from error


def _writer(to: str) -> Callable[[Path, Lines, Path], Exported]:
    match to:
        case "webdataset":
            from .shards import write_shards

            return write_shards
        case "parquet":
            from .table import write_parquet

            return write_parquet
        case "csv":
            from .table import write_csv

            return write_csv
    raise ConfigurationError(f"{to!r} is no form that is known", hint=f"There are {', '.join(FORMATS)}.")
