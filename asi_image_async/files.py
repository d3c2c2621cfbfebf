"""A file is there whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

__all__ = ["sync_directory", "write_durably", "write_whole"]

# It can only be read by setting it, which no other thread should see half done: hence at import.
_UMASK = os.umask(0o022)
os.umask(_UMASK)


def write_whole(
    path: Path, data: bytes | Iterable[bytes], *, temporary_directory: Path | None = None
) -> None:
    """Write `data` to `path` so that a crash leaves the old file, the new one, or none: never a part.

    The bytes go to a temporary file on the same file system (beside `path`, or in
    `temporary_directory`), are flushed to the disk, and take the name in one step. That the name
    survives a power cut takes `sync_directory` too. Blocking. Raises OSError; the temporary file is
    then gone.
    """
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=temporary_directory or path.parent)
    try:
        with open(handle, "wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; a picture gets the permissions that open() would give it.
        os.chmod(name, 0o666 & ~_UMASK)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


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
