"""One limit for several processes on a machine: the slots granted so far are kept in a small SQLite file.

Nobody has to be running for the others: SQLite's locks end with the process that has them.
"""

from __future__ import annotations

import logging
import math
import os
import re
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path

import anyio
from anyio.lowlevel import RunVar

from ..core.pace import margin
from ..errors import ConfigurationError
from ..policies import RateLimit

__all__ = ["SharedLimit", "next_slot"]

logger = logging.getLogger("asi_image_async")

_APPLICATION_ID = 0x6173696C  # "asil", in SQLite's header: whose file this is
_TABLES = f"""
PRAGMA application_id = {_APPLICATION_ID};
CREATE TABLE state (token BLOB, created REAL, asked REAL, closed REAL, widest REAL, ahead REAL, boot TEXT);
CREATE TABLE slots (id INTEGER PRIMARY KEY, at REAL NOT NULL);  -- numbered without a gap, in order of time
"""
_NAME = re.compile(r"\w[\w.-]{0,99}")
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_BUSY = 1.0  # how long one try waits for the lock: a holder may have been stopped, and stay so
_PAUSE = 1.0  # between tries, while the file cannot be used
_LONGEST_PENALTY = 86400.0  # no answer of a service, however strange, stops a machine for longer


def next_slot(now: float, last: float, nth_last: float, per: float, closed_until: float) -> float:
    """When the next request may go: in its turn, when its window has room, and after a penalty.

    `last`: the slot granted last; `nth_last`: the one that has to leave the window of `per` seconds
    first; each -inf for none. Times are seconds on one clock.
    """
    return max(now, last, closed_until, nth_last + per + margin(per))


@dataclass(slots=True)
class _State:
    """The one row of `state`; times are on the clock since boot, but for what `ahead` says."""

    token: bytes  # made by chance with the file: another token is another file
    created: float
    asked: float  # the newest time anyone asked at
    closed: float  # the end of a penalty
    widest: float  # the longest window anyone asked for: older slots matter to nobody
    ahead: float  # by how much the time of day is ahead of the clock
    boot: str


class SharedLimit:
    """At most `n` requests in any `per` seconds, by all processes of a machine that name one `place`.

    `place`: the path of a file, or a bare name (letters, digits, `_`, `-`, `.`) for a file in
    `asi_image_async-<user id>`, a folder that only the user may enter, under `tempfile.gettempdir()`:
    unlike XDG_RUNTIME_DIR it is the same in a terminal and under cron. Where TMPDIR differs, give a
    path. The file has to be on a local disk.

    Slots are granted in the order of asking. Where the file is damaged, locked or out of reach, asking
    waits, with one warning in the log, until it can be used again. A file that was deleted is made
    anew, and counts as just filled for every process that knew the old one. Processes that name one place
    with different limits each keep their own, counting the requests of all.

    `clock` has to be the same in all processes and never set: `time.monotonic` is both, so the time of
    day, which can be set, matters only for how long ago something was before the machine started.
    """

    def __init__(
        self, n: int, per: float, place: str | Path, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = RateLimit(n, per)
        bare = isinstance(place, str) and place == os.path.basename(place)
        if bare and not _NAME.fullmatch(str(place)):
            raise ConfigurationError(
                f"{str(place)[:40]!r} is not a name for a shared limit",
                hint="Use letters, digits, '_', '-' and '.', or give a path.",
            )
        self._folder = Path(tempfile.gettempdir(), f"asi_image_async-{_user()}") if bare else None
        self.path = self._folder / f"limit-{place}.sqlite" if self._folder else Path(place).absolute()
        self._clock = clock
        # One lock a loop, as anyio's locks want it. Loops and processes are kept apart by the file's lock.
        self._turn: RunVar[anyio.Lock] = RunVar(f"asi_image_async.shared.{id(self)}")
        self._token = b""  # of the file as it was seen last
        self._last = -math.inf  # the newest slot of this process
        self._warned = False

    async def reserve(self, n: int = 1) -> float:
        """Take slots for `n` requests that go together; returns the seconds to wait before they go.

        If it is cancelled, the slots may be lost: they are then taken, and not used. Raises ValueError
        where so many may never go together.
        """
        if not 1 <= n <= self.limit.n:
            raise ValueError(f"{n} requests cannot go together at {self.limit.n} in {self.limit.per} s")
        slot = await self._ask(partial(self._take, n))
        return max(0.0, slot - self._clock())

    async def penalize(self, seconds: float) -> None:
        """Nobody, in any process, gets a slot for so long, a day at most; slots granted already stay."""
        end = self._clock() + min(seconds, _LONGEST_PENALTY)
        await self._ask(partial(self._close_until, end))

    async def _ask(self, work: Callable[[sqlite3.Connection, _State, float], float]) -> float:
        """Do it in a thread, one after another, and again until it is done."""
        async with self._my_turn():
            while True:
                try:
                    # A limiter of its own: writers to a slow disk may keep all common threads busy.
                    limiter = anyio.CapacityLimiter(1)
                    return await anyio.to_thread.run_sync(
                        self._transact, work, abandon_on_cancel=True, limiter=limiter
                    )
                except (sqlite3.Error, OSError) as error:
                    if not self._warned:
                        self._warned = True
                        logger.warning(
                            "the shared limit %s cannot be used, so requests wait: %s", self.path, error
                        )
                await anyio.sleep(_PAUSE)

    def _my_turn(self) -> anyio.Lock:
        lock = self._turn.get(None)
        if lock is None:
            lock = anyio.Lock(fast_acquire=True)
            self._turn.set(lock)
        return lock

    def _transact(self, work: Callable[[sqlite3.Connection, _State, float], float]) -> float:
        """All of it under SQLite's lock. Opened anew each time: what is there now is what counts."""
        self._make_folder()
        before = _identity(self.path)
        with closing(sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None)) as database:
            # Nothing here has to survive a power cut, after which slots are old anyway; a process that is
            # killed leaves all it wrote to the system. Waiting for the disk would be paid by each request.
            database.execute("PRAGMA synchronous = OFF")
            database.execute("PRAGMA journal_mode = TRUNCATE")  # cheaper than a new file each time
            database.execute("BEGIN IMMEDIATE")
            if before is not None and before != _identity(self.path):
                raise OSError("the file was replaced while it was opened")
            now = self._clock()  # under the lock, so that the order of asking is the order of times
            state = self._state(database, now)
            result = work(database, state, now)
            state.asked = max(state.asked, now)
            state.widest = max(state.widest, self.limit.per + margin(self.limit.per))
            database.execute("DELETE FROM state")
            database.execute("INSERT INTO state VALUES (?, ?, ?, ?, ?, ?, ?)", astuple(state))
            database.execute("COMMIT")
        self._token, self._warned = state.token, False
        return result

    def _make_folder(self) -> None:
        if self._folder is None:
            if not self._token:  # one that was there and is gone may be a disk that comes back
                self.path.parent.mkdir(parents=True, exist_ok=True)
            return
        self._folder.mkdir(mode=0o700, exist_ok=True)
        found = self._folder.lstat()
        if sys.platform != "win32" and (found.st_uid != _user() or found.st_mode & 0o170077 != 0o040000):
            raise PermissionError(f"{self._folder} is not a folder that only this user may enter")

    def _state(self, database: sqlite3.Connection, now: float) -> _State:
        """What the file says, as it is to be understood now."""
        state = _read(database, now)
        ahead, boot = time.time() - now, _boot()
        if boot != state.boot or now < state.asked - 1:
            # The machine was started anew, and the clock with it. All slots of before are past.
            shift = state.ahead - ahead
            database.execute("UPDATE slots SET at = min(at + ?, ?)", (shift, now))
            left = max(0.0, state.closed - state.asked)
            state.closed = min(state.closed + shift, now + left)
            state.created = min(state.created + shift, now)
            state.asked, state.boot = now, boot
        state.ahead = ahead
        if self._token and self._token != state.token:
            # What the others were granted from the lost file is not known: as if all of it just now.
            filled = max(state.created, self._last)
            state.closed = max(state.closed, filled + self.limit.per + margin(self.limit.per))
        return state

    def _take(self, n: int, database: sqlite3.Connection, state: _State, now: float) -> float:
        number = database.execute("SELECT max(id) FROM slots").fetchone()[0] or 0
        last, nth_last = _slot(database, number), _slot(database, number + n - self.limit.n)
        slot = next_slot(now, last, nth_last, self.limit.per, state.closed)
        database.executemany("INSERT INTO slots (at) VALUES (?)", [(slot,)] * n)
        oldest = "SELECT id FROM slots WHERE at >= ? ORDER BY id LIMIT 1"
        database.execute(f"DELETE FROM slots WHERE id < ({oldest})", (now - state.widest,))  # noqa: S608
        self._last = max(self._last, slot)
        return slot

    def _close_until(self, end: float, database: sqlite3.Connection, state: _State, now: float) -> float:
        state.closed = max(state.closed, end)
        return end


def _read(database: sqlite3.Connection, now: float) -> _State:
    """The state, which a new file is given; raises sqlite3.DatabaseError for what we never wrote."""
    if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        for statement in _TABLES.split(";\n"):  # executescript would end the transaction
            database.execute(statement)
        return _State(os.urandom(16), now, now, -1e9, 0.0, 0.0, _boot())
    if database.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
        raise sqlite3.DatabaseError("it is a database of another program")
    (row,) = database.execute("SELECT * FROM state").fetchall() or [()]
    return _State(*row)


def _slot(database: sqlite3.Connection, number: int) -> float:
    row = database.execute("SELECT at FROM slots WHERE id = ?", (number,)).fetchone()
    return row[0] if row else -math.inf


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a name leads to, None for none: one that is open keeps its number from being used again."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _user() -> int:
    return 0 if sys.platform == "win32" else os.getuid()


def _boot() -> str:
    """By what Linux tells one start of the machine from the next; empty elsewhere."""
    try:
        return _BOOT.read_text()
    except OSError:
        return ""
