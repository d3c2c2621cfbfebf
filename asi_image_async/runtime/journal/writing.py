"""The journal of a run: one thread does all the work on the database.

Whatever has come in while it was busy becomes one commit.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from ...errors import ConfigurationError, JournalError
from ...group_thread import GroupThread
from .broken import as_journal_error, full
from .database import Claim, Place, State, as_text, claim, get_value, held, open_database, set_value
from .room import Room

__all__ = ["Journal"]

T = TypeVar("T")

_Job = Callable[[sqlite3.Connection], Any]
_OF_THIS_RUN = "UPDATE items SET run = (SELECT value FROM meta WHERE name = 'run') WHERE key = ?"
_SPEND = (
    "INSERT INTO meta VALUES ('spent', ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
)
_BEGINNING = 200  # characters of a prompt, by which it is known
_DEPARTED = "REPLACE INTO flights VALUES (?, ?, ?)"
_LANDED = "DELETE FROM flights WHERE key = ?"
_WRITE = "REPLACE INTO items VALUES (?, ?, ?, ?, ?, (SELECT value FROM meta WHERE name = 'run'))"


class Journal:
    """The journal of one destination, held by one run at a time.

    `path` None is a temporary one, forgotten when it is closed. `ask_unknown_again` False leaves alone
    what may have been billed without a picture. Opening raises JournalError where another run holds
    it, where it is damaged or of a newer version, and where it cannot be written. `trouble` is an error that
    ends the run though all is written down yet: the disk is full, and the room kept for that is in use.
    """

    def __init__(self, path: str | Path | None, *, ask_unknown_again: bool = True) -> None:
        if not isinstance(path, str | os.PathLike | None):
            raise ConfigurationError(f"a journal is a path or a Journal, not {type(path).__name__}")
        self.path = None if path is None else Path(path)
        self.ask_unknown_again = ask_unknown_again
        self.salt = b""
        self.trouble: JournalError | None = None
        self._thread = GroupThread[_Job, Any](self._working, "asi-image-journal")

    async def __aenter__(self) -> Self:
        if self._thread.is_open:
            raise JournalError("the journal is open already", hint="Give each run a Journal of its own.")
        try:
            await self._thread.open()
        except OSError as error:
            raise as_journal_error(error, self.path) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._thread.close()

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

        `spent`: so many images were, or may have been, billed for it that are not counted yet.
        """
        row = (key, state, prompt, as_text(detail), time.time())

        def write(database: sqlite3.Connection) -> None:
            database.execute(_WRITE, row)
            database.execute(_LANDED, (key,))
            if spent:
                _spend(database, spent)

        await self._do(write)

    def departed(self, key: bytes, prompt: str, images: int) -> None:
        """A request for an item is on its way, for so many images not counted yet; not waited for."""
        self._post(_DEPARTED, (key, prompt[:_BEGINNING], images))

    async def departs(self, key: bytes, prompt: str, images: int) -> None:
        """The same of one that is about to go; returns when that would survive a crash."""
        row = key, prompt[:_BEGINNING], images
        await self._do(lambda database: database.execute(_DEPARTED, row).rowcount)

    def landed(self, key: bytes) -> None:
        """It came to nothing, and was surely not billed; not waited for."""
        self._post(_LANDED, (key,))

    async def spend(self, images: int) -> None:
        """Count images as spent before they are asked for; below 0: give back what was not billed."""
        await self._do(lambda database: _spend(database, images))

    async def stamp(self, at: float, by: bytes) -> int:
        """Stamp a request that session `by` is about to send, in seconds since the epoch.

        Returns the number of the stamp.
        """

        def insert(database: sqlite3.Connection) -> Any:
            return database.execute("INSERT INTO sends VALUES (?, ?)", (at, by)).lastrowid

        return int(await self._do(insert))

    def restamp(self, number: int, at: float) -> None:
        """It went out later, as a connection had to be made; nobody waits until that is written."""
        self._post("UPDATE sends SET at = ? WHERE rowid = ?", (at, number))

    def unstamp(self, number: int) -> None:
        """It never went out; nobody waits until that is written."""
        self._post("DELETE FROM sends WHERE rowid = ?", (number,))

    async def sends(self, now: float, window: float, other_than: bytes) -> list[float]:
        """When other sessions sent requests in the `window` seconds before now, in order.

        Older stamps are forgotten, once no run with this journal has had a window so long.
        """

        def look(database: sqlite3.Connection) -> list[float]:
            longest = max(window, get_value(database, "window") or 0.0)
            set_value(database, "window", float(longest))
            database.execute("DELETE FROM sends WHERE at < ?", (now - longest,))
            rows = database.execute(
                "SELECT at FROM sends WHERE by != ? AND at >= ? ORDER BY at", (other_than, now - window)
            )
            return [at for (at,) in rows]

        return await self._do(look)

    async def recall(self, name: str) -> Any:
        """What is kept under a name, or None."""
        return await self._do(lambda database: get_value(database, name))

    async def note(self, name: str, value: object) -> None:
        """Keep a value under a name."""
        await self._do(lambda database: set_value(database, name, value))

    def _post(self, statement: str, row: tuple[object, ...]) -> None:
        if self._thread.is_open and self.path is not None:  # a temporary one is gone with its run
            self._thread.post(lambda database: database.execute(statement, row))

    async def _do(self, function: Callable[[sqlite3.Connection], T]) -> T:
        if not self._thread.is_open:
            raise JournalError("the journal is not open")
        done: T = await self._thread.do(function)
        return done

    @contextmanager
    def _working(self) -> Iterator[Callable[[Sequence[_Job]], list[Any]]]:
        """In the thread: the database, open for as long as there is work."""
        with ExitStack() as stack:
            place = room = self.trouble = None
            try:
                if self.path is None:
                    database = stack.enter_context(closing(open_database(None)))
                else:
                    beside = stack.enter_context(held(self.path))
                    database = stack.enter_context(closing(open_database(self.path)))
                    place = Place(self.path, beside)
                    room = stack.enter_context(closing(Room(beside.parent)))
                self.salt = get_value(database, "salt")
            except Exception as error:
                raise as_journal_error(error, self.path) from None
            yield lambda jobs: self._do_group(database, jobs, place, room)

    def _do_group(
        self,
        database: sqlite3.Connection,
        jobs: Sequence[_Job],
        place: Place | None,
        room: Room | None,
    ) -> list[Any]:
        """All jobs in one commit; where it fails, or a file is not in its `place`, an error for each."""
        try:
            while True:
                try:
                    answers = _commit(database, jobs)
                    break
                except sqlite3.Error as error:
                    if room is None or not room.gives_way(error):
                        raise
                    self.trouble = full(self.path)
            if place is not None:
                place.check()
            return answers
        except Exception as error:  # each raises one of its own
            return [as_journal_error(error, self.path) for _ in jobs]


def _commit(database: sqlite3.Connection, jobs: Sequence[_Job]) -> list[Any]:
    with database:
        database.execute("BEGIN")
        return [job(database) for job in jobs]


def _spend(database: sqlite3.Connection, images: int) -> None:
    database.execute(_SPEND, (images,))
