"""Rate limits and faults: plain state, told the time and the prompt, that never waits."""

import random
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from .knobs import Fault, Knobs


class Limit(Protocol):
    """A limit says how long until it would let a request through, and is told of each."""

    def wait(self, now: float) -> float:
        """Seconds until it would let one more through; 0 for now."""
        ...

    def charge(self, now: float) -> None:
        """Count one that was let through."""
        ...


class SlidingWindow:
    """At most n requests in any window of `per` seconds, wherever the window begins."""

    def __init__(self, n: int, per: float) -> None:
        self._passed: deque[float] = deque(maxlen=n)
        self._n, self._per = n, per

    def wait(self, now: float) -> float:
        """Seconds until one more fits; 0 if it fits now."""
        if len(self._passed) < self._n:
            return 0.0
        return max(0.0, self._passed[0] + self._per - now)

    def charge(self, now: float) -> None:
        """Count a request that was let through."""
        self._passed.append(now)


class TokenBucket:
    """`rate` tokens a second flow in, at most `burst` are kept, a request takes one."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = float(burst), 0.0

    def wait(self, now: float) -> float:
        """Seconds until there is a token; 0 if there is one."""
        return max(0.0, (1 - self._held(now)) / self._rate)

    def charge(self, now: float) -> None:
        """Take a token."""
        self._tokens, self._at = self._held(now) - 1, now

    def _held(self, now: float) -> float:
        return min(float(self._burst), self._tokens + (now - self._at) * self._rate)


class Limits:
    """Several limits as one: a request that any refuses is charged to none."""

    def __init__(self, knobs: Knobs) -> None:
        self._limits: list[Limit] = [SlidingWindow(n, per) for n, per in knobs.rate_limit]
        if knobs.token_bucket is not None:
            self._limits.append(TokenBucket(*knobs.token_bucket))

    def admit(self, now: float) -> float:
        """0 and the request is counted, or the seconds until it would be let through."""
        wait = max((limit.wait(now) for limit in self._limits), default=0.0)
        if wait <= 0:
            for limit in self._limits:
                limit.charge(now)
        return wait


class FaultPlan:
    """Which fault, if any, strikes the next request."""

    def __init__(self, faults: Sequence[Fault], seed: int) -> None:
        self._faults = list(faults)
        self._seen = [0] * len(self._faults)
        # Each has its own chance, so that one more fault does not move where the others strike.
        self._chance = [random.Random(f"{seed}/{at}") for at in range(len(self._faults))]

    def strike(self, prompt: str) -> Fault | None:
        """The first fault whose conditions hold; all of them see every request."""
        struck = [at for at in range(len(self._faults)) if self._holds(at, prompt)]
        return self._faults[struck[0]] if struck else None

    def _holds(self, at: int, prompt: str) -> bool:
        fault = self._faults[at]
        if fault.prompt is not None and fault.prompt not in prompt:
            return False
        self._seen[at] += 1
        drawn = self._chance[at].random()
        return (
            (fault.rate is None or drawn < fault.rate)
            and (fault.every is None or self._seen[at] % fault.every == 0)
            and (fault.first is None or self._seen[at] <= fault.first)
        )
