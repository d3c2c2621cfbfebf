"""What refusals teach: how long to wait, how far apart requests go after that, and when to try for more."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator

from ...policies import RateLimit
from .strays import CONFIRMED, count_before, is_stray
from .windows import Turn, Windows, margin

__all__ = ["Pace"]

# The windows that services count in: a second, ten, a minute. Beyond: how often to look again.
_USUAL = (1.0, 10.0, 60.0, 300.0, 600.0)
_FIRST_ALLOWANCE = 2
_GENTLE = 8  # up to here the allowance doubles with each round of replies; then it grows by half
_FIRST_STEP = 0.05
_LONGEST_HOLD = 600.0
# Seconds between requests (one, and its slack): where they are closer, a refused try costs little.
_CHEAP_TRY = 1.02
_KEPT = 10_000  # of the turns of the past
# Where only one goes in a window, so many refusals among so many turns say that even this is too much.
_LAST, _TOO_MANY = 10, 4
# Between tries for more, each of which may be refused: so many windows; and requests, at least and at most.
_LONG, _LEAST_SENT, _MOST_SENT = 10, 50, 500


class Pace:
    """The pace of one session: the told limits, kept exactly, and what the service's refusals teach.

    `limits` None: nothing was told. Then a few requests go first, and twice as many while none is
    refused. After a refusal everyone waits; one request goes alone, and when that is let through the
    others follow, evenly spaced. How long to wait and how far apart is found from how many were let
    through before, in the shortest usual window that explains the refusal. From then on the number is
    cut at most once a refusal that is not of the same burst, and raised, rarely, while it is used up.

    Once a number is known, told or learnt, a refusal can be told from that limit's: where others were let
    through with as many before them it is a stray one, as of a busy service, and nothing is cut.

    `limits` empty: there is no pace until the first refusal, which teaches one.
    """

    def __init__(self, limits: Iterable[RateLimit] | None, width: int) -> None:
        self._told = tuple(limits or ())
        self._windows = Windows(self._told)
        self._past: deque[Turn] = deque(maxlen=_KEPT)
        self._recalled: Counter[float] = Counter()
        # The ramp: how many may be out without a sign that they were let through.
        self._width = width
        self._allowance: float = width if limits is not None else min(width, _FIRST_ALLOWANCE)
        self._unconfirmed: deque[Turn] = deque()
        # The pace: `_n` requests in `_per` seconds; 0 is none of our own.
        self._n = self._per = 0.0
        self._grow_at = 0.0
        self._tried_at = self._n_before_try = 0.0
        self._paced_since = -math.inf  # by this number
        self._step = _FIRST_STEP
        # The pause: from the first refusal until a probe is let through.
        self.closed_until = 0.0
        self._floor = 0.0  # what the service has asked to wait for, whatever happens meanwhile
        self._closed_at = self._cut_at = -1.0
        self._refused: Turn | None = None
        self._is_stray = False  # that one
        self._pauses: Iterator[tuple[float, float]] = iter(())
        self._trying = 0.0
        self._asked = 0.0
        self._probe: Turn | None = None
        self._patience = CONFIRMED

    @property
    def interval(self) -> float:
        """Seconds between requests; 0 is no spacing."""
        slack = 1.005 if self._told else 1.02
        return self._per * slack / self._n if self._n else 0.0

    @property
    def asked_until(self) -> float:
        """Until when the service has asked to send nothing."""
        return self._floor

    @property
    def learnt(self) -> tuple[float, float] | None:
        """What refusals taught: so many requests in so many seconds; None is nothing."""
        return (self._n, self._per) if self._n and not self._told else None

    def recall(self, learnt: tuple[float, float], now: float) -> None:
        """Begin with what an earlier run learnt, unless a limit was told or something is known already."""
        if not self._told and not self._n and self._refused is None:
            self._n, self._per = learnt
            self._allowance = self._width
            self._hold(now, new=False)

    def opens_at(self, now: float) -> float:
        """The earliest time, not before `now`, at which the next request may go out."""
        while self._unconfirmed and self._unconfirmed[0].granted + CONFIRMED <= now:
            self._confirm(self._unconfirmed[0])
        if self._probe is not None and now >= self.closed_until:  # nobody refused it
            self._let_through(now)
        opens = max(self._windows.opens_at(now, evenly=self._per), self.closed_until)
        if len(self._unconfirmed) >= self._allowance:
            opens = max(opens, self._unconfirmed[0].granted + CONFIRMED)
        return opens

    def grant(self, now: float, *, waited: float = 0.0) -> Turn:
        """One request goes."""
        turn = Turn(now, waited)
        self._windows.add(turn)
        self._past.append(turn)
        if self._allowance < self._width:
            self._unconfirmed.append(turn)
        if self._refused is not None:  # the first after a pause goes alone
            self._probe = turn
            self.closed_until = now + self._patience
        return turn

    def take_back(self, turn: Turn) -> None:
        """It never left, so no service has counted it."""
        self._windows.take_back(turn)
        if turn in self._past:
            self._past.remove(turn)

    def recall_turns(self, stamps: Iterable[float], ahead: float, now: float) -> None:
        """Requests that other sessions sent count in the windows too, each once however often it is recalled.

        `stamps` are on a clock that is so many seconds `ahead` of this one. One of the future, as where that
        clock was set back, counts as of now.
        """
        found = Counter(stamps)
        new = (found - self._recalled).elements()
        self._recalled |= found
        times = [min(now, stamp - ahead) for stamp in new]
        self._windows.recall(Turn(at, sent=at) for at in times)

    def succeeded(self, turn: Turn, now: float) -> None:
        """It was let through."""
        self._confirm(turn)
        if turn is self._probe:
            self._let_through(now)
        if self._n and turn.waited and self._refused is None and now >= self._grow_at:
            self._grow(now)

    def failed(self, turn: Turn, now: float) -> None:
        """It failed for another reason: no sign of a limit, but not the time to grow."""
        self._discard(turn)
        self._grow_at = max(self._grow_at, now + 5.0)
        if turn is self._probe:
            self._let_through(now)

    def refused(self, turn: Turn, now: float, retry_after: float | None, chance: float) -> float:
        """The service said: too many. Returns the seconds that nothing may go out.

        `retry_after` is a floor. `chance` in [0, 1) adds a little, so that programs that were refused
        together do not come back together.
        """
        turn.refused = True
        self._discard(turn)
        self._floor = max(self._floor, now + (retry_after or 0.0))
        if turn.granted <= self._closed_at and turn is not self._probe:  # of the same burst
            self.closed_until = max(self.closed_until, self._floor)
            return self.closed_until - now
        self._closed_at = now
        # How long a probe is waited for: refusals come quickly, pictures do not.
        self._patience = min(30.0, max(0.25, 4 * (now - turn.granted)))
        self._probe = None
        before = self._refused
        if before is None:
            self._refused = turn
            self._pauses = self._ladder(turn)
        self._trying, reopens = next(self._pauses)
        if before is not None and not self._told and not self._n:
            # A window that has passed without a request is none that explains the refusal after it.
            empty = min(turn.granted - before.granted, _USUAL[-1])
            while self._trying < empty:
                self._trying, reopens = next(self._pauses)
        self._asked = retry_after or 0.0
        if retry_after and before is None:  # where that is waited for and refused again, it said too little
            if not self._told and not self._is_stray:  # else a wait says nothing of a window
                self._trying = max(self._per, _usual(retry_after))
            reopens = now + 2 * self.interval
        reopens = max(reopens, self._floor, now + 0.05)
        self.closed_until = reopens + chance * min(1.0, 0.05 * (reopens - now))
        return self.closed_until - now

    def _discard(self, turn: Turn) -> None:
        if turn in self._unconfirmed:
            self._unconfirmed.remove(turn)

    def _confirm(self, turn: Turn) -> None:
        if turn in self._unconfirmed:
            self._unconfirmed.remove(turn)
            self._allowance += 1 if self._allowance < _GENTLE else 0.5

    def _let_through(self, now: float) -> None:
        """The probe was not refused: the window that was tried explains the refusal."""
        refused, self._refused, self._probe = self._refused, None, None
        self.closed_until = max(now, self._floor)
        self._allowance = self._width  # the ramp is over
        longer = self._trying > self._per
        if refused is not None and (longer or (self._trying < self._per and not self._told)):
            self._per = self._trying
            self._n = float(max(1, count_before(refused, self._past, self._per)))
        if not self._is_stray:
            self._paced_since = now
            self._hold(now, new=longer)

    def _hold(self, now: float, *, new: bool) -> None:
        """When to try for more: soon where the pace is a first guess, rarely after that.

        At a slow pace each try is a refusal of some weight, so a new guess is left alone there too, but where
        only one was let through: nothing says less. And where the service asks for a wait, a refusal costs
        that wait, and was no guess.
        """
        self._step = _FIRST_STEP
        guess = new and not self._asked and (self._n == 1 or self.interval <= _CHEAP_TRY)
        long = min(
            max(_LONG * self._per, _LEAST_SENT * self.interval), max(self._per, _MOST_SENT * self.interval)
        )
        hold = 2 * self._per if guess else max(long, 20 * self._asked)
        self._grow_at = now + min(_LONGEST_HOLD, max(1.0, hold))

    def _ladder(self, turn: Turn) -> Iterator[tuple[float, float]]:
        """The pauses to try, one after another: (the window that explains it, when the pause ends)."""
        self._is_stray = bool(self._told or self._n) and self._says_nothing(turn)
        if self._is_stray:
            yield self._per, self._closed_at + 2 * self.interval
            self._is_stray = False  # the next was refused too
        self._cut(turn)
        if self._n:
            pause = min(self._per, (10 if self._told else 2) * self.interval)
            yield min(_usual(pause), self._per), self._closed_at + pause
            yield self._per, self._reopening(turn, self._per)
        for per in _USUAL:
            if per > self._per:
                yield per, self._reopening(turn, per)
        while True:
            yield _USUAL[-1], self._closed_at + _USUAL[-1]

    def _reopening(self, turn: Turn, per: float) -> float:
        """When the oldest that was let through has left a window of this length."""
        since = turn.granted - per
        oldest = next((t.granted for t in self._past if not t.refused and t.granted > since), turn.granted)
        return max(oldest + per + margin(per), self._closed_at + per)

    def _says_nothing(self, turn: Turn) -> bool:
        """Whether it is a stray one, as far as can be told."""
        if self._told:
            windows = {self._per or min(limit.per for limit in self._told)}
        else:  # what was learnt may be of a longer window than it seemed
            windows = {self._per, *(per for per in _USUAL[:3] if per > self._per)}
        return is_stray(turn, self._past, windows, told=bool(self._told), cut_at=self._cut_at)

    def _cut(self, turn: Turn) -> None:
        """Fewer from now on: as many as were let through before the refusal, or before a try for more."""
        self._cut_at = self._closed_at
        longer = next((per for per in _USUAL if per > self._per), self._per)
        # What is refused in its first second was of what had been saved up; a longer one is full of pauses.
        saved_up = not self._told and self._per <= _USUAL[0] and turn.granted < self._paced_since + self._per
        if self._n == 1 and self._refused_lately(turn) >= _TOO_MANY:
            self._n, self._per = longer / self._per, longer
        if self._n:
            least = 0 if saved_up else self._n / 2
            fewer = max(1.0, least, min(0.97 * self._n, count_before(turn, self._past, self._per)))
            self._n = max(fewer, self._before_try(self._closed_at))
            self._n_before_try = 0.0
        elif self._told:
            # Refused although the told limit was kept: the service's burst is smaller than its rate
            # (or its clock differs). Evenly spaced, the same rate will do.
            limit = min(self._told, key=lambda limit: limit.per)
            self._n, self._per = float(limit.n), limit.per

    def _refused_lately(self, turn: Turn) -> int:
        return sum([each.refused for each in self._past if each.granted <= turn.granted][-_LAST:])

    def _grow(self, now: float) -> None:
        more = max(self._n + 1, self._n * (1 + self._step))
        if self._told:
            tops = (limit.n * self._per / limit.per for limit in self._told if limit.per <= self._per)
            more = min(more, *tops)
        if more > self._n:
            self._n_before_try = self._before_try(now) or self._n
            self._tried_at, self._n = now, more
        self._step = min(1.0, 2 * self._step)
        self._grow_at = now + max(1.0, 4 * self.interval)

    def _before_try(self, at: float) -> float:
        """The number before the try for more that a refusal at that time would be laid to; 0 is none."""
        return self._n_before_try if at < self._tried_at + _LONG * self._per else 0.0


def _usual(seconds: float) -> float:
    """The shortest usual window that is at least so long."""
    return next((per for per in _USUAL if per >= seconds), _USUAL[-1])
