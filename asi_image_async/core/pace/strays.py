"""Whether a refusal is a limit's, or a stray one, as of a busy service."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence

from .windows import Turn

__all__ = ["CONFIRMED", "count_before", "is_stray"]

# A refusal comes before any work is done: after so many seconds without one, it was let through.
CONFIRMED = 0.5
_BREATH = 0.05  # seconds: which of a burst is refused is not always the last to be let go
# So many turns are looked at; so many that were let through are a sign, and fewer are none.
_RECENT, _SOME = 200, 5
# Where the limit was learnt, so many refusals are too many for stray ones, and one of the last few is.
_MANY = 10
# Where it was told, each counts one, and each that is let through takes so much of that away (a CUSUM).
_PARDONED, _TOO_MANY = 0.08, 3.0


def is_stray(
    turn: Turn, past: Iterable[Turn], windows: Collection[float], *, told: bool, cut_at: float
) -> bool:
    """Whether refusals are rare, and others were let through lately with as many before them.

    `windows`: the lengths, in seconds, that the limit's may have. `told`: that limit was; then what was
    refused before the pace was last cut, at `cut_at`, has had its effect.
    """
    earlier = [each for each in past if each.granted < turn.granted]
    recent = [each for each in earlier[-_RECENT:] if not told or each.granted > cut_at]
    if len(earlier) < _SOME or (_are_many(recent) if told else _were_many(recent)):
        return False
    let_through = [each.granted for each in earlier if not each.refused]
    confirmed = bisect_right(let_through, turn.granted - CONFIRMED)

    def explains(per: float) -> bool:
        number = count_before(turn, past, per)
        nths = range(max(0, confirmed - _RECENT), confirmed)
        alike = (nth - bisect_right(let_through, let_through[nth] - per) >= number for nth in nths)
        return sum(alike) < _SOME

    return not any(map(explains, windows))


def count_before(turn: Turn, past: Iterable[Turn], per: float) -> int:
    """How many were let through in the window that ended with this turn, or in the same breath."""
    since, until = turn.granted - per, turn.granted + _BREATH
    return sum(not each.refused and since < each.granted <= until for each in past)


def _are_many(turns: Iterable[Turn]) -> bool:
    score = 0.0
    for each in turns:
        score = score + 1 if each.refused else max(0.0, score - _PARDONED)
    return score >= _TOO_MANY


def _were_many(turns: Sequence[Turn]) -> bool:
    refused = [each.refused for each in turns]
    return any(refused[-_SOME:]) or sum(refused) >= _MANY
