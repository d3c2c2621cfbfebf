"""How long the service asks to wait, in any of the headers that say so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

__all__ = ["seconds_to_wait"]

# As text, so that `re` compiles them when there is a wait to read, not at the import.
_SECONDS = r"(?a)\d{1,15}(\.\d{0,15})?"
_SPAN = r"(?a)(?:\d{1,9}(?:\.\d{1,9})?(?:ms|[smhd]))+"
_PART = r"(?a)([\d.]+)(ms|[smhd])"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_EPOCH = 1e9  # a larger number of seconds is a moment, not a span
# The fields of `RateLimit`, by the names of the drafts: "remaining=0, reset=5" and ";r=0;t=5".
_REMAINING = r"(?a)(?:remaining|\br)\s*=\s*(\d{1,15})\b"
_RESET = r"(?a)(?:reset|\bt)\s*=\s*(\d{1,15})\b"


def seconds_to_wait(status: int, headers: Mapping[str, str], now: float) -> float | None:
    """The longest wait that a reply asks for, or None. `now`: seconds since the epoch.

    `Retry-After` (RFC 9110, 10.2.3: seconds or a date) and `retry-after-ms` with any status; with 429 and
    503 also `x-ratelimit-reset`, with or without "-requests" or "-tokens", and `RateLimit` and
    `RateLimit-Reset` (the IETF's drafts), unless they say that something remains. No such header has been
    seen from this service; these are the forms that others send. A moment is measured against the reply's
    own `Date`, where there is one: the clocks may differ.
    """
    here = _date(headers.get("Date", "")) or now
    waits = [*_retry_after(headers, here)]
    if status in (429, 503):
        waits += _resets(headers, here)
    return max(waits, default=None)


def _retry_after(headers: Mapping[str, str], now: float) -> Iterator[float]:
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        yield milliseconds / 1000
    elif (seconds := _span(headers.get("Retry-After", ""), now)) is not None:
        yield seconds


def _resets(headers: Mapping[str, str], now: float) -> Iterator[float]:
    for what in ("x-ratelimit-{}", "x-ratelimit-{}-requests", "x-ratelimit-{}-tokens", "ratelimit-{}"):
        remaining = _number(headers.get(what.format("remaining"), "0"))
        reset = _span(headers.get(what.format("reset"), ""), now)
        if reset is not None and not remaining:
            yield reset
    for item in headers.get("RateLimit", "").split(', "'):  # several policies may stand in one list
        left, reset_in = re.search(_REMAINING, item), re.search(_RESET, item)
        if reset_in and not (left and int(left[1])):
            yield float(reset_in[1])


def _span(text: str, now: float) -> float | None:
    """Seconds from "12", "1m30s", "250ms", a moment since the epoch, or a date."""
    text = text.strip()
    if (number := _number(text)) is not None:
        if number >= _EPOCH * 1000:
            number /= 1000
        return max(0.0, number - now) if number >= _EPOCH else number
    if re.fullmatch(_SPAN, text):
        return sum(float(value) * _UNITS[unit] for value, unit in re.findall(_PART, text))
    until = _date(text)
    return None if until is None else max(0.0, until - now)


def _number(text: str) -> float | None:
    text = text.strip()
    return float(text) if re.fullmatch(_SECONDS, text) else None


def _date(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        # Without a zone it is UTC, as RFC 9110 has every date; not this machine's own.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
