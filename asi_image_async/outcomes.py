"""What became of a prompt, and of all the prompts of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from .errors import APIError, AsiImageError
from .models import Generation, ImageRequest, Receipt

__all__ = ["Done", "Failed", "Outcome", "RunReport"]


@dataclass(frozen=True)
class Done:
    """A prompt that became pictures; `skipped` where an earlier run made them (then none is loaded)."""

    index: int
    request: ImageRequest
    generation: Generation
    receipt: Receipt | None = None
    skipped: bool = False
    ok: Literal[True] = field(default=True, init=False, repr=False)

    def unwrap(self) -> Generation:
        """The generation."""
        return self.generation


@dataclass(frozen=True)
class Failed:
    """A prompt that did not become a picture, and why."""

    index: int
    request: ImageRequest
    error: AsiImageError
    ok: Literal[False] = field(default=False, init=False, repr=False)

    @property
    def unknown(self) -> bool:
        """Whether it may have been billed though no picture came (see `APIError.maybe_billed`)."""
        return isinstance(self.error, APIError) and self.error.maybe_billed

    def unwrap(self) -> Generation:
        """Raises the error."""
        raise self.error


Outcome: TypeAlias = Done | Failed


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """What became of a run's prompts; each of `total` is in one of the counts, or was not asked for.

    `total`: the length of the list, or as many as were pulled where it has none. `succeeded`, `failed`;
    `unknown` (may have been billed, see `Failed.unknown`); `skipped` (finished by an earlier run);
    `requests` sent, `retries` among them, also by reason; `throttled` (answers of 429); images
    `billed_at_least` and `billed_at_most`; `left_out` (pictures that could not be had, see `Generation`);
    seconds `waited` for the limit, over all requests; `latency_p50`, `latency_p95`, `latency_p99` (seconds,
    of the last 2,048 successful requests); `elapsed` seconds; `stopped_by` (the error that ended it early,
    or None); `drained` (it was, with prompts left to ask for, of which a generator's are not in `total`);
    `failures`: the first 100 of what failed or is unknown, and all that was bought and could not be stored
    (`error.generation` has it).
    """

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    unknown: int = 0
    skipped: int = 0
    requests: int = 0
    retries: int = 0
    retries_by_reason: Mapping[str, int] = field(default_factory=dict)
    throttled: int = 0
    billed_at_least: int = 0
    billed_at_most: int = 0
    left_out: int = 0
    bytes_received: int = 0
    bytes_written: int = 0
    waited: float = 0.0
    latency_p50: float | None = None
    latency_p95: float | None = None
    latency_p99: float | None = None
    elapsed: float = 0.0
    stopped_by: AsiImageError | None = None
    drained: bool = False
    failures: tuple[Failed, ...] = ()

    @property
    def ok(self) -> bool:
        """Every prompt is a picture."""
        return self.stopped_by is None and not self.drained and self.succeeded + self.skipped == self.total
