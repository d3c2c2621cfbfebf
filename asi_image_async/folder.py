"""A folder of pictures as a batch leaves it: what is where, and `metadata.jsonl` line by line."""

from __future__ import annotations

import codecs
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from .errors import ConfigurationError

__all__ = [
    "METADATA",
    "STATE",
    "Tail",
    "check_encoding",
    "check_folder",
    "check_output",
    "has_metadata",
    "is_file",
    "is_picture_of",
    "journal_path",
    "read_line",
    "sidecar_of",
]

STATE = ".asi-image"  # hidden, so that loaders of image folders pass it over
METADATA = "metadata.jsonl"
_READ_AS_METADATA = (METADATA, "metadata.csv", "metadata.parquet")  # by `datasets`, which takes only one
_SUFFIXES = (".jpg", ".png", ".webp", ".gif", ".avif")


def journal_path(folder: str | Path) -> Path:
    """Where the journal of a batch is."""
    return Path(folder) / STATE / "journal.sqlite"


def sidecar_of(picture: Path) -> Path:
    """Where the recipe of a picture is, where it stands beside it."""
    return picture.with_name(f"{picture.name}.json")


def is_file(path: Path) -> bool:
    """Whether a file is there; raises OSError where that cannot be told (`Path` no longer does, in 3.14)."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the path
        return False


def has_metadata(folder: Path) -> bool:
    """Whether the folder has its `metadata.jsonl`. Raises ConfigurationError where that cannot be read."""
    file = folder / METADATA
    try:
        there = is_file(file)
        check_encoding(file)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {file}: {error.strerror or error}", hint="Check its path, and that you may read it."
        ) from None
    return there


def check_encoding(metadata: Path) -> None:
    """Raises ConfigurationError for UTF-16, as some programs save what they edit, and OSError."""
    if is_file(metadata):
        with open(metadata, "rb") as file:
            if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                raise ConfigurationError(f"{metadata} is UTF-16", hint="Save it as UTF-8 again.")


def check_folder(folder: Path) -> None:
    """Raises ConfigurationError for what is no folder of a batch, or cannot be read."""
    if not has_metadata(folder):
        raise ConfigurationError(
            f"{folder} is no folder of a batch: it has no {METADATA}",
            hint="Name the folder that its pictures went to.",
        )


def check_output(folder: Path, path: Path) -> None:
    """Raises ConfigurationError where writing to `path` would destroy what a batch has left in the folder."""
    path, folder = path.parent.resolve() / path.name, folder.resolve()  # a link is replaced, not followed
    ours = path.name in _READ_AS_METADATA or is_picture_of(folder, path.name.removesuffix(".json"))
    if (path.parent == folder and ours) or folder / STATE in (path, *path.parents):
        raise ConfigurationError(f"{path} belongs to the batch", hint="Name another file.")


class Tail:
    """The lines that have come since they were read last, as objects; `end` is the byte after the last.

    A line whose picture is not in the folder is passed over, and so is one that is torn, or names another
    place: the folder may have come from somebody else. The last one may be without its end, as some editors
    leave it. `since`: the `place` at which another one was.
    """

    def __init__(self, folder: Path, since: str = "") -> None:
        self._folder = folder
        self._file = folder / METADATA
        known = re.fullmatch(r"(\d{1,20})-(\d{1,40})", since, re.ASCII)
        self.end, self._inode = map(int, known.groups()) if known else (0, 0)

    @property
    def place(self) -> str:
        """Where it is, and in which file: a tidied one is another, and may have grown since."""
        return f"{self.end}-{self._inode}"

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if not os.path.isfile(self._file):
            return
        with open(self._file, "rb") as file:
            now = os.fstat(file.fileno())
            if now.st_ino != self._inode or now.st_size < self.end:  # what is told again does no harm
                self.end, self._inode = 0, now.st_ino
            file.seek(self.end)
            for line in file:
                read = read_line(line)
                if read is None and not line.endswith(b"\n"):  # it is being written
                    return
                self.end += len(line)
                if read is not None and is_picture_of(self._folder, read["file_name"]):
                    yield read


def read_line(line: bytes) -> dict[str, Any] | None:
    """A line of `metadata.jsonl`; None for what is none, or was torn by a crash."""
    try:
        read = from_json(line.removeprefix(codecs.BOM_UTF8))  # some editors put it before the first
    except ValueError:
        return None
    is_line = isinstance(read, dict) and isinstance(read.get("file_name"), str)
    return read if is_line else None


def is_picture_of(folder: Path, name: str) -> bool:
    """Whether a name is that of a picture in the folder: not hidden, and in no other place."""
    # On Windows "D:fox.jpg" is a file of another drive.
    elsewhere = {"/", "\\", "\0", *(":" if sys.platform == "win32" else "")}
    plain = not name.startswith(".") and not elsewhere & set(name)
    return plain and name.lower().endswith(_SUFFIXES) and os.path.isfile(folder / name)
