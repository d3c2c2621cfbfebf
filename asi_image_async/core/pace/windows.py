"""Told limits, kept exactly: windows that are never over their number."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from ...policies import RateLimit

__all__ = ["Turn", "Windows", "margin"]


@dataclass(slots=True, eq=False)
class Turn:
    """One request: when it was let go, how long it had to wait for that, when it really left.

    `sent` is None until that is known: a connection may have to be made first.
    """

    granted: float
    waited: float = 0.0
    sent: float | None = None
    refused: bool = False


def margin(per: float) -> float:
    """Seconds added to a window: requests sent `per` apart may reach the server closer together."""
    return min(0.5, 0.01 * per + 0.01)


class Windows:
    """Several limits held at once: no window of any of them ever holds more than its number.

    A limit is used as early as it allows: its whole number at once, then each as an old one leaves
    the window.
    """

    def __init__(self, limits: Iterable[RateLimit]) -> None:
        self._windows: list[tuple[float, deque[Turn]]] = [
            (limit.per, deque(maxlen=limit.n)) for limit in limits
        ]

    def opens_at(self, now: float, *, evenly: float = 0.0) -> float:
        """The earliest time, not before `now`, at which one more request may go out.

        `evenly`: in windows up to so many seconds requests go spaced, and half of the margin will do.
        """
        opens = now
        for per, turns in self._windows:
            if len(turns) == turns.maxlen:
                # One that is still connecting leaves now at the earliest.
                first = now if turns[0].sent is None else turns[0].sent
                opens = max(opens, first + (per + margin(per) / (2 if per <= evenly else 1)))
        return opens

    def add(self, turn: Turn) -> None:
        """One request is let go."""
        for _, turns in self._windows:
            turns.append(turn)

    def take_back(self, turn: Turn) -> None:
        """It never left."""
        for _, turns in self._windows:
            if turn in turns:
                turns.remove(turn)

    def recall(self, earlier: Iterable[Turn]) -> None:
        """Requests of the past, which may be older than those that are known, are put in their place."""
        earlier = list(earlier)
        for _, turns in self._windows:
            both = sorted([*turns, *earlier], key=lambda turn: math.inf if turn.sent is None else turn.sent)
            turns.clear()
            turns.extend(both)
