"""What happens on the way, told to the observer: progress, logs and traces are built on these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .errors import APIError, SinkError
from .models import ImageRequest, Receipt
from .outcomes import Outcome

__all__ = [
    "Event",
    "ImageNotStored",
    "ImageStored",
    "OutcomeReady",
    "RateChanged",
    "RequestCancelled",
    "RequestFailed",
    "RequestStarted",
    "RequestSucceeded",
    "RetryScheduled",
    "Throttled",
    "WaitStarted",
]


@dataclass(frozen=True)
class RequestStarted:
    """A request is about to go out; `attempt` counts from 1, `waited` is seconds for the limit."""

    request: ImageRequest
    attempt: int
    waited: float = 0.0


@dataclass(frozen=True)
class RequestSucceeded:
    """A reply with pictures came back after `elapsed` seconds, `bytes_received` long.

    `left_out`: so many of its pictures could not be had (see `Generation`); `images` are the others.
    """

    request: ImageRequest
    attempt: int
    elapsed: float
    bytes_received: int
    images: int
    left_out: int = 0


@dataclass(frozen=True)
class RequestFailed:
    """An attempt ended without pictures."""

    request: ImageRequest
    attempt: int
    elapsed: float
    error: APIError


@dataclass(frozen=True)
class RequestCancelled:
    """Whoever asked gave up when an attempt was under way; `maybe_billed` where it had left this machine."""

    request: ImageRequest
    attempt: int
    elapsed: float
    maybe_billed: bool


@dataclass(frozen=True)
class RetryScheduled:
    """The request will be tried again, in `delay` seconds at the earliest.

    After a 429 that is 0: then `Throttled` says for how long nothing goes out.
    """

    request: ImageRequest
    attempt: int
    delay: float
    error: APIError


@dataclass(frozen=True)
class Throttled:
    """The service said "too many" (429, or a 503 that means it); nothing goes out for `pause` seconds."""

    pause: float


@dataclass(frozen=True)
class RateChanged:
    """From now on at most this many requests a second go out; None is no limit of ours."""

    per_second: float | None


@dataclass(frozen=True)
class WaitStarted:
    """The next request waits `seconds` for its turn, because of `reason` ("rate limit", "throttled")."""

    reason: str
    seconds: float


@dataclass(frozen=True)
class ImageStored:
    """The sink has the pictures of one request."""

    request: ImageRequest
    receipt: Receipt


@dataclass(frozen=True)
class ImageNotStored:
    """The sink could not store the pictures of one request; `error.generation` has them."""

    request: ImageRequest
    error: SinkError


@dataclass(frozen=True)
class OutcomeReady:
    """One prompt of a run is settled, in this run or (`skipped`) in an earlier one."""

    outcome: Outcome


Event: TypeAlias = (
    RequestStarted
    | RequestSucceeded
    | RequestFailed
    | RequestCancelled
    | RetryScheduled
    | Throttled
    | RateChanged
    | WaitStarted
    | ImageStored
    | ImageNotStored
    | OutcomeReady
)
