"""What the events of a run add up to, and the words for it: O(1) an event, bounded memory, no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import PurePath
from typing import NamedTuple

from ..core.usage import Usage
from ..events import (
    Event,
    ImageNotStored,
    ImageStored,
    OutcomeReady,
    RateChanged,
    RequestCancelled,
    RequestFailed,
    RequestStarted,
    RequestSucceeded,
    RetryScheduled,
    Throttled,
    WaitStarted,
)
from ..outcomes import Done, RunReport
from ..policies import RateLimit
from .forecast import Forecast, RecentRate
from .spans import span

__all__ = ["Progress"]


class _Wait(NamedTuple):
    words: str
    until: float


_LAST = 3  # names of pictures that are shown
_SAY_UNTIL = 600  # seconds; of a longer wait people want to know when it ends
_TOO_FAR = 366 * 86400  # seconds; no calendar need have such a day

_NO_WAIT = _Wait("", 0.0)


class Progress:
    """The observer of a session; one thread tells it of events, any other may ask it."""

    def __init__(
        self,
        total: int,
        *,
        limits: Iterable[RateLimit] = (),
        concurrency: int = 1,
        price: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self.new = self.skipped = self.failed = self.unknown = 0
        self.in_flight = 0
        self.usage = Usage()
        self.last: tuple[str, ...] = ()  # the newest first; never changed, as other threads read it
        self._price = price
        self._concurrency = concurrency
        self._stored = self._bytes_written = 0
        self._storing = 0
        self._clock = clock
        self._started = clock()
        self._pictures = RecentRate()
        self._forecast = Forecast(limits, concurrency)
        self._throttled = self._queued = self._retry = _NO_WAIT
        self._drained = False

    def recall(self, ages: Iterable[float]) -> None:
        """Earlier runs sent requests that the limits still count, so many seconds ago, the oldest first."""
        for age in ages:
            self._forecast.recall(self._started - age)

    def drain(self) -> None:
        """Nothing more is asked for: only what is in flight is still to come."""
        self._drained = True

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        self.usage.note(event)
        now = self._clock()
        match event:
            case RequestStarted():
                self.in_flight += 1
                self._pictures.begin(now)
                self._forecast.sent(now)  # one that was let go before another began to wait
            case RequestSucceeded(elapsed=elapsed):
                self.in_flight -= 1
                self._storing += 1
                self._forecast.replied(elapsed)
            case RequestFailed():
                self.in_flight -= 1
            case RequestCancelled():
                self.in_flight -= 1
                self.unknown += event.maybe_billed
            case ImageStored(receipt=receipt):
                self._stored += 1
                self._storing -= 1
                self._bytes_written += receipt.bytes_written
                names = [PurePath(location).name for location in reversed(receipt.locations)]
                self.last = (*names, *self.last)[:_LAST]
            case ImageNotStored():
                self._storing -= 1
            case OutcomeReady():
                self._settle(event, now)
            case RateChanged(per_second=per_second):
                self._forecast.slowed(per_second)
            case Throttled() | WaitStarted() | RetryScheduled():
                self._wait(event, now)

    def _settle(self, event: OutcomeReady, now: float) -> None:
        outcome = event.outcome
        if isinstance(outcome, Done):
            if outcome.skipped:
                self.skipped += 1
                return  # it says nothing about how fast pictures are made
            self.new += 1
            self._pictures.note(now)
        elif outcome.unknown:
            self.unknown += 1
        else:
            self.failed += 1
        if self.usage.requests:
            self._forecast.settled(now)

    def _wait(self, event: Throttled | WaitStarted | RetryScheduled, now: float) -> None:
        match event:
            case Throttled(pause=pause):
                self._throttled = _Wait("throttled by the service, next try in", now + pause)
            case WaitStarted(reason="rate limit", seconds=seconds):
                self._queued = _Wait("waiting for the rate limit,", now + seconds)
            case RetryScheduled(delay=delay):
                self._retry = _Wait("waiting to try again,", now + delay)

    @property
    def settled(self) -> int:
        """Prompts that are done with."""
        return self.new + self.skipped + self.failed + self.unknown

    @property
    def seconds_left(self) -> float | None:
        """How long it will still take, as far as can be told."""
        unsent = 0 if self._drained else self.total - self.settled - self.in_flight
        now = self._clock()
        wait = 0.0 if self._drained else max(self._throttled.until, self._queued.until) - now
        return self._forecast.seconds_left(max(unsent, 0), self.in_flight, now, max(wait, 0.0))

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    def cost(self) -> str:
        """What has been billed for sure, such as `2.40 spent`; empty where no price was told."""
        if self._price is None:
            return ""
        return f"{self.usage.billed_at_least * self._price:,.2f} spent"

    def rate(self) -> str:
        """How fast pictures come, such as `61 a minute`; empty before the first."""
        if not self._pictures.count:
            return ""
        per_second = self._pictures.per_second(self._clock())
        if per_second * 60 >= 0.95:
            return f"{per_second * 60:,.{0 if per_second * 60 >= 10 else 1}f} a minute"
        return f"{per_second * 3600:.1f} an hour"

    def waiting(self) -> str:
        """What the next request waits for, such as `waiting for the rate limit, 12 s`."""
        now = self._clock()
        waits = [self._throttled, self._queued]
        if not self.in_flight:
            waits.append(self._retry)
        wait = next((wait for wait in waits if wait.until > now), None)
        if wait is None or self._drained:
            return self._storage()
        left = max(1, round(wait.until - now))
        if _SAY_UNTIL <= left < _TOO_FAR:
            today = datetime.now().astimezone()
            until = today + timedelta(seconds=left)
            day = "" if until.date() == today.date() else f"{until:%a} "
            return f"{wait.words.removesuffix(',').removesuffix(' in')} until {day}{until:%H:%M}"
        return f"{wait.words} {span(left) if left >= 60 else f'{left} s'}"

    def _storage(self) -> str:
        """Where every slot holds a picture that is being stored, nothing else can be asked for."""
        if self._storing < min(self._concurrency, max(1, self.total - self.settled)):
            return ""
        return (
            f"waiting for {self._storing} to be stored"
            if self._storing > 1
            else "waiting for one to be stored"
        )

    def report(self) -> RunReport:
        """The sums of a run that was cut short; what was in flight may have been billed."""
        return RunReport(
            total=self.total,
            succeeded=self._stored,
            failed=self.failed,
            unknown=self.unknown + self.in_flight,
            skipped=self.skipped,
            bytes_written=self._bytes_written,
            elapsed=self.elapsed,
            **self.usage.sums(in_flight=self.in_flight),
        )
