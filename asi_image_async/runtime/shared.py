"""One limit for several processes on a machine: the slots granted so far are kept in a small SQLite file."""

from __future__ import annotations

import asyncio
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
from pathlib import Path
from weakref import WeakKeyDictionary

import anyio

from ..core.pace import margin
from ..errors import ConfigurationError
from ..policies import RateLimit

__all__ = ["SharedLimit", "next_slot", "window"]

_APPLICATION_ID = 0x6173696C  # "asil", in SQLite's header: whose file this is
_TABLES = (
    f"PRAGMA application_id = {_APPLICATION_ID}",
    "CREATE TABLE state (token TEXT, boot TEXT, made REAL, asked REAL, closed REAL, widest REAL, ahead REAL)",
    "CREATE TABLE slots (id INTEGER PRIMARY KEY, at REAL NOT NULL)",  # without a gap, in order of time
)
_BOOT = Path("/proc/sys/kernel/random/boot_id")  # Linux tells one start of the machine from the next
_BUSY = 1.0  # how long one try waits for the lock: its holder may have been stopped, and stay so
_PAUSE = 1.0  # between tries, while the file cannot be used
_CONNECTING = 0.5  # seconds: a name looked up, a handshake of TCP and one of TLS, over an ocean
_LONGEST_PENALTY = 86400.0  # no answer of a service, however strange, stops a machine for longer


def window(per: float) -> float:
    """Seconds from a slot to the one that takes its place.

    A request leaves later than its slot by as long as its connection takes; the next may have one already.
    Who keeps a limit alone counts from when each left; of others only the slots are known.
    """
    return per + max(margin(per), min(_CONNECTING, per / 20))


def next_slot(now: float, last: float, nth_last: float, per: float, closed_until: float) -> float:
    """When the next may go, after the `last` slot and when the `nth_last` has left (-inf for none)."""
    return max(now, last, closed_until, nth_last + window(per))


@dataclass(slots=True)
class _State:  # the one row of `state`; all times are on the clock since the machine's start
    token: str  # made by chance with the file: another token is another file
    boot: str
    made: float
    asked: float  # when somebody asked last
    closed: float = -1e9  # the end of a penalty
    widest: float = 0.0  # the longest window anyone asked for: older slots matter to nobody
    ahead: float = 0.0  # by how much the time of day is ahead of the clock


class SharedLimit:
    """At most `n` requests in any `per` seconds, by all processes of a machine that name one `place`.

    `place`: the path of a file on a local disk, or a bare name (letters, digits, `_`, `-`, `.`) for one in
    `asi_image_async-<user id>`, a folder that only the user may enter, under `tempfile.gettempdir()`:
    unlike XDG_RUNTIME_DIR that is the same in a terminal and under cron. Where TMPDIR differs, give a path.

    Slots are granted in the order of asking, and a process that ends blocks nobody. While the file is
    damaged, locked or out of reach, asking waits, with one warning in the log. A deleted file is made anew,
    and counts as just filled for every process that knew the old one. Processes that name one place with
    different limits each keep their own, counting the requests of all.

    `clock` has to be the same in all processes. `time.monotonic` is, and nobody can set it: the time of
    day only says how long before the machine was started anew something was.
    """

    def __init__(
        self, n: int, per: float, place: str | Path, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = RateLimit(n, per)
        self._window = window(per)
        self.path, self._private = Path(place).absolute(), False
        if isinstance(place, str) and not {os.sep, os.altsep} & set(place):
            if not re.fullmatch(r"\w[\w.-]{0,99}", place):
                raise ConfigurationError(
                    f"{place[:40]!r} is not a name for a shared limit",
                    hint="Use letters, digits, '_', '-' and '.', or give a path.",
                )
            user = "" if sys.platform == "win32" else f"-{os.getuid()}"
            folder = Path(tempfile.gettempdir(), f"asi_image_async{user}")
            self.path, self._private = folder / f"limit-{place}.sqlite", True
        self._clock = clock
        # A lock belongs to one loop. Loops, as processes, are kept apart by SQLite.
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, anyio.Lock] = WeakKeyDictionary()
        self._token = ""  # of the file as it was seen last
        self._last, self._warned = -math.inf, False  # the newest slot of this process

    async def reserve(self) -> float:
        """Take the next slot; returns the seconds to wait before it. If this is cancelled, it may be lost."""
        return max(0.0, await self._ask(1, -math.inf) - self._clock())

    async def penalize(self, seconds: float) -> None:
        """Nobody, in any process, gets a slot for so long, a day at most; slots granted already stay."""
        await self._ask(0, self._clock() + min(seconds, _LONGEST_PENALTY))

    async def _ask(self, n: int, closed_until: float) -> float:
        """Do it in a thread, one after another, and again until it is done."""
        loop = asyncio.get_running_loop()
        async with self._turns.setdefault(loop, anyio.Lock(fast_acquire=True)):
            while True:
                own = anyio.CapacityLimiter(1)  # the common threads may all be busy with a slow disk
                try:
                    return await anyio.to_thread.run_sync(
                        self._transact, n, closed_until, abandon_on_cancel=True, limiter=own
                    )
                except (sqlite3.Error, OSError) as error:
                    if not self._warned:
                        logging.getLogger("asi_image_async").warning(
                            "requests wait for the shared limit in %s: %s", self.path, error
                        )
                    self._warned = True
                await anyio.sleep(_PAUSE)

    def _transact(self, n: int, closed_until: float) -> float:
        """All of it under SQLite's lock. Opened anew each time: what is there now is what counts.

        SQLite itself refuses to write to a file that has lost its name since it was opened.
        """
        if self._private:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            found = self.path.parent.lstat()
            others = found.st_mode & 0o170077 != 0o040000
            if sys.platform != "win32" and (others or found.st_uid != os.getuid()):
                raise PermissionError(f"{self.path.parent} is not a folder that only this user may enter")
        elif not self._token:  # a folder that was there and is gone may be a disk that comes back
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None)) as database:
            # What a killed process wrote, the system has. A power cut may lose the slots, which are old by
            # the time the machine is back; to wait for the disk would cost each request more than that.
            database.execute("PRAGMA synchronous = OFF")
            database.execute("BEGIN IMMEDIATE")
            now = self._clock()  # under the lock: the order of asking is the order of times
            state = self._understand(database, now)
            state.closed = max(state.closed, closed_until)
            slot = self._take(n, database, state, now)
            database.execute("DELETE FROM state")
            database.execute("INSERT INTO state VALUES (?, ?, ?, ?, ?, ?, ?)", astuple(state))
            database.execute("COMMIT")
        self._token, self._warned = state.token, False
        self._last = slot if n else self._last
        return slot

    def _understand(self, database: sqlite3.Connection, now: float) -> _State:
        """What the file says, in terms of the clock now and of what this process knows."""
        boot = _BOOT.read_text() if os.access(_BOOT, os.R_OK) else ""
        ahead = time.time() - now
        state = _read(database) or _State(os.urandom(16).hex(), boot, now, now)
        if boot != state.boot or now < state.asked - 1:
            # The machine was started anew, and its clock too. Whoever held a slot is gone.
            shift = state.ahead - ahead
            database.execute("UPDATE slots SET at = min(at + ?, ?)", (shift, now))
            state.closed = min(state.closed + shift, now + max(0.0, state.closed - state.asked))
            state.made = min(state.made + shift, now)
        state.boot, state.ahead, state.asked = boot, ahead, now
        state.widest = max(state.widest, self._window)
        if self._token not in ("", state.token):  # what others were granted from the lost file is not known
            state.closed = max(state.closed, max(state.made, self._last) + self._window)
        return state

    def _take(self, n: int, database: sqlite3.Connection, state: _State, now: float) -> float:
        number = database.execute("SELECT max(id) FROM slots").fetchone()[0] or 0
        last, nth_last = _slot(database, number), _slot(database, number + n - self.limit.n)
        slot = next_slot(now, last, nth_last, self.limit.per, state.closed)
        database.executemany("INSERT INTO slots (at) VALUES (?)", [(slot,)] * n)
        database.execute(
            "DELETE FROM slots WHERE id < (SELECT id FROM slots WHERE at >= ? ORDER BY id LIMIT 1)",
            (now - state.widest,),
        )
        return slot


def _read(database: sqlite3.Connection) -> _State | None:
    """The state, None in a new file; raises sqlite3.DatabaseError for what we never wrote."""
    if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        for statement in _TABLES:
            database.execute(statement)
        return None
    ours = database.execute("PRAGMA application_id").fetchone() == (_APPLICATION_ID,)
    rows = database.execute("SELECT * FROM state").fetchall() if ours else []
    if len(rows) != 1 or [type(value) for value in rows[0]] != [str] * 2 + [float] * 5:
        raise sqlite3.DatabaseError("there is something in it that was not written by asi_image_async")
    return _State(*rows[0])


def _slot(database: sqlite3.Connection, number: int) -> float:
    row = database.execute("SELECT at FROM slots WHERE id = ?", (number,)).fetchone()
    if row and type(row[0]) is not float:
        raise sqlite3.DatabaseError("there is a slot in it that has no time")
    return row[0] if row else -math.inf
