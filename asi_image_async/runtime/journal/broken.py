"""What an error of SQLite or of the system says of a journal, and what to do about it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ...errors import JournalError

__all__ = ["as_journal_error", "code", "full"]

# SQLite's primary result codes that speak of the place; all others speak of the file.
_THE_PLACE = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}


def as_journal_error(error: Exception, path: Path | None) -> Exception:
    """The errors of SQLite and of the system as ours, with what to do."""
    if isinstance(error, JournalError) or not isinstance(error, sqlite3.Error | OSError | ValueError):
        return error
    if not isinstance(error, sqlite3.Error) or code(error) in _THE_PLACE:
        return _unusable(path, getattr(error, "strerror", None) or str(error))
    return JournalError(
        f"the journal {path} is damaged: {error}",
        hint="Nothing was changed. Move it aside to begin anew (what it lists as done would be asked for"
        " again), or bring back a copy.",
    )


def full(path: Path | None) -> JournalError:
    """The error where there is no room."""
    return _unusable(path, "the disk is full")


def _unusable(path: Path | None, why: str) -> JournalError:
    return JournalError(
        f"the journal {path} cannot be used: {why}",
        hint="Check that its folder can be written and that the disk is not full.",
    )


def code(error: sqlite3.Error) -> int | None:
    """SQLite's primary result code."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
