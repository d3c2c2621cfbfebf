"""How fast it goes and how long it will take: plain arithmetic on times that are handed in."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence

from ..policies import RateLimit

__all__ = ["Forecast", "RecentRate", "seconds_at_least"]

_LATELY = 240  # happenings that make up the recent rate
_SENDS_KEPT = 4096
_WEIGHT = 0.1  # of the newest reply in the mean time of a reply


class RecentRate:
    """How often something has happened lately. Any thread may ask while another one notes."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_LATELY)
        self._since: float | None = None

    def begin(self, now: float) -> None:
        """It can happen from now on; only the first call counts."""
        if self._since is None:
            self._since = now

    def note(self, now: float) -> None:
        """It has happened."""
        self.begin(now)
        if len(self._times) == _LATELY:
            self._since = self._times[0]
        self._times.append(now)

    @property
    def count(self) -> int:
        """How many times are remembered."""
        return len(self._times)

    def elapsed(self, now: float) -> float:
        """Seconds since the first of them could happen."""
        return 0.0 if self._since is None else now - self._since

    def per_second(self, now: float) -> float:
        """The recent rate; it sinks while nothing happens."""
        return self.count / max(self.elapsed(now), 1e-3)


class _Window:
    """When a limit will let the nth request from now go out."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._sends: deque[float] = deque(maxlen=min(limit.n, _SENDS_KEPT))

    def note(self, now: float) -> None:
        self._sends.append(now)

    def seconds_until(self, requests: int, now: float) -> float:
        """Each goes out one window after the nth before it; earlier ones than we keep count as long ago."""
        windows, place = divmod(max(requests, 1) - 1, self._limit.n)
        place += len(self._sends) - self._limit.n
        opens = now
        if 0 <= place < len(self._sends):
            opens = max(now, self._sends[place] + self._limit.per)
        return opens - now + windows * self._limit.per


def seconds_at_least(
    requests: int, limits: Iterable[RateLimit], *, sends: Sequence[float] = (), now: float = 0.0
) -> float:
    """How long the limits make the last of so many requests wait; `sends`: when earlier ones went out."""
    windows = [_Window(limit) for limit in limits] if requests else []
    for window in windows:
        for at in sends:
            window.note(at)
    return max((window.seconds_until(requests, now) for window in windows), default=0.0)


class Forecast:
    """Seconds that are left: what the limits allow where there are some, else as it went lately."""

    def __init__(self, limits: Iterable[RateLimit], concurrency: int) -> None:
        self._windows = [_Window(limit) for limit in limits]
        self._concurrency = concurrency
        self._settled = RecentRate()
        self._reply: float | None = None
        self._imposed: float | None = None

    def recall(self, at: float) -> None:
        """A request of an earlier run went out at that time."""
        for window in self._windows:
            window.note(at)

    def sent(self, now: float) -> None:
        """A request goes out."""
        self._settled.begin(now)
        self.recall(now)

    def replied(self, elapsed: float) -> None:
        """A reply has come after so many seconds."""
        self._reply = elapsed if self._reply is None else self._reply + _WEIGHT * (elapsed - self._reply)

    def settled(self, now: float) -> None:
        """A prompt that was asked for is done with, for better or worse."""
        self._settled.note(now)

    def slowed(self, per_second: float | None) -> None:
        """The service bears no more than this many requests a second; None is no such limit."""
        self._imposed = per_second

    def seconds_left(self, unsent: int, in_flight: int, now: float, wait: float = 0.0) -> float | None:
        """None where there is nothing yet to tell it by. `wait`: seconds in which nothing goes out."""
        if unsent + in_flight <= 0:
            return 0.0
        reply = self._reply
        if reply is None and not self._windows:
            return None
        least = [unsent / self._imposed if self._imposed else 0.0]
        if unsent:
            least.append(wait + ((unsent - 1) / self._imposed if self._imposed else 0.0))
            least += [window.seconds_until(unsent, now) for window in self._windows]
        return max(max(least) + (reply or 0.0), self._by_work(unsent + in_flight, reply or 0.0, now))

    def _by_work(self, prompts: int, reply: float, now: float) -> float:
        rate = self._settled.per_second(now)
        # The first replies come together, so that their rate says nothing; and where a limit is
        # kept, requests go out in bursts, so that the rate never says much.
        if rate and not self._windows and self._settled.elapsed(now) > 2.2 * reply:
            return prompts / rate
        return math.ceil(prompts / self._concurrency) * reply
