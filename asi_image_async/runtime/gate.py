"""When a request may go out: sole owner of the semaphore and of aiolimiter."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import anyio
from aiolimiter import AsyncLimiter

from ..core.pace import AutoPace, Windows
from ..events import Event, RateChanged, Throttled, WaitStarted
from ..policies import RateLimit

__all__ = ["Gate"]


class Gate:
    """One gate for all tasks: `enter` waits for a place in flight and for a turn, first come first served.

    What the service answers is told back with `refused` and `succeeded`.
    """

    def __init__(
        self, limits: Iterable[RateLimit], max_concurrency: int, tell: Callable[[Event], None]
    ) -> None:
        self._places = anyio.Semaphore(max_concurrency, fast_acquire=True)
        self._queue = anyio.Lock(fast_acquire=True)
        self._windows = Windows(limits)
        self._pace = AutoPace()
        # It leaks one unit a second. A request charges as many units as the spacing has seconds, and the
        # room is set to the same number, so the next one waits until the last charge has leaked away.
        self._spacing = AsyncLimiter(1, 1)
        self._tell = tell

    async def enter(self) -> float:
        """Wait for a place and a turn; returns the time of leaving, to be told to `refused`."""
        await self._places.acquire()
        try:
            async with self._queue:
                return await self._turn()
        except BaseException:
            self._places.release()
            raise

    def leave(self) -> None:
        """The request is over; its place is free."""
        self._places.release()

    def refused(self, sent_at: float, retry_after: float | None) -> float:
        """Close the gate for everyone; returns for how many seconds."""
        before = self._pace.interval
        pause = self._pace.refused(anyio.current_time(), sent_at, retry_after, random.random())
        self._tell(Throttled(pause))
        self._tell_rate(before)
        return pause

    def succeeded(self) -> None:
        """All is well."""
        if self._pace.interval:
            before = self._pace.interval
            self._pace.succeeded()
            self._tell_rate(before)

    async def _turn(self) -> float:
        told = spaced = False
        while True:
            now = anyio.current_time()
            opens_at = max(self._windows.opens_at(now), self._pace.closed_until)
            if opens_at > now:
                if not told and opens_at - now > 0.2:
                    throttled = self._pace.closed_until >= opens_at
                    reason = "throttled" if throttled else "rate limit"
                    self._tell(WaitStarted(reason, opens_at - now))
                told = True
                await anyio.sleep(opens_at - now)
            elif self._pace.interval and not spaced:
                self._spacing.max_rate = self._pace.interval
                await self._spacing.acquire(self._pace.interval)
                spaced = True  # and look again: the gate may have closed meanwhile
            else:
                self._windows.sent(now)
                return now

    def _tell_rate(self, before: float) -> None:
        after = self._pace.interval
        if after != before:
            self._tell(RateChanged(1 / after if after else None))
