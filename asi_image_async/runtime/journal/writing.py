"""The journal of a run: one thread does all the work on the database.

Whatever has come in while it was busy becomes one commit.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio

from ...errors import JournalError
from .database import (
    Claim,
    State,
    check_place,
    claim,
    get_value,
    hold,
    named,
    open_database,
    set_value,
)

__all__ = ["Journal"]

T = TypeVar("T")

_LARGEST_GROUP = 1000
_OF_THIS_RUN = "UPDATE items SET run = (SELECT value FROM meta WHERE name = 'run') WHERE key = ?"
_WRITE = "REPLACE INTO items VALUES (?, ?, ?, ?, ?, (SELECT value FROM meta WHERE name = 'run'))"


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
        self._jobs: _Jobs | None = None

    async def __aenter__(self) -> Self:
        if self._jobs is not None:
            raise JournalError("the journal is open already", hint="Give each run a Journal of its own.")
        loop = asyncio.get_running_loop()
        self._jobs = queue.SimpleQueue()
        opened: asyncio.Future[bytes] = loop.create_future()
        self._ended: asyncio.Future[None] = loop.create_future()
        threading.Thread(
            target=_serve,
            args=(self.path, self._jobs, opened, self._ended),
            name="asi-image-journal",
            daemon=True,
        ).start()
        try:
            self.salt = await opened
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close()

    async def claim(self, request_digest: bytes) -> Claim:
        """Take the next item for a request in this run: the first is occurrence 0, and so on."""
        return (await self.claim_all([request_digest]))[0]

    async def claim_all(self, request_digests: Sequence[bytes]) -> list[Claim]:
        """The same for many requests in one step."""

        def take(database: sqlite3.Connection) -> list[Claim]:
            claims = [claim(database, each) for each in request_digests]
            # To mark each row that is done would write most of a large journal anew in every run.
            done = sum(each.state is State.DONE for each in claims)
            if done:
                set_value(database, "skipped", get_value(database, "skipped") + done)
            others = ((each.key,) for each in claims if each.state not in (None, State.DONE))
            database.executemany(_OF_THIS_RUN, others)
            return claims

        return await self._do(take)

    async def record(
        self, key: bytes, state: State, detail: str, prompt: str | None = None, *, spent: int = 0
    ) -> None:
        """Write down what became of an item; returns when it would survive a crash.

        `spent`: so many images were, or may have been, billed for it beyond those that are reserved.
        """
        # The name of a folder need not be Unicode, and SQLite's text is.
        detail = detail.encode(errors="backslashreplace").decode()
        row = (key, state, prompt, detail, time.time())

        def write(database: sqlite3.Connection) -> None:
            database.execute(_WRITE, row)
            if spent:
                _spend(database, spent)

        await self._do(write)

    async def reserve(self, images: int, limit: int) -> bool:
        """Count images as spent before they are asked for; False where the limit does not allow it."""

        def reserve(database: sqlite3.Connection) -> bool:
            if (get_value(database, "spent") or 0) + images > limit:
                return False
            _spend(database, images)
            return True

        return await self._do(reserve)

    async def release(self, images: int) -> None:
        """Give back what was reserved and not billed."""
        await self._do(lambda database: _spend(database, -images))

    async def sent(self, at: float, by: bytes) -> None:
        """Stamp a request that session `by` is about to send, in seconds since the epoch."""
        await self._do(lambda database: database.execute("INSERT INTO sends VALUES (?, ?)", (at, by)))

    async def sends(self, since: float, other_than: bytes) -> list[float]:
        """When other sessions sent requests since then, in order; older stamps are forgotten."""

        def look(database: sqlite3.Connection) -> list[float]:
            database.execute("DELETE FROM sends WHERE at < ?", (since,))
            rows = database.execute("SELECT at FROM sends WHERE by != ? ORDER BY at", (other_than,))
            return [at for (at,) in rows]

        return await self._do(look)

    async def recall(self, name: str) -> Any:
        """What is kept under a name, or None."""
        return await self._do(lambda database: get_value(database, name))

    async def note(self, name: str, value: object) -> None:
        """Keep a value under a name."""
        await self._do(lambda database: set_value(database, name, value))

    async def _do(self, function: Callable[[sqlite3.Connection], T]) -> T:
        if self._jobs is None:
            raise JournalError("the journal is not open")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(function, future))
        return await future

    async def _close(self) -> None:
        jobs, self._jobs = self._jobs, None
        if jobs is not None:
            jobs.put(None)
            # In a cancelled run too: whoever opens the journal next is not to find it held.
            with anyio.CancelScope(shield=True):
                await self._ended


@dataclass(frozen=True)
class _Job:
    function: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]


_Jobs = queue.SimpleQueue[_Job | None]
_Answer = tuple["asyncio.Future[Any]", Any, Exception | None]


def _serve(
    path: Path | None, jobs: _Jobs, opened: asyncio.Future[bytes], ended: asyncio.Future[None]
) -> None:
    """The thread: open, then one transaction for each group of jobs."""
    try:
        with ExitStack() as stack:
            try:
                if path is not None:
                    stack.enter_context(closing(hold(path)))
                database = stack.enter_context(closing(open_database(path)))
                salt = get_value(database, "salt")
                file = None if path is None else path.stat()
            except Exception as error:  # whatever it is, nobody waits for ever
                _answer([(opened, None, named(error, path))])
                return
            _answer([(opened, salt, None)])
            while group := _next_group(jobs):
                _answer(_do_group(database, group, path, file))
    finally:
        _answer([(ended, None, None)])


def _next_group(jobs: _Jobs) -> list[_Job]:
    """Wait for a job, and take whatever else has come in by now; none at the end."""
    group: list[_Job] = []
    with suppress(queue.Empty):
        while len(group) < _LARGEST_GROUP:
            job = jobs.get(block=not group)
            if job is None:
                jobs.put(None)  # for the next call, where it ends the thread
                break
            group.append(job)
    return group


def _do_group(
    database: sqlite3.Connection, jobs: list[_Job], path: Path | None, file: os.stat_result | None
) -> list[_Answer]:
    """All jobs in one commit; where it fails, or `path` is no longer that `file`, each is told so."""
    try:
        with database:
            database.execute("BEGIN")
            answers: list[_Answer] = [(job.future, job.function(database), None) for job in jobs]
        if path is not None and file is not None:
            check_place(path, file)
        return answers
    except Exception as error:  # whatever it is, the thread goes on
        return [(job.future, None, named(error, path)) for job in jobs]


def _answer(answers: list[_Answer]) -> None:
    loop = answers[0][0].get_loop()
    with suppress(RuntimeError):  # the loop was closed meanwhile; nobody waits any more
        loop.call_soon_threadsafe(_settle, answers)


def _settle(answers: list[_Answer]) -> None:
    for future, value, error in answers:
        if future.done():  # whoever asked was cancelled; the work is done all the same
            continue
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)


def _spend(database: sqlite3.Connection, images: int) -> None:
    set_value(database, "spent", (get_value(database, "spent") or 0) + images)
