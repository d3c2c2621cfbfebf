"""Room on the disk for the last rows of a journal: what is in flight when it is full is paid for already."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from .broken import code

__all__ = ["Reserve"]

# A row takes three or four pages of the log; as many rows as there are requests in flight are to have room.
_BYTES = 512 * 2**10


class Reserve:
    """Bytes that a file beside the journal takes up, until they are given to the journal.

    Where the system cannot set bytes aside, or has no room for them, there are none.
    """

    def __init__(self, beside: Path) -> None:
        self._beside = beside
        self._is_there = False
        if hasattr(os, "posix_fallocate"):
            with suppress(OSError), open(beside, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, _BYTES)
                self._is_there = True

    def gives_room(self, error: sqlite3.Error) -> bool:
        """Whether the error was that there is no room, and there is some now."""
        if not self._is_there or code(error) != sqlite3.SQLITE_FULL:
            return False
        self.let_go()
        return True

    def let_go(self) -> None:
        """Take up no room."""
        if self._is_there:
            self._is_there = False
            with suppress(OSError):
                os.truncate(self._beside, 0)
