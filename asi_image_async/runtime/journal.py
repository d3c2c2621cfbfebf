"""What was finished, kept so that no crash forgets it: sole owner of sqlite3.

One thread does all the work on the database; whatever has come in while it was busy becomes one commit.
"""

from __future__ import annotations

import asyncio
import os
import queue
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from ..core.naming import item_key
from ..errors import JournalError

__all__ = ["Claim", "Journal", "JournalSummary", "State", "read_summary"]

T = TypeVar("T")

_APPLICATION_ID = 0x61736969  # "asii", in SQLite's header: whose file this is
_VERSION = 1
_LARGEST_GROUP = 1000
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE items (
    key BLOB PRIMARY KEY,      -- naming.item_key: the request and its occurrence
    state TEXT NOT NULL,       -- State
    prompt TEXT,               -- of what is not done
    detail TEXT NOT NULL,      -- where the pictures are, or what went wrong
    updated REAL NOT NULL      -- seconds since the epoch
) WITHOUT ROWID;
CREATE INDEX items_not_done ON items (state) WHERE state != 'done';
"""


class State(StrEnum):
    """What became of an item; what has no row was never finished."""

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Claim:
    """An item of this run: its key, how often its request stood before it, and what is known of it."""

    key: bytes
    occurrence: int
    state: State | None
    detail: str


class Journal:
    """The journal of one destination, held by one run at a time.

    `path` None is a temporary one, forgotten when it is closed. `ask_unknown_again` False leaves alone
    what may have been billed without a picture. Opening raises JournalError where another run holds
    it, where it is damaged or of a newer version, and where it cannot be written.
    """

    def __init__(self, path: str | Path | None, *, ask_unknown_again: bool = True) -> None:
        self.path = None if path is None else Path(path)
        self.ask_unknown_again = ask_unknown_again
        self.salt = b""
        self._work: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        opened = self._loop.create_future()
        self._thread = threading.Thread(
            target=self._serve, args=(opened,), name="asi-image-journal", daemon=True
        )
        self._thread.start()
        self.salt = await opened
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._work.put(None)
            # The thread ends by itself when its work is done; a cancelled close need not wait for it.
            await asyncio.shield(self._loop.run_in_executor(None, thread.join))

    async def claim(self, request_digest: bytes) -> Claim:
        """Take the next item for a request in this run: the first is occurrence 0, and so on."""
        return await self._do(lambda database: _claim(database, request_digest))

    async def record(self, key: bytes, state: State, detail: str, prompt: str | None = None) -> None:
        """Write down what became of an item; returns when it would survive a crash."""
        row = (key, state, prompt, detail, time.time())
        await self._do(lambda database: database.execute("REPLACE INTO items VALUES (?, ?, ?, ?, ?)", row))

    async def note(self, name: str, value: object) -> None:
        """Keep a value under a name."""
        await self._do(lambda database: _set(database, name, value))

    async def _do(self, function: Callable[[sqlite3.Connection], T]) -> T:
        if self._thread is None:
            raise JournalError("the journal is not open")
        future: asyncio.Future[T] = self._loop.create_future()
        self._work.put(_Job(function, future))
        return await future

    def _serve(self, opened: asyncio.Future[bytes]) -> None:
        """The thread: open, then one transaction for each group of jobs."""
        lock = database = None
        try:
            try:
                lock = self._hold()
                database = _open(self.path)
                salt = _get(database, "salt")
                _set(database, "holder", f"process {os.getpid()}")
            except (sqlite3.Error, OSError, JournalError) as error:
                self._answer([(opened, None, _named(error, self.path))])
                return
            self._answer([(opened, salt, None)])
            while (job := self._work.get()) is not None:
                self._answer(_do_group(database, self._group(job), self.path))
        finally:
            for connection in (database, lock):
                if connection is not None:
                    connection.close()

    def _hold(self) -> sqlite3.Connection | None:
        """An exclusive transaction on a file beside the journal: the system ends it with the process."""
        if self.path is None:
            return None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = sqlite3.connect(f"{self.path}.lock", timeout=0, isolation_level=None)
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            lock.close()
            if "locked" not in str(error):
                raise
            raise JournalError(
                f"another run holds {self.path} ({_holder(self.path)})",
                hint="Wait until it has ended, or choose another destination.",
            ) from None
        return lock

    def _group(self, job: _Job) -> list[_Job]:
        jobs = [job]
        while len(jobs) < _LARGEST_GROUP:
            try:
                job_or_end = self._work.get_nowait()
            except queue.Empty:
                break
            if job_or_end is None:
                self._work.put(None)
                break
            jobs.append(job_or_end)
        return jobs

    def _answer(self, answers: list[_Answer]) -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile; nobody waits any more
            self._loop.call_soon_threadsafe(_settle, answers)


@dataclass(frozen=True)
class _Job:
    function: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]


_Answer = tuple["asyncio.Future[Any]", Any, Exception | None]


def _settle(answers: list[_Answer]) -> None:
    for future, value, error in answers:
        if future.done():  # whoever asked was cancelled; the work is done all the same
            continue
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)


def _do_group(database: sqlite3.Connection, jobs: list[_Job], path: Path | None) -> list[_Answer]:
    """All jobs in one commit; where it fails, none of them was done, and each is told so."""
    try:
        with database:
            database.execute("BEGIN")
            return [(job.future, job.function(database), None) for job in jobs]
    except Exception as error:  # whatever it is, the thread goes on and nobody waits for ever
        named = _named(error, path) if isinstance(error, sqlite3.Error) else error
        return [(job.future, None, named) for job in jobs]


def _claim(database: sqlite3.Connection, request_digest: bytes) -> Claim:
    (count,) = database.execute(
        "INSERT INTO seen VALUES (?, 1) ON CONFLICT (digest) DO UPDATE SET n = n + 1 RETURNING n",
        (request_digest,),
    ).fetchone()
    key = item_key(request_digest, count - 1)
    row = database.execute("SELECT state, detail FROM items WHERE key = ?", (key,)).fetchone()
    state, detail = row or (None, "")
    return Claim(key, count - 1, state and State(state), detail)


def _open(path: Path | None) -> sqlite3.Connection:
    """Open or create the database; raises JournalError for one that is not to be touched."""
    # An empty name is a temporary database that SQLite spills to the disk.
    database = sqlite3.connect(path or "", isolation_level=None, check_same_thread=False)
    try:
        _check(database, path)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            database.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
            _set(database, "salt", secrets.token_bytes(16))
        database.execute("CREATE TEMP TABLE seen (digest BLOB PRIMARY KEY, n INTEGER) WITHOUT ROWID")
    except BaseException:
        database.close()
        raise
    return database


def _check(database: sqlite3.Connection, path: Path | None) -> None:
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != _APPLICATION_ID:
        raise JournalError(f"{path} is a database of another program")
    if version > _VERSION:
        raise JournalError(
            f"{path} was written by a newer version of asi_image_async",
            hint="Update: pip install --upgrade asi_image_async",
        )
    (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def _named(error: Exception, path: Path | None) -> JournalError:
    if isinstance(error, JournalError):
        return error
    if isinstance(error, sqlite3.OperationalError | OSError):
        return JournalError(
            f"the journal {path} cannot be used: {error}",
            hint="Check that its folder can be written and that the disk is not full.",
        )
    return JournalError(
        f"the journal {path} is damaged: {error}",
        hint="Nothing was changed. Move it aside to begin anew (what it lists as done would be asked for"
        " again), or bring back a copy.",
    )


def _get(database: sqlite3.Connection, name: str) -> Any:
    row = database.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return row and row[0]


def _set(database: sqlite3.Connection, name: str, value: object) -> None:
    database.execute("REPLACE INTO meta VALUES (?, ?)", (name, value))


def _holder(path: Path) -> str:
    try:
        with _reading(path) as database:
            return _get(database, "holder") or "unknown process"
    except sqlite3.Error:
        return "unknown process"


def _reading(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5))


@dataclass(frozen=True)
class JournalSummary:
    """What a journal knows.

    `total`: the items of the last list, None if never counted. `failures`: the first few of what failed
    or is unknown, as (state, prompt, what went wrong).
    """

    total: int | None
    done: int
    failed: int
    unknown: int
    failures: tuple[tuple[State, str, str], ...] = field(default=())

    @property
    def left(self) -> int | None:
        """How many were never asked for, or not to an end."""
        if self.total is None:
            return None
        return max(0, self.total - self.done - self.failed - self.unknown)


def read_summary(path: str | Path, *, failures: int = 100) -> JournalSummary:
    """Read a journal without holding it, while a run goes on too. Blocking. Raises JournalError."""
    path = Path(path)
    if not path.is_file():
        raise JournalError(f"there is no journal at {path}", hint="Has a batch been run into it?")
    try:
        with _reading(path) as database:
            _check(database, path)
            counts = dict(database.execute("SELECT state, count(*) FROM items GROUP BY state"))
            rows = database.execute(
                "SELECT state, prompt, detail FROM items WHERE state != 'done' LIMIT ?", (failures,)
            )
            return JournalSummary(
                total=_get(database, "total"),
                done=counts.get(State.DONE, 0),
                failed=counts.get(State.FAILED, 0),
                unknown=counts.get(State.UNKNOWN, 0),
                failures=tuple((State(state), prompt or "", detail) for state, prompt, detail in rows),
            )
    except sqlite3.Error as error:
        raise _named(error, path) from error
