"""Locks on open files, which the system ends with the process.

They are those of `flock`, which belong to the open file: one of POSIX, such as SQLite's, is gone as soon as
anything in the process, such as the copying of a folder, opens the file once more and closes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

try:
    import fcntl
except ImportError:  # Windows, where a file in use cannot be removed anyway
    fcntl = None  # type: ignore[assignment]  # elsewhere it is a module

__all__ = ["AVAILABLE", "alone", "lock"]

AVAILABLE = fcntl is not None


def lock(file: IO[bytes], *, exclusive: bool, wait: bool = False) -> bool:
    """Take the lock of a file; False where another has it."""
    if fcntl is None:
        return True
    flags = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(file, flags)
    except BlockingIOError:
        return False
    return True


@contextmanager
def alone(file: IO[bytes], *, wait: bool = True) -> Iterator[bool]:
    """Keep others, of other processes too, from doing the same; False where another does it already."""
    taken = lock(file, exclusive=True, wait=wait)
    try:
        yield taken
    finally:
        if fcntl is not None:  # by closing it is let go of only when no child process has it either
            fcntl.flock(file, fcntl.LOCK_UN)
