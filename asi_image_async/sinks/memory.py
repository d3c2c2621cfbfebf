"""Pictures kept in memory."""

from __future__ import annotations

from collections.abc import Iterator

from ..models import Generation, Receipt

__all__ = ["MemorySink"]


class MemorySink:
    """Keeps every generation in a list, in the order of completion; for tests and small runs.

    They are gone with the process: with a journal's file beside it, a later run passes over what nobody has.
    """

    def __init__(self) -> None:
        self.generations: list[Generation] = []

    async def open(self) -> None:
        """Nothing to make ready; what is here already stays."""

    async def write(self, generation: Generation) -> Receipt:
        """Keep it."""
        self.generations.append(generation)
        return Receipt(bytes_written=sum(len(image.data) for image in generation.images))

    async def close(self) -> None:
        """Nothing to finish."""

    def __iter__(self) -> Iterator[Generation]:
        return iter(self.generations)

    def __repr__(self) -> str:
        return f"MemorySink({len(self)} generations)"

    def __len__(self) -> int:
        return len(self.generations)
