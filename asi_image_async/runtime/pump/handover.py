"""From the slots to the readers: a slot waits until its result has been taken."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, NamedTuple, TypeVar

import anyio

__all__ = ["Handover", "Result"]

R = TypeVar("R")


class Result(NamedTuple, Generic[R]):
    """What a call came to, on its way from its slot to the reader."""

    value: R | None = None
    error: BaseException | None = None


class Handover(Generic[R]):
    """Where results lie until they are taken.

    What is there is taken at once, without a turn of the loop; a result is taken in the step that returns it,
    so a reader that is cancelled while it waits loses none, where a memory stream of anyio would lose the
    one on its way.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._offered: deque[tuple[Result[R], asyncio.Future[None]]] = deque()
        self._there = anyio.Semaphore(0, fast_acquire=True)  # as many as are offered, and one for the end

    async def give(self, result: Result[R]) -> None:
        """Offer a result; returns when it has been taken."""
        taken = self._loop.create_future()
        self._offered.append((result, taken))
        self._there.release()
        await taken

    async def take(self) -> Result[R] | None:
        """The next result, or None when no more will come."""
        await self._there.acquire()
        if not self._offered:
            self._there.release()  # for the next who asks
            return None
        result, taken = self._offered.popleft()
        if not taken.done():  # else its slot was cancelled
            taken.set_result(None)
        return result

    def close(self) -> None:
        """Nothing more will come."""
        self._offered.clear()
        self._there.release()
