"""What the emulator counts, for tests and for other processes to read."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

KEPT = 10_000  # the latest requests that are remembered


@dataclass
class Received:
    """One request as it arrived; the Authorization value is not kept."""

    prompt: str | None
    idempotency_key: str | None
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    at: float
    billed: bool = False
    status: int | None = None


@dataclass(eq=False)
class Ledger:
    """Counters of one emulator; `billed` counts the requests whose work was begun.

    A client that goes away does not get its money back, nor does one whose line is cut.
    """

    requests: int = 0
    billed: int = 0
    refused_429: int = 0
    in_flight: int = 0
    peak_in_flight: int = 0
    files_served: int = 0
    files_asked_with_key: int = 0
    received: deque[Received] = field(default_factory=lambda: deque(maxlen=KEPT), repr=False)

    @property
    def billed_by_prompt(self) -> Counter[str]:
        """How often each prompt was billed, among the requests that are remembered."""
        return Counter(request.prompt for request in self.received if request.billed and request.prompt)

    def arrive(self, request: Received) -> None:
        """Count a request in."""
        self.requests += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        self.received.append(request)

    def leave(self) -> None:
        """Count a request out, however it ended."""
        self.in_flight -= 1

    def bill(self, request: Received) -> None:
        """Count the work for a request as begun, and so as paid for."""
        self.billed += 1
        request.billed = True

    def stats(self) -> dict[str, int]:
        """The counters alone."""
        names = {each.name for each in fields(Ledger)} - {"received"}
        return {name: getattr(self, name) for name in sorted(names)}
