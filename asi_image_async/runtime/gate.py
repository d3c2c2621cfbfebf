"""When a request may go out: sole owner of the semaphore and of aiolimiter."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import anyio
from aiolimiter import AsyncLimiter

from ..core.pace import Pace, Turn
from ..errors import RateLimitError
from ..events import Event, RateChanged, Throttled, WaitStarted
from ..policies import RateLimit
from ..protocols import Limiter

__all__ = ["Gate"]

# Waits shorter than this are not told: nobody could read of them.
_WORTH_TELLING = 0.2
# How much of the time lost in waking up late may be caught up, in seconds.
_CATCH_UP = 0.005
# How much later than its time a shared slot may be used, in seconds: less than any margin.
_SLOT_LASTS = 0.005
_A_MOMENT = 30.0  # seconds
# How long it may take to tell the others that the service said no, in seconds.
_PATIENCE = 5.0


class Gate:
    """One gate for all tasks: `enter` waits for a place in flight and for a turn, first come first served.

    `limits` None: nothing was told, so the pace is learnt. `shared`: those that others keep too. What
    becomes of each turn is told back with `succeeded`, `refused` and `failed`, and then `leave`.
    `patience`: the longest wait, in seconds, that the service may ask for.
    """

    def __init__(
        self,
        limits: Iterable[RateLimit] | None,
        max_concurrency: int,
        tell: Callable[[Event], None],
        shared: Sequence[Limiter] = (),
        patience: float = math.inf,
    ) -> None:
        self._shared = shared
        self._patience = patience
        self._slots: dict[int, float] = {}  # reserved and not yet used
        self.pace = Pace(limits, max_concurrency)
        self._places = anyio.Semaphore(max_concurrency, fast_acquire=True)
        self._queue = anyio.Lock(fast_acquire=True)
        # It leaks one unit a second. A request charges as many units as the spacing has seconds, and
        # there is room for hardly more, so the next one waits until the last charge has leaked away.
        self._spacing = AsyncLimiter(1, 1)
        self._charged = False
        self._struck: list[tuple[str, float]] = []
        self._interval = 0.0  # as it was told last
        self._changed: anyio.Event | None = None  # of the one that waits at the head of the queue
        self._tell = tell

    @cached_property
    def now(self) -> Callable[[], float]:
        """The clock of everything here; up to Python 3.11 to ask for the loop is a system call."""
        return asyncio.get_running_loop().time

    def enter_nowait(self) -> Turn | None:
        """A place and a turn, where nothing has to be waited for; else None."""
        if self._shared or self._queue.locked() or self.pace.interval:
            return None
        now = self.now()
        if self.pace.opens_at(now) > now:
            return None
        try:
            self._places.acquire_nowait()
        except anyio.WouldBlock:
            return None
        return self.pace.grant(now)

    async def enter(self) -> Turn:
        """Wait for a place and a turn. Raises RateLimitError where the service asked for too long a wait."""
        await self._places.acquire()
        since = self.now()
        try:
            async with self._queue:
                return await self._turn(since)
        except BaseException:
            self._places.release()
            raise

    def leave(self, turn: Turn) -> None:
        """The request is over, or was never sent; its place is free."""
        if turn.sent is None:
            self.pace.take_back(turn)
            self._look_again()
        self._places.release()

    def sent(self, turn: Turn) -> None:
        """It leaves this machine now: what counts for a limit is when the service sees it."""
        if turn.sent is None:
            turn.sent = self.now()

    def struck(self, key: str) -> bool:
        """This request failed as at a busy service; whether another has too, a moment ago."""
        now = self.now()
        others = [(each, at) for each, at in self._struck if each != key and now - at < _A_MOMENT]
        self._struck = [*others[-1:], (key, now)]
        return bool(others)

    def succeeded(self, turn: Turn) -> None:
        """It was let through, and the work is done."""
        self.pace.succeeded(turn, self.now())
        self._look_again()

    def failed(self, turn: Turn) -> None:
        """It failed, for another reason than a limit."""
        self.pace.failed(turn, self.now())
        self._look_again()

    async def refused(self, turn: Turn, retry_after: float | None) -> float:
        """The service said: too many. Closes the gate for everyone; returns for how many seconds."""
        pause = self.pace.refused(turn, self.now(), retry_after, random.random())
        self._tell(Throttled(pause))
        self._look_again()
        for limiter in self._shared:
            with anyio.move_on_after(_PATIENCE):  # the others may meet it too; here the gate is closed
                await limiter.penalize(pause)
        return pause

    async def _turn(self, since: float) -> Turn:
        told = spaced = reserved = False
        while True:
            now = self.now()
            self._check_patience(now)
            opens_at = self.pace.opens_at(now)
            if opens_at > now:
                if not told and opens_at - now > _WORTH_TELLING:
                    throttled = self.pace.closed_until >= opens_at
                    self._tell(WaitStarted("throttled" if throttled else "rate limit", opens_at - now))
                    told = True
                spaced = reserved = False
                self._changed = anyio.Event()
                with anyio.move_on_after(opens_at - now):
                    await self._changed.wait()
            elif self.pace.interval and not spaced:
                await self._keep_apart()
                spaced = True  # and look again: the gate may have closed meanwhile
            elif self._shared and not reserved:
                await self._reserve()
                reserved = True
            else:
                self._slots.clear()
                return self.pace.grant(now, waited=now - since)

    def _check_patience(self, now: float) -> None:
        """Whoever stands here when another is told to come back in an hour is told so too."""
        left = self.pace.asked_until - now
        if left > self._patience:
            raise RateLimitError(
                f"not sent, as the service has asked for a wait of {left:.0f} s",
                status=429,
                retry_after=left,
                hint="Ask again after that, or allow longer waits: RetryPolicy(max_wait=...).",
            )

    async def _reserve(self) -> None:
        """Wait for a slot of every limit that others keep too.

        A slot that was waited for in vain (cancelled, or the gate was closed) is the next one's, if it comes
        in time: giving up again and again would push everybody's turn away.
        """
        for place, limiter in enumerate(self._shared):
            slot = self._slots.pop(place, -math.inf)
            if slot < self.now() - _SLOT_LASTS:
                slot = self.now() + await limiter.reserve()
            self._slots[place] = slot
            seconds = max(0.0, slot - self.now())
            if seconds > _WORTH_TELLING:
                self._tell(WaitStarted("rate limit", seconds))
            await anyio.sleep(seconds)

    async def _keep_apart(self) -> None:
        """Wait until the last request is `interval` seconds away."""
        interval = self.pace.interval
        self._spacing.max_rate = interval + min(_CATCH_UP, 0.2 * interval)
        if not self._charged:  # the spacing begins: nobody charged for the last request
            self._charged = True
            await self._spacing.acquire(interval)
        await self._spacing.acquire(interval)

    def _look_again(self) -> None:
        """The pace may have changed: whoever waits looks at it anew."""
        interval = self.pace.interval
        if interval != self._interval:
            self._interval = interval
            self._tell(RateChanged(1 / interval if interval else None))
        if self._changed is not None:
            self._changed.set()
