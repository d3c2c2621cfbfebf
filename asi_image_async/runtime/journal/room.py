"""Room on the disk for the last rows of a journal: what is in flight when it is full is paid for already."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

from .broken import code

__all__ = ["Room"]

# A row takes three or four pages of the log, so this is for some hundred. Of a disk that has hardly more it
# is a part, or others would find it full.
_MOST = 4 * 2**20
_SHARE = 4
# Given back bit by bit: on one disk with the pictures, they would take it all.
_STEP = 64 * 2**10


class Room:
    """Bytes of a disk that a file without a name takes up, so that they are free again with the process.

    Where the system cannot set bytes aside there are none.
    """

    def __init__(self, folder: Path) -> None:
        self._left = 0
        self._opened = ExitStack()
        if hasattr(os, "posix_fallocate"):
            with suppress(OSError), ExitStack() as opened:
                size = min(_MOST, shutil.disk_usage(folder).free // _SHARE)
                self._file = opened.enter_context(tempfile.TemporaryFile(dir=folder))
                os.posix_fallocate(self._file.fileno(), 0, size)
                self._left, self._opened = size, opened.pop_all()

    def close(self) -> None:
        """Give back all of it."""
        self._opened.close()

    def gives_way(self, error: sqlite3.Error) -> bool:
        """Whether the error may be that there is no room (a quota says it otherwise), and now is more."""
        if not self._left or code(error) not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            return False
        self._left = max(0, self._left - _STEP)
        with suppress(OSError):
            self._file.truncate(self._left)
        return True
