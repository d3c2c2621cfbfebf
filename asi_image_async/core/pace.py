"""When the next request may go out: windows that are never over their number, and a pace that learns."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ..policies import RateLimit

__all__ = ["AutoPace", "Windows", "margin"]


def margin(per: float) -> float:
    """Seconds added to a window: requests sent `per` apart may reach the server closer together."""
    return min(0.5, 0.02 * per + 0.01)


class Windows:
    """Several limits held at once: no window of any of them ever holds more than its number.

    A limit is used as early as it allows: its whole number at once, then each as an old one leaves
    the window. Times are seconds on any clock that only goes forward.
    """

    def __init__(self, limits: Iterable[RateLimit]) -> None:
        self._windows: list[tuple[float, deque[float]]] = [
            (limit.per + margin(limit.per), deque(maxlen=limit.n)) for limit in limits
        ]

    def opens_at(self, now: float) -> float:
        """The earliest time, not before `now`, at which one more request may go out."""
        return max([now, *(sent[0] + per for per, sent in self._windows if len(sent) == sent.maxlen)])

    def sent(self, now: float) -> None:
        """One request goes out now."""
        for _, times in self._windows:
            times.append(now)


class AutoPace:
    """The pace after a refusal: closed for a while, then evenly spaced, and faster with each success.

    Where nobody told the limit this is all that finds it. Each refusal doubles the pause and the
    spacing; a burst of refusals counts as one.
    """

    FIRST_PAUSE = 1.0
    LONGEST_PAUSE = 60.0
    LONGEST_INTERVAL = 30.0

    def __init__(self) -> None:
        self.interval = 0.0  # seconds between requests; 0 is no spacing
        self.closed_until = 0.0
        self._refusals_in_a_row = 0

    def refused(self, now: float, sent_at: float, retry_after: float | None, chance: float) -> float:
        """The service refused a request sent at `sent_at`; returns the seconds nothing may go out.

        `retry_after` is a floor; `chance` in [0, 1) adds a little, so that programs that were refused
        together do not come back together.
        """
        if sent_at < self.closed_until:  # sent before the gate closed: the same burst of refusals
            pause = 0.0
        else:
            pause = min(self.LONGEST_PAUSE, self.FIRST_PAUSE * 2.0**self._refusals_in_a_row)
            self._refusals_in_a_row = min(self._refusals_in_a_row + 1, 10)
            self.interval = min(self.LONGEST_INTERVAL, max(2 * self.interval, pause / 4))
        wait = max(pause, retry_after or 0.0)
        if now + wait > self.closed_until:
            self.closed_until = now + wait + chance * min(1.0, 0.1 * wait)
        return self.closed_until - now

    def succeeded(self) -> None:
        """A request was let through: the spacing shrinks, so that the limit is found again."""
        self._refusals_in_a_row = 0
        self.interval = self.interval * 0.9 if self.interval > 0.01 else 0.0
