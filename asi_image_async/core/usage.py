"""What has been used: sums over events, in bounded memory."""

from __future__ import annotations

from collections import deque

from ..errors import APIStatusError
from ..events import Event, RequestFailed, RequestStarted, RequestSucceeded

__all__ = ["Usage"]

_LATENCIES_KEPT = 2048


class Usage:
    """Live sums: `requests` sent, `images` and `bytes_received`, `retries`, `throttled` (answers of 429).

    `latency(q)` and `latency_p50`, `latency_p95`, `latency_p99` are seconds of the last successful
    requests, waiting for a turn left out; None before the first.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.images = 0
        self.retries = 0
        self.throttled = 0
        self.bytes_received = 0
        self._latencies: deque[float] = deque(maxlen=_LATENCIES_KEPT)

    def note(self, event: Event) -> None:
        """Count an event."""
        match event:
            case RequestStarted(attempt=attempt):
                self.requests += 1
                self.retries += attempt > 1
            case RequestSucceeded():
                self.images += event.images
                self.bytes_received += event.bytes_received
                self._latencies.append(event.elapsed)
            case RequestFailed(error=APIStatusError(status=429)):
                self.throttled += 1

    def latency(self, quantile: float) -> float | None:
        """Seconds that the given share (0 to 1) of the last requests stayed under."""
        if not self._latencies:
            return None
        ordered = sorted(self._latencies)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]

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
