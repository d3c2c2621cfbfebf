"""What has been used: sums over events, in bounded memory."""

from __future__ import annotations

import math
from collections import Counter, deque
from contextlib import suppress
from typing import Any

from ..errors import APIError, APIStatusError
from ..events import Event, RequestCancelled, RequestFailed, RequestStarted, RequestSucceeded, RetryScheduled
from ..models import ImageRequest

__all__ = ["Usage", "images_asked"]

_LATENCIES_KEPT = 2048
_MOST_IMAGES = 1e9  # a larger `n` is nonsense, and the journal must be able to store the sum


class Usage:
    """Live sums: `requests` sent, `images` and `bytes_received`, `retries`, `throttled` (answers of 429).

    `left_out`: pictures that could not be had, of replies with others. `retries_by_reason`: by status or by
    the error's name. `billed_at_least`, `billed_at_most`: images; where the line was cut, or the request was
    given up, all that it asked for may have been, and so may what is left out. `waited`: seconds that
    requests waited for the limit, summed.

    `latency(q)` and `latency_p50`, `latency_p95`, `latency_p99` are seconds of the last successful
    requests, waiting for a turn left out; None before the first.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.images = 0
        self.left_out = 0
        self.retries = 0
        self.retries_by_reason: Counter[str] = Counter()
        self.throttled = 0
        self.billed_at_least = 0
        self.billed_at_most = 0
        self.waited = 0.0
        self.bytes_received = 0
        self._latencies: deque[float] = deque(maxlen=_LATENCIES_KEPT)

    def note(self, event: Event) -> None:
        """Count an event."""
        match event:
            case RequestStarted():
                self.requests += 1
                self.retries += event.attempt > 1
                self.waited += event.waited
            case RequestSucceeded():
                self.images += event.images
                self.left_out += event.left_out
                self.billed_at_least += event.images
                self.billed_at_most += event.images + event.left_out
                self.bytes_received += event.bytes_received
                self._latencies.append(event.elapsed)
            case RequestFailed(error=error):
                self.throttled += isinstance(error, APIStatusError) and error.status == 429
                self.billed_at_most += images_asked(event.request) if error.maybe_billed else 0
            case RequestCancelled():
                self.billed_at_most += images_asked(event.request) if event.maybe_billed else 0
            case RetryScheduled(error=error):
                self.retries_by_reason[_reason(error)] += 1

    def sums(self, *, in_flight: int = 0) -> dict[str, Any]:
        """What a RunReport has of these; so many images `in_flight` may have been billed too."""
        return {
            "requests": self.requests,
            "retries": self.retries,
            "retries_by_reason": dict(self.retries_by_reason),
            "throttled": self.throttled,
            "billed_at_least": self.billed_at_least,
            "billed_at_most": self.billed_at_most + in_flight,
            "left_out": self.left_out,
            "bytes_received": self.bytes_received,
            "waited": self.waited,
            "latency_p50": self.latency_p50,
            "latency_p95": self.latency_p95,
            "latency_p99": self.latency_p99,
        }

    def latency(self, quantile: float) -> float | None:
        """Seconds that the given share (0 to 1) of the last requests stayed under."""
        if not self._latencies:
            return None
        ordered = sorted(self._latencies)
        return ordered[max(0, math.ceil(quantile * len(ordered)) - 1)]

    @property
    def latency_p50(self) -> float | None:
        """The median."""
        return self.latency(0.50)

    @property
    def latency_p95(self) -> float | None:
        """What 95 of 100 stayed under."""
        return self.latency(0.95)

    @property
    def latency_p99(self) -> float | None:
        """What 99 of 100 stayed under."""
        return self.latency(0.99)

    def __repr__(self) -> str:
        return (
            f"Usage(requests={self.requests}, images={self.images}, retries={self.retries},"
            f" throttled={self.throttled}, bytes_received={self.bytes_received})"
        )


def images_asked(request: ImageRequest) -> int:
    """How many pictures a request asks for: its `n`, in whatever form a service might take it, or one."""
    n = request.sent_beside.get("n")
    if isinstance(n, int | float | str) and not isinstance(n, bool):
        with suppress(ValueError, OverflowError):
            return max(1, math.ceil(min(float(n), _MOST_IMAGES)))
    return 1


def _reason(error: APIError) -> str:
    return str(error.status) if isinstance(error, APIStatusError) else type(error).__name__
