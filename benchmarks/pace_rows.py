"""The rows of the pace benchmark: which service, who is told what, and what is read off the counters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .limits import make_limit
from .race import Entry, Result

Figures = dict[str, float | None]

# The limit changes when a learner has long found the first; it has 30 s to follow, then 10 s are looked at.
_CHANGES_AT = 20.0
_FOLLOWS_WITHIN = 30.0
_WATCHED = 10.0
# It follows when for 5 s it takes this share of the new limit at no more refusals than `auto` may have.
_SHARE, _REFUSALS, _SPAN = 0.85, 0.060, 5.0

RIVALS = (
    Entry("gather snippet", "gather snippet"),
    Entry("openai, defaults", "openai"),
    Entry("openai, max_retries=20", "openai", {"max_retries": 20}),
    Entry("aiometer", "aiometer"),
)


@dataclass(frozen=True)
class Row:
    """One table: `rate` is what ours is told, `per_second` the same for who counts so."""

    key: str
    title: str
    limit: dict[str, Any] | None
    count: int
    read: Callable[[Row, Result], Figures]
    rate: str | None = "auto"
    per_second: float | None = None
    retry_after: bool = False
    allowed: float = 150.0
    alone: bool = False  # it uses the whole processor, so nothing may run beside it
    entries: tuple[Entry, ...] = (Entry("ours", "ours"), *RIVALS)
    told: Mapping[str, str | None] = field(default_factory=dict)  # another `rate`, by label


def per_thousand(result: Result) -> float | None:
    """Refusals for each 1,000 pictures delivered."""
    refused = len(result.stats["refused"])
    return 1000 * refused / result.delivered if result.delivered else None


def efficiency(row: Row, result: Result) -> Figures:
    """How near to the least time that the limit allows for as many pictures as were delivered.

    For what was *delivered*: who gives up on nine of ten is soon done, and no faster for it. The ideal is
    of arrivals; that the last picture takes its 0.1 s too is counted against everyone.
    """
    ideal = make_limit(row.limit).ideal_seconds(result.delivered)
    return {
        "efficiency": ideal / result.seconds,
        "429s / 1,000": per_thousand(result),
        "delivered": result.delivered,
        "seconds": result.seconds,
    }


def efficiency_and_last_refusal(row: Row, result: Result) -> Figures:
    refused = result.stats["refused"]
    return {
        **efficiency(row, result),
        "429s in 1st second": sum(at < 1 for at in refused),
        "429s after it": sum(at >= 1 for at in refused),
        "last 429 at (s)": max(refused, default=None),
    }


def following(row: Row, result: Result) -> Figures:
    """After the limit has changed: when it is followed, and how much of it is used 30 s later."""
    assert row.limit is not None
    admitted, refused = result.stats["admitted"], result.stats["refused"]
    (_, before), (_, after) = row.limit["steps"]
    end = max([*admitted, *refused], default=0.0)

    def count(times: list[float], since: float, span: float) -> int:
        return sum(since <= at < since + span for at in times)

    def follows(since: float) -> bool:
        taken = count(admitted, since, _SPAN)
        return taken >= _SHARE * after * _SPAN and count(refused, since, _SPAN) <= _REFUSALS * taken

    looked_at = [step / 4 for step in range(int(4 * (_FOLLOWS_WITHIN + _WATCHED - _SPAN)) + 1)]
    watched = _CHANGES_AT + _FOLLOWS_WITHIN
    lasted = end >= watched + _WATCHED - 1  # who was through before then followed nothing
    share = count(admitted, watched, _WATCHED) / (_WATCHED * after)
    refusals = count(refused, watched, _WATCHED)
    return {
        "share before": count(admitted, _CHANGES_AT - _WATCHED, _WATCHED) / (_WATCHED * before),
        "follows after (s)": next((s for s in looked_at if lasted and follows(_CHANGES_AT + s)), None),
        "share 30 s after": share if lasted else None,
        "429s / 1,000 then": 1000 * refusals / (share * _WATCHED * after) if lasted and share else None,
        "429s / 1,000": per_thousand(result),
        "delivered": result.delivered,
    }


def overhead(row: Row, result: Result) -> Figures:
    return {
        "seconds": result.seconds,
        "delivered": result.delivered,
        "peak MB": result.said["peak_mb"] if result.said else None,
    }


def _changing(key: str, before: int, after: int) -> Row:
    seconds = _CHANGES_AT + _FOLLOWS_WITHIN + _WATCHED + 3  # 3: it takes a moment to start
    return Row(
        key,
        f"auto, strict {before}/s becoming {after}/s at {_CHANGES_AT:g} s; followed within 30 s?",
        {"steps": [[0, before], [_CHANGES_AT, after]], "per": 1},
        int(max(before, after) * seconds),
        following,
        allowed=seconds,
    )


ROWS = (
    Row("a", 'told "20/2s", true: 20 in any 2 s; 200 prompts',
        {"window": 20, "per": 2}, 200, efficiency, "20/2s", 10.0),
    Row("b", 'told "50/s", true: bucket of 50/s, burst 10; 1,000 prompts',
        {"rate": 50, "burst": 10}, 1000, efficiency_and_last_refusal, "50/s", 50.0),
    Row("c1", "auto, true: 20 in any 1 s, no Retry-After; 400 prompts",
        {"window": 20, "per": 1}, 400, efficiency),
    Row("c2", "auto, true: 20 in any 1 s, Retry-After; 400 prompts",
        {"window": 20, "per": 1}, 400, efficiency, retry_after=True),
    Row("d", 'told "50/s", true: 35 in any 1 s; 1,000 prompts',
        {"window": 35, "per": 1}, 1000, efficiency, "50/s", 50.0),
    _changing("e1", 20, 40),
    _changing("e2", 20, 10),
    Row("f", "no limit at all; 2,000 prompts", None, 2000, overhead, alone=True,
        entries=(Entry("ours, auto", "ours"), Entry("ours, rate_limit=None", "ours"), *RIVALS),
        told={"ours, rate_limit=None": None}),
)  # fmt: skip
