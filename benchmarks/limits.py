"""The limits of the measured service, and the least time that each of them allows."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Limit(Protocol):
    """Told of each arrival in turn; a request that it refuses is not counted against it."""

    def admit(self, now: float) -> float:
        """0 and the request is let through, or the seconds until one would be; `now` from the first on."""
        ...

    def ideal_seconds(self, count: int) -> float:
        """The least time from the first to the last of `count` arrivals."""
        ...


class Unlimited:
    def admit(self, now: float) -> float:
        return 0.0

    def ideal_seconds(self, count: int) -> float:
        return 0.0


class StrictWindow:
    """At most n arrivals in *any* `per` seconds; `steps`: (from which second on, n), for one that changes."""

    def __init__(self, steps: Sequence[tuple[float, int]], per: float) -> None:
        self._steps, self._per = steps, per
        self._passed: deque[float] = deque()

    def admit(self, now: float) -> float:
        while self._passed and self._passed[0] <= now - self._per:
            self._passed.popleft()
        n = next(n for since, n in reversed(self._steps) if since <= now)
        if len(self._passed) >= n:
            return self._passed[-n] + self._per - now
        self._passed.append(now)
        return 0.0

    def ideal_seconds(self, count: int) -> float:
        # The first window's n are free: they may all come at second 0, the next n one `per` later, and
        # so on; the last of `count` comes in window number ceil(count / n), counted from 1.
        return max(0, math.ceil(count / self._steps[0][1]) - 1) * self._per


class TokenBucket:
    """`rate` tokens a second flow in, at most `burst` are kept, a request takes one."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = float(burst), 0.0

    def admit(self, now: float) -> float:
        self._tokens = min(float(self._burst), self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0

    def ideal_seconds(self, count: int) -> float:
        # The burst is free, every other request waits for its own token.
        return max(0, count - self._burst) / self._rate


def make_limit(settings: Mapping[str, Any] | None) -> Limit:
    """From {"window": n, "per": s}, {"steps": [[s, n], ...], "per": s}, {"rate": r, "burst": b} or None."""
    if settings is None:
        return Unlimited()
    if "rate" in settings:
        return TokenBucket(settings["rate"], settings["burst"])
    steps = settings.get("steps") or [(0.0, settings["window"])]
    return StrictWindow([(since, n) for since, n in steps], settings["per"])
