"""A file is there whole or not at all."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["replacing", "sync_directory", "write_durably", "write_whole"]

_numbers = itertools.count()


def write_whole(
    path: Path, data: bytes | Iterable[bytes], *, temporary_directory: Path | None = None
) -> None:
    """Write `data` to `path` so that a crash leaves the old file, the new one, or none: never a part.

    The bytes go to a temporary file on the same file system (beside `path`, or in
    `temporary_directory`), are flushed to the disk, and take the name in one step. That the name
    survives a power cut takes `sync_directory` too. Blocking. Raises OSError; the temporary file is
    then gone.
    """
    file = _new_file(temporary_directory or path.parent)
    try:
        with file:
            file.writelines([data] if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, path)
    except BaseException:
        Path(file.name).unlink(missing_ok=True)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place for somebody who writes by name: it becomes `path` once the block is left, whole, or is gone.

    What is there and is no file, such as /dev/stdout, is written to as it is.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        yield path
        return
    with _new_file(target.parent) as file:
        place = Path(file.name)
    try:
        yield place
        with open(place, "r+b") as written:
            os.fsync(written.fileno())
        os.replace(place, target)
    except BaseException:
        place.unlink(missing_ok=True)
        raise


def _new_file(directory: Path) -> IO[bytes]:
    # Not by `tempfile`, whose files are private: a picture gets the permissions of the user's other files.
    while True:
        try:
            return open(f"{directory}{os.sep}.{os.getpid()}-{next(_numbers)}.tmp", "xb")
        except FileExistsError:  # left by a process that had this number before, or by one on another machine
            pass


def write_durably(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole, so that it survives a crash once this has returned. Blocking."""
    write_whole(path, data)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Flush the names in `directory` to the disk, where the system can (not on Windows)."""
    if sys.platform == "win32":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
