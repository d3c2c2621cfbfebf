"""What a user asks of the pace and of retries: `RateLimit` and `RetryPolicy`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ConfigurationError

__all__ = ["RateLimit", "RetryPolicy", "parse_rate_limits", "parse_retry"]

_UNITS = {
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0,
    "m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0,
    "h": 3600.0, "hour": 3600.0, "hours": 3600.0,
    "d": 86400.0, "day": 86400.0, "days": 86400.0,
}  # fmt: skip
_RATE = re.compile(r"\s*(\d{1,15})\s*/\s*(\d{1,15}(?:\.\d{1,15})?)?\s*([a-z]+)\s*", re.ASCII)
_LARGEST = sys.float_info.max  # a whole number may be larger, and is no number of seconds then
_RATE_HINT = 'Write a rate as "3/min", "20/2s" or "500/day"; the units are s, min, h and day.'


@dataclass(frozen=True)
class RateLimit:
    """At most `n` requests in any `per` seconds.

    `shared`: a name, or the path of a file; all processes of a machine that give the same keep the limit
    together. Where some keep several so, all have to keep the same ones: a slot of one grows old while
    another is waited for. Raises ConfigurationError where `n` is not a whole number from 1 to
    10**15 - 1, `per` is not positive or `shared` is neither.
    """

    n: int
    per: float
    shared: str | Path | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.n, bool) or not isinstance(self.n, int) or not 1 <= self.n < 10**15:
            raise ConfigurationError(
                f"a rate limit needs a whole number of requests, from 1 to 10**15 - 1, not {self.n!r}",
                hint=_RATE_HINT,
            )
        if (
            isinstance(self.per, bool)
            or not isinstance(self.per, int | float)
            or not (0 < self.per <= _LARGEST)
        ):
            raise ConfigurationError(
                f"a rate limit needs a positive number of seconds, not {self.per!r}",
                hint=_RATE_HINT,
            )
        if not isinstance(self.shared, str | Path | None):
            raise ConfigurationError(f"a limit is shared by a name or a path, not by {self.shared!r}")

    @classmethod
    def parse(cls, text: str) -> RateLimit:
        """Read `"3/min"`, `"20/2s"` or `"500/day"`."""
        match = _RATE.fullmatch(text.lower()) if isinstance(text, str) else None
        if match is None or match[3] not in _UNITS:
            raise ConfigurationError(f"{str(text)[:40]!r} is not a rate", hint=_RATE_HINT)
        return cls(int(match[1]), float(match[2] or 1) * _UNITS[match[3]])


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When a request is tried again.

    `max_attempts`: tries in all, 1 means none again. `max_wait`: the longest wait, in seconds, that
    the service may ask for (Retry-After) before the run stops by name instead. `resend_unknown`:
    send again where it is not known whether the first was billed, unless a whole reply came that cannot be
    read. `backoff` and `max_backoff`: the first and the longest wait, in seconds, where the service names
    none; it doubles in between. After a 429 the session's pace says when instead.
    """

    max_attempts: int = 4
    max_wait: float = 300.0
    resend_unknown: bool = False
    backoff: float = 0.5
    max_backoff: float = 60.0

    def __post_init__(self) -> None:
        attempts = self.max_attempts
        if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
            raise ConfigurationError(
                f"max_attempts must be a whole number of at least 1, not {attempts!r}",
                hint="1 means: no retry.",
            )
        for name in ("max_wait", "backoff", "max_backoff"):
            value = getattr(self, name)
            wrong = isinstance(value, bool) or not isinstance(value, int | float)
            if wrong or not (0 <= value <= _LARGEST):
                raise ConfigurationError(f"{name} must be a number of seconds, not {value!r}")
        if not isinstance(self.resend_unknown, bool):  # "no" is true, and would pay twice
            raise ConfigurationError(f"resend_unknown must be True or False, not {self.resend_unknown!r}")


def parse_rate_limits(
    value: str | RateLimit | Iterable[str | RateLimit] | None,
) -> tuple[RateLimit, ...] | None:
    """The limits that hold together: `()` for no limit, `None` for `"auto"`."""
    if value is None:
        return ()
    if value == "auto":
        return None
    if isinstance(value, str | RateLimit):
        value = [value]
    if not isinstance(value, Iterable) or isinstance(value, bytes):
        raise ConfigurationError(f"{value!r} is not a rate", hint=_RATE_HINT)
    limits = tuple(_one(item) for item in value)
    places = [limit.shared for limit in limits if limit.shared is not None]
    if len(set(map(str, places))) < len(places):
        raise ConfigurationError(
            "two limits share one name", hint="Give each shared limit a name or path of its own."
        )
    return limits


def _one(item: object) -> RateLimit:
    if isinstance(item, RateLimit):
        return item
    if isinstance(item, str):
        return RateLimit.parse(item)
    raise ConfigurationError(f"{item!r} is not a rate", hint=_RATE_HINT)


def parse_retry(value: RetryPolicy | int) -> RetryPolicy:
    """A policy as it is, or a number of attempts."""
    return value if isinstance(value, RetryPolicy) else RetryPolicy(max_attempts=value)
