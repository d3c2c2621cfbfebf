"""What users plug in: a sink for the pictures, an observer for the events, prompts from anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from typing import Protocol, TypeAlias, runtime_checkable

from .events import Event
from .models import Generation, Prompt, Receipt

__all__ = ["Limiter", "Observer", "Prompts", "Sink"]

Observer: TypeAlias = Callable[[Event], object]
Prompts: TypeAlias = Iterable[Prompt] | AsyncIterable[Prompt]


class Limiter(Protocol):
    """A limit that others keep too: all that the gate asks of one, wherever it is kept.

    One whose state is lost or out of reach makes the asker wait; it never runs free.
    """

    async def reserve(self) -> float:
        """Take the next slot; returns the seconds to wait before a request goes."""

    async def penalize(self, seconds: float) -> None:
        """The service said: too many. Nobody gets a slot for so long."""


@runtime_checkable
class Sink(Protocol):
    """Where pictures go. `testing.check_sink` proves that a sink keeps this contract.

    A run calls `open` once, `write` for many generations at once, and `close` once where it was
    opened, whatever happened. A slow `write` slows the sending. Anything that `write` raises stops the run.
    """

    async def open(self) -> None:
        """Make ready; raises SinkError where pictures could not be stored."""

    async def write(self, generation: Generation, /) -> Receipt:
        """Store every image of the generation; returns when they would survive a crash."""

    async def close(self) -> None:
        """Finish; what `write` has returned for is kept."""
