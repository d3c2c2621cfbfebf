"""Locks on open files, which the system ends with the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

try:
    import fcntl
except ImportError:  # Windows, where a file in use cannot be removed anyway
    fcntl = None  # type: ignore[assignment]  # elsewhere it is a module

__all__ = ["alone", "lock"]


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
def alone(file: IO[bytes]) -> Iterator[None]:
    """Keep others, of other processes too, from writing to the file."""
    lock(file, exclusive=True, wait=True)
    try:
        yield
    finally:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_UN)
