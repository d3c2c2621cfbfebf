"""What a journal knows, read without holding it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

from ...errors import JournalError
from ...folder import is_file
from .broken import as_journal_error
from .database import SEEN, State, as_text, check, claim, get_value, reading

__all__ = ["JournalSummary", "find_missing", "read_sends", "read_states", "read_summary"]


class JournalSummary(NamedTuple):
    """What a journal knows of the last list that was run.

    `total`: its items, None if it was never counted. `earlier`: done for other lists. `in_flight`: at the
    service, or there when the last run was killed. `spent`: images bought or maybe bought, in all.
    `failures`: the first few of what failed or is unknown, as (state, prompt, what went wrong).
    """

    total: int | None
    done: int
    failed: int
    unknown: int
    earlier: int = 0
    in_flight: int = 0
    spent: int = 0
    failures: tuple[tuple[State, str, str], ...] = ()

    @property
    def left(self) -> int | None:
        """How many are still to be asked for."""
        if self.total is None:
            return None
        return max(0, self.total - self.done - self.failed - self.unknown - self.in_flight)


def read_summary(path: str | Path, *, failures: int = 100) -> JournalSummary:
    """Read a journal without holding it, while a run goes on too. Blocking. Raises JournalError."""
    path = Path(path)
    if not _is_there(path):
        raise JournalError(f"there is no journal at {path}", hint="Has a batch been run into it?")
    with _looking(path) as database:
        if database is None:
            return JournalSummary(total=None, done=0, failed=0, unknown=0)
        return _summary(database, failures)


def read_states(path: str | Path, digests: Iterable[bytes]) -> Iterator[State | None]:
    """How each of the requests stands, None for never finished, without holding the journal.

    What was in flight when a run was killed, or is now, is unknown. Blocking. Raises JournalError. Without a
    journal nothing is known of any.
    """
    path = Path(path)
    with _looking(path) if _is_there(path) else nullcontext() as database:
        if database is None:
            yield from (None for _ in digests)
            return
        database.execute(SEEN)
        lost = _flights(database)
        for digest in digests:
            found = claim(database, digest)
            yield State.UNKNOWN if found.state is None and found.key in lost else found.state


def read_sends(path: str | Path) -> list[float]:
    """When requests were sent that a limit may still count, in seconds since the epoch, in order.

    Blocking. Raises JournalError. Without a journal nothing is known of any.
    """
    path = Path(path)
    if not _is_there(path):
        return []
    with _looking(path) as database:
        rows = database.execute("SELECT at FROM sends ORDER BY at").fetchall() if database else []
        return [at for (at,) in rows]


def find_missing(path: str | Path, there: Iterable[str]) -> tuple[int, str]:
    """How many pictures are written down as done and are not `there`, and the name of one of them.

    `there`: names of files, asked for when the journal has been read, so that what a run stores meanwhile
    is not missing. Blocking. Raises JournalError. Without a journal nothing is known of any.
    """
    path = Path(path)
    if not _is_there(path):
        return 0, ""
    with _looking(path) as database:
        if database is None:
            return 0, ""
        # A table of the connection's own: SQLite spills a large one to the disk.
        database.execute("CREATE TEMP TABLE missing (name TEXT PRIMARY KEY) WITHOUT ROWID")
        done = database.execute("SELECT detail FROM items WHERE state = 'done'")
        names = ((_name(place),) for (detail,) in done for place in detail.split("\n") if place)
        database.executemany("INSERT OR IGNORE INTO missing VALUES (?)", names)
        database.executemany("DELETE FROM missing WHERE name = ?", ((as_text(name),) for name in there))
        count, name = database.execute("SELECT count(*), min(name) FROM missing").fetchone()
        return count, name or ""


def _name(place: str) -> str:
    return place.replace("\\", "/").rpartition("/")[2]  # it may have been written on another system


@contextmanager
def _looking(path: Path) -> Iterator[sqlite3.Connection | None]:
    """A connection that only reads, None where a run was killed before it wrote anything."""
    try:
        with reading(path) as database:
            yield database if check(database, path) else None
    except (sqlite3.Error, OSError) as error:
        raise as_journal_error(error, path) from error


def _is_there(path: Path) -> bool:
    try:
        return is_file(path)
    except OSError as error:
        raise as_journal_error(error, path) from error


def _flights(database: sqlite3.Connection) -> dict[bytes, int]:
    """What is in flight and has no row yet, with the images that are not counted as spent."""
    with suppress(sqlite3.OperationalError):  # one of an older version has no such table
        return dict(
            database.execute("SELECT key, images FROM flights WHERE key NOT IN (SELECT key FROM items)")
        )
    return {}


def _summary(database: sqlite3.Connection, failures: int) -> JournalSummary:
    run, flights = (get_value(database, "run"),), _flights(database)
    counts = dict(database.execute("SELECT state, count(*) FROM items WHERE run = ? GROUP BY state", run))
    (all_done,) = database.execute("SELECT count(*) FROM items WHERE state = 'done'").fetchone()
    done = counts.get(State.DONE, 0) + (get_value(database, "skipped") or 0)
    rows = database.execute(
        "SELECT state, prompt, detail FROM items WHERE run = ? AND state IN ('failed', 'unknown') LIMIT ?",
        (*run, failures),
    )
    return JournalSummary(
        total=get_value(database, "total"),
        done=done,
        failed=counts.get(State.FAILED, 0),
        unknown=counts.get(State.UNKNOWN, 0),
        earlier=all_done - done,
        in_flight=len(flights),
        spent=(get_value(database, "spent") or 0) + sum(flights.values()),
        failures=tuple((State(state), prompt or "", detail) for state, prompt, detail in rows),
    )
