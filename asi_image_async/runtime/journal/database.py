"""The file of a journal: its tables, who holds it, and whether it may be touched at all."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from ... import locks
from ...core.naming import item_key
from ...errors import JournalError
from .broken import code

__all__ = [
    "Claim",
    "Place",
    "State",
    "as_text",
    "check",
    "claim",
    "get_value",
    "held",
    "open_database",
    "reading",
    "set_value",
]

_APPLICATION_ID = 0x61736969  # "asii", in SQLite's header: whose file this is
_VERSION = 1
_PATIENCE = 60.0
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE items (
    key BLOB PRIMARY KEY,      -- naming.item_key: the request and its occurrence
    state TEXT NOT NULL,       -- State
    prompt TEXT,               -- of what is not done
    detail TEXT NOT NULL,      -- where the pictures are, or what went wrong
    updated REAL NOT NULL,     -- seconds since the epoch
    run INTEGER NOT NULL       -- that wrote this; of what is not done, the last whose list had it
) WITHOUT ROWID;
CREATE TABLE sends (
    at REAL NOT NULL,          -- seconds since the epoch
    by BLOB NOT NULL           -- the session that sent it
);
INSERT INTO meta VALUES ('salt', randomblob(16));
"""
# What is at the service. A run that is killed leaves it there, and the next one knows that it may be billed.
_FLIGHTS = """
CREATE TABLE IF NOT EXISTS flights (
    key BLOB PRIMARY KEY,      -- as in `items`
    prompt TEXT NOT NULL,
    images INTEGER NOT NULL    -- that are not counted as spent yet
) WITHOUT ROWID
"""
_LOST = """
REPLACE INTO items SELECT key, 'unknown', prompt, 'in flight when the run was killed', ?, ? FROM flights
WHERE typeof(key) = 'blob' AND length(key) = 16 AND typeof(prompt) = 'text'
AND key NOT IN (SELECT key FROM items WHERE state = 'done')
"""
# Whether there is a row that we never wrote. quick_check looks at the pages, and on a connection that
# only reads not at what a table's constraints say.
_STRANGE = """
SELECT NOT EXISTS (
    SELECT * FROM meta WHERE name = 'salt' AND typeof(value) = 'blob' AND length(value) = 16
) OR EXISTS (
    SELECT * FROM meta WHERE name IN ('run', 'spent', 'skipped') AND typeof(value) != 'integer'
    OR name = 'total' AND typeof(value) NOT IN ('integer', 'null')
    OR name = 'window' AND typeof(value) != 'real'
) OR EXISTS (
    SELECT * FROM items
    WHERE typeof(key) != 'blob' OR length(key) != 16 OR typeof(detail) != 'text'
    OR typeof(prompt) NOT IN ('text', 'null') OR coalesce(state, '') NOT IN ('done', 'failed', 'unknown')
)
"""
_MARKS = f"PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {_VERSION};"
# How often each request has come up so far: a table of the connection's own, kept beside the journal.
SEEN = "CREATE TEMP TABLE seen (digest BLOB PRIMARY KEY, n INTEGER) WITHOUT ROWID"


class State(StrEnum):
    """What became of an item; what has no row was never finished."""

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Claim(NamedTuple):
    """An item of this run: its key, how often its request stood before it, and what is known of it."""

    key: bytes
    occurrence: int
    state: State | None
    detail: str


@contextmanager
def held(path: Path) -> Iterator[Path]:
    """Hold a file beside the journal, and give its path; the system ends that with the process.

    Raises JournalError where another run has it.
    """
    if path.is_dir():
        raise JournalError(f"the journal {path} cannot be used: it is a folder", hint="Name a file in it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside the file itself: one journal by two names is still one.
    beside = Path(f"{os.path.realpath(path)}.lock")
    with ExitStack() as stack:
        if not _hold(beside, stack):
            raise JournalError(
                f"another run holds {path}{_holder(path)}",
                hint="Wait until it has ended, or choose another destination.",
            )
        yield beside


def _hold(beside: Path, stack: ExitStack) -> bool:
    if locks.AVAILABLE:
        return stack.enter_context(locks.alone(stack.enter_context(open(beside, "a+b")), wait=False))
    database = stack.enter_context(closing(sqlite3.connect(beside, timeout=0, isolation_level=None)))
    try:
        database.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        if code(error) == sqlite3.SQLITE_BUSY:
            return False
        raise
    return True


def open_database(path: Path | None) -> sqlite3.Connection:
    """Open or create the database, None a temporary one; raises JournalError for one not to be touched."""
    if path is not None and path.exists():
        _look_before_touching(path)
    # An empty name is a temporary database that SQLite spills to the disk. While another program, such as one
    # that makes a copy, has its lock, it is waited for: what is to be written was paid for.
    database = sqlite3.connect(path or "", isolation_level=None, timeout=_PATIENCE)
    database.text_factory = _text
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA fullfsync = 1")  # for macOS, as in files.flush_to_disk
        if not _tables(database):
            database.executescript(f"BEGIN; {_MARKS} {_TABLES} COMMIT;")
        # What would undo a group's part of `seen` is little; on the disk it takes half the time of a claim.
        database.execute("PRAGMA temp.journal_mode = MEMORY")
        database.execute(SEEN)
        with database:  # one commit takes less of a disk that is nearly full, and one flush
            database.execute("BEGIN")
            set_value(database, "holder", f"process {os.getpid()}")
            run = get_value(database, "run") or 0
            database.execute(_FLIGHTS)
            database.execute(_LOST, (time.time(), run))
            (images,) = database.execute("SELECT sum(images) FROM flights").fetchone()
            if images:
                set_value(database, "spent", (get_value(database, "spent") or 0) + int(images))
            database.execute("DELETE FROM flights")
            set_value(database, "run", run + 1)
            set_value(database, "total", None)
            set_value(database, "skipped", 0)
    except BaseException:
        database.close()
        raise
    return database


def _look_before_touching(path: Path) -> None:
    """Through a connection that cannot write: an ordinary one would tidy the file when it is closed."""
    if Path(f"{path}-journal").exists():  # killed while it was made; undoing that takes writing
        with closing(sqlite3.connect(path)) as database:
            _tables(database)
    with reading(path) as database:
        check(database, path)


def reading(path: Path) -> closing[sqlite3.Connection]:
    """A connection that only reads, while a run writes too."""
    # What has no log is at rest: as an immutable one it is read without a file being left beside it,
    # and on a disk that cannot be written.
    mode = "mode=ro" if _log(path).exists() else "immutable=1"
    database = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=5)
    database.text_factory = _text
    return closing(database)


def check(database: sqlite3.Connection, path: Path) -> bool:
    """Whether anything has been written to it yet; raises JournalError for one not to be touched."""
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    begun = _tables(database) > 0
    if begun and application != _APPLICATION_ID:
        raise JournalError(f"{path} is a database of another program")
    if version > _VERSION:
        raise JournalError(
            f"{path} was written by a newer version of asi_image_async",
            hint="Update: pip install --upgrade asi_image_async",
        )
    (page_size,) = database.execute("PRAGMA page_size").fetchone()
    if path.stat().st_size % page_size and not _log(path).exists():  # SQLite would fill it up with zeros
        raise sqlite3.DatabaseError("its end is missing")
    (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)
    if begun and database.execute(_STRANGE).fetchone()[0]:
        raise sqlite3.DatabaseError("there is something in it that was not written by asi_image_async")
    return begun


class Place:
    """The files of a journal that is held: itself, its log, and the one it is held by."""

    def __init__(self, path: Path, beside: Path) -> None:
        self._path = path
        self._opened = [(each, os.stat(each)) for each in (path, _log(path), beside)]

    def check(self) -> None:
        """Raises JournalError where one of them is no longer there.

        SQLite writes on into a file that was removed, and nobody would ever read that.
        """
        with suppress(FileNotFoundError, NotADirectoryError):
            if all(os.path.samestat(os.stat(each), opened) for each, opened in self._opened):
                return
        raise JournalError(
            f"the journal {self._path} was moved, removed or replaced while it was in use",
            hint="Bring it back, then run the same again: without it all would be asked for again.",
        )


def claim(database: sqlite3.Connection, request_digest: bytes) -> Claim:
    """The next item for a request: the first is occurrence 0, and so on."""
    mine = (request_digest,)
    occurrence = 0
    if not database.execute("INSERT OR IGNORE INTO seen VALUES (?, 0)", mine).rowcount:
        # Without RETURNING, which the SQLite of RHEL 9 does not know.
        database.execute("UPDATE seen SET n = n + 1 WHERE digest = ?", mine)
        (occurrence,) = database.execute("SELECT n FROM seen WHERE digest = ?", mine).fetchone()
    key = item_key(request_digest, occurrence)
    row = database.execute("SELECT state, detail FROM items WHERE key = ?", (key,)).fetchone()
    state, detail = row or (None, "")
    return Claim(key, occurrence, state and State(state), detail)


def get_value(database: sqlite3.Connection, name: str) -> Any:
    """The value kept under a name, or None."""
    row = database.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return row and row[0]


def set_value(database: sqlite3.Connection, name: str, value: object) -> None:
    """Keep a value under a name."""
    database.execute("REPLACE INTO meta VALUES (?, ?)", (name, value))


def as_text(name: str) -> str:
    """A name as it can be kept: that of a file need not be Unicode, and SQLite's text is."""
    return name.encode(errors="backslashreplace").decode()


def _text(data: bytes) -> str:
    return data.decode(errors="replace")  # a letter that the disk has changed is no reason to stop


def _log(path: Path) -> Path:
    return Path(f"{os.path.realpath(path)}-wal")  # beside the file itself, not beside a link to it


def _tables(database: sqlite3.Connection) -> int:
    count: int = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return count


def _holder(path: Path) -> str:
    """Who it is, in brackets; one that has just begun may not have said so yet."""
    with suppress(sqlite3.Error), reading(path) as database:
        if name := get_value(database, "holder"):
            return f" ({name})"
    return ""
