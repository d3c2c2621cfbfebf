"""The one table: whose fault a failure is, whether to try again, and after how long."""

from __future__ import annotations

from enum import Enum

from ..errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
)
from ..policies import RetryPolicy

__all__ = ["Money", "brings_nothing", "money", "pause", "retry_delay", "stops_all"]


class Money(Enum):
    """What happened to the money when an attempt failed."""

    NEVER_DELIVERED = "never delivered"
    REJECTED = "rejected before work"
    REFUSED = "refused"
    UNKNOWN = "unknown"


# Statuses that say "not now" about a request that was not worked on. 408: the server gave up
# waiting for the request. 425: it would not risk a replay. 429 and 503: too much at the moment.
_NOT_NOW = frozenset({408, 425, 429, 503})
_GATEWAYS_PATIENCE = frozenset({504, 524, 598})  # statuses: it was over

_IN_A_ROW = 3  # prompts; of one alone it may have been chance


def money(error: APIError) -> Money:
    """Sort a failure by what happened to the money.

    - No connection: nothing was delivered, so nothing was billed.
    - A quota spent, a key refused, a request not understood: asking again changes nothing.
    - 429, 503: refused before any work, and worth another try.
    - 502, 504, 520, 524, 598, 599: a gateway's word that its upstream's answer was lost or late, so the work
      may have been done: unknown.
    - Any other 5xx: an answer came that delivers nothing and so bills nothing (500 is the documented
      "internal error"), and is worth another try.
    - The request went out and no whole reply came back, or a reply without a readable picture: unknown.
    """
    if isinstance(error, QuotaExceededError):
        return Money.REFUSED
    if error.maybe_billed:
        return Money.UNKNOWN
    if isinstance(error, APIStatusError):
        worth_it = error.status in _NOT_NOW or isinstance(error, ServerError | RateLimitError)
        return Money.REJECTED if worth_it else Money.REFUSED
    if isinstance(error, APIConnectionError):
        return Money.NEVER_DELIVERED
    return Money.REFUSED


def retry_delay(error: APIError, attempt: int, policy: RetryPolicy, chance: float) -> float | None:
    """Seconds until the next try after number `attempt` (from 1), or None for no other.

    The wait that the service asks for (Retry-After) is a floor. `chance`: see `pause`.
    """
    fate = money(error)
    # A whole reply that we cannot read would come again in the same shape.
    resend = policy.resend_unknown and not isinstance(error, InvalidResponseError)
    again = fate in (Money.NEVER_DELIVERED, Money.REJECTED) or (fate is Money.UNKNOWN and resend)
    asked = (error.retry_after if isinstance(error, APIStatusError) else None) or 0.0
    if not again or attempt >= policy.max_attempts or asked > policy.max_wait:
        return None
    return asked + pause(attempt, policy, chance)


def pause(attempt: int, policy: RetryPolicy, chance: float) -> float:
    """Seconds to wait after try number `attempt`: doubling, and half of it chance in [0, 1).

    So clients that failed together do not return together; and a retry at once would meet the same trouble.
    """
    return min(policy.max_backoff, policy.backoff * 2.0 ** min(attempt - 1, 32)) * (0.5 + chance / 2)


def brings_nothing(error: APIError) -> bool:
    """Whether it took as long as a picture, may have been billed like one, and was none.

    So it may be with every prompt: where replies have a new shape, or take longer than they are waited for. A
    line that was cut is none of these: it is over before the first picture can be there.
    """
    late = isinstance(error, APIStatusError) and error.status in _GATEWAYS_PATIENCE
    return money(error) is Money.UNKNOWN and (
        late or isinstance(error, InvalidResponseError | APITimeoutError)
    )


def stops_all(
    error: APIError,
    *,
    anything_succeeded: bool,
    policy: RetryPolicy,
    unreached: int = 0,
    for_nothing: int = 0,
) -> bool:
    """Whether every other prompt would fail the same way, so that asking on is of no use.

    A refused key, a spent quota, an unknown endpoint, a wait longer than `max_wait`. 403 and 404 speak
    of one request only where another has succeeded (a model that this plan lacks, or that is misspelt).
    `unreached`: so many prompts found no connection, and none has found one. `for_nothing`: so many, the last
    ones, brought nothing for what may be their money (`brings_nothing`).
    """
    if isinstance(error, AuthenticationError | QuotaExceededError):
        return True
    if isinstance(error, PermissionDeniedError | NotFoundError):
        return not anything_succeeded
    if money(error) is Money.NEVER_DELIVERED:
        return unreached >= _IN_A_ROW
    if for_nothing >= _IN_A_ROW and not anything_succeeded:
        return True
    asked = error.retry_after if isinstance(error, APIStatusError) and error.status in _NOT_NOW else None
    return (asked or 0.0) > policy.max_wait
