"""A file is there whole or not at all."""

from __future__ import annotations

import errno
import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # elsewhere it is a module

__all__ = ["Draft", "flush_to_disk", "replacing", "sync_directory", "write_durably", "write_whole"]

_numbers = itertools.count()


class Draft:
    """A file on its way to a name: written, then flushed, then named; or discarded.

    It is a temporary one in `directory`, which is on the file system of its name. Of many, all are best
    written before the first is flushed, and flushed before the first is named: what the disk does for one it
    then does for all. Blocking. Raises OSError.
    """

    def __init__(self, data: bytes | Iterable[bytes], directory: Path) -> None:
        self._file = _new_file(directory)
        try:
            self._file.writelines([data] if isinstance(data, bytes) else data)
            self._file.flush()
            _leave_memory(self._file)
        except BaseException:
            self.discard()
            raise

    def flush(self) -> None:
        """Wait until the bytes would survive a power cut."""
        with self._file:
            flush_to_disk(self._file.fileno())
            _leave_memory(self._file)

    def take_name(self, path: str | Path) -> None:
        """Be `path` from one moment to the next; that this survives a power cut takes `sync_directory`."""
        os.replace(self._file.name, path)

    def discard(self) -> None:
        """Be gone, if it has no name yet."""
        with suppress(OSError):  # what is to be written yet finds no room
            self._file.close()
        with suppress(OSError):  # then it is for who looks for leftovers
            os.unlink(self._file.name)


def flush_to_disk(descriptor: int) -> None:
    """Wait until what is written would survive a power cut; raises OSError.

    On macOS `fsync` leaves it in the drive's own cache (its manual, fsync(2)); F_FULLFSYNC does not.
    """
    if hasattr(fcntl, "F_FULLFSYNC"):
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
        except OSError as error:  # some file systems, such as those of shares, know no such thing
            if error.errno in (errno.EIO, errno.ENOSPC):  # a flush that failed is not asked twice
                raise
    os.fsync(descriptor)


def write_whole(
    path: Path, data: bytes | Iterable[bytes], *, temporary_directory: Path | None = None
) -> None:
    """Write `data` to `path` so that a crash leaves the old file, the new one, or none: never a part.

    It is a draft beside `path`, or in `temporary_directory`, before. That the name survives a power cut takes
    `sync_directory` too. Blocking. Raises OSError.
    """
    draft = Draft(data, temporary_directory or path.parent)
    try:
        draft.flush()
        draft.take_name(path)
    except BaseException:
        draft.discard()
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place for somebody who writes by name: it becomes `path` once the block is left, whole, or is gone.

    What is there and is no file, such as /dev/stdout, is written to as it is.
    """
    if path.exists() and not path.is_file():  # of a pipe's /dev/stdout the real path is of no file
        yield path
        return
    target = Path(os.path.realpath(path))
    with _new_file(target.parent) as file:
        place = Path(file.name)
    try:
        yield place
        with open(place, "r+b") as written:
            flush_to_disk(written.fileno())
        os.replace(place, target)
    except BaseException:
        place.unlink(missing_ok=True)
        raise


def _leave_memory(file: IO[bytes]) -> None:
    """What is on the disk leaves the page cache, and the disk begins with what is not; on Linux.

    So a million pictures push nothing of other programs out of it, and the same pages are used again: in a
    virtual machine, whose host has to find new ones, that is twice as fast.
    """
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):  # it is advice: a small kernel does without
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _new_file(directory: Path) -> IO[bytes]:
    # Not by `tempfile`, whose files are private: a picture gets the permissions of the user's other files.
    while True:
        try:
            return open(f"{directory}{os.sep}.{os.getpid()}-{next(_numbers)}.tmp", "xb")
        except FileExistsError:  # left by a process that had this number before, or by one on another machine
            pass


def write_durably(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole, so that it survives a crash once this has returned.

    Blocking. Raises OSError, which names `path`, not the temporary file.
    """
    try:
        write_whole(path, data)
        sync_directory(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    except ValueError as error:  # a name that no system takes, such as one with a NUL
        raise OSError(errno.EINVAL, str(error), str(path)) from error


def sync_directory(directory: Path) -> None:
    """Flush the names in `directory` to the disk, where that can be done; raises OSError where it fails.

    Not on Windows, nor on many shared folders (of Samba, of VirtualBox), nor where the folder may be written
    to and not be read.
    """
    if sys.platform == "win32":
        return
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except PermissionError:
        return
    try:
        flush_to_disk(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)
