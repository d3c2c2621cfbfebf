"""The slots: each pulls an item, calls the function, hands over the result, and begins again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from ...brake import Brake, Stopped
from .cancelled import is_own_cancellation
from .handover import Handover, Result
from .source import Several, Source

__all__ = ["pump"]

T = TypeVar("T")
R = TypeVar("R")


@asynccontextmanager
async def pump(
    function: Callable[[int, T], Awaitable[R]],
    source: Iterable[T] | AsyncIterable[T] | AsyncIterable[Several[T]],
    *,
    width: int,
    ordered: bool = False,
    brake: Brake | None = None,
) -> AsyncIterator[AsyncIterator[R]]:
    """Call `function(index, item)` for every item of `source`, at most `width` at once.

    Gives an iterator over the results, as completed or in input order. An item is pulled only when a
    slot is free, and a slot is freed only when its result has been taken: so at most `width` items are
    under way, whatever the length of the source. Where the function gives None, or raises Stopped, there is
    no result.

    What `source` raises comes out of the iterator after the results of what was under way; what
    `function` raises comes out in its result's place. Leaving the block cancels every call.
    """
    work = _Work(function, Source(source, brake or Brake()), width, ordered)
    scope = anyio.CancelScope()
    slots = asyncio.create_task(_slots(work, scope))
    try:
        yield _Results(work)
    finally:
        scope.cancel()
        await _end(slots)


async def _slots(work: _Work[T, R], scope: anyio.CancelScope) -> None:
    """All slots, until nothing is left to do or `scope` is cancelled.

    In a task of its own, as no scope may be open in the reader's while it is in the block: an async generator
    that is left in the middle of it is closed by another task, and a scope that one task enters and another
    leaves cancels the first one for ever.
    """
    try:
        with scope:
            async with work.source.asking(), anyio.create_task_group() as group:
                work.open_slot(group)
        if work.is_cut_short and not scope.cancel_called:
            work.source.error = asyncio.CancelledError("a call, or the source, cancelled its own task")
    finally:
        work.handover.close()


async def _end(task: asyncio.Task[None]) -> None:
    """Wait for the end of a task, also where the waiting is cancelled; that comes out when it is over."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            with anyio.CancelScope(shield=True):
                await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    task.result()


class _Work(Generic[T, R]):
    """What the slots share: the source, the handover, and in ordered work whose turn it is."""

    def __init__(
        self, function: Callable[[int, T], Awaitable[R]], source: Source[T], width: int, ordered: bool
    ) -> None:
        self._function = function
        self._unopened = width
        self._open = 0
        self._ordered = ordered
        self._pulled = 0
        self._turn = 0
        self._waiting: dict[int, anyio.Event] = {}
        self.source = source
        self.handover = Handover[R]()

    @property
    def is_cut_short(self) -> bool:
        """Whether a slot, or the asking for items, has not come to its end."""
        return self._open > 0 or self.source.is_cut_short

    def open_slot(self, group: TaskGroup) -> None:
        self._unopened -= 1
        self._open += 1
        group.start_soon(self._slot, group)

    async def _slot(self, group: TaskGroup) -> None:
        """Pull, call, hand over, again; the first pull of a slot opens the next one."""
        first = True
        while (pulled := await self._pull()) is not None:
            if first and self._unopened:
                self.open_slot(group)
            first = False
            index, item = pulled
            result = await self._call(index, item)
            if self._ordered:
                await self._await_turn(index)
            if result is not None:
                await self.handover.give(result)
            if self._ordered:
                self._end_turn()
        self._open -= 1

    async def _pull(self) -> tuple[int, T] | None:
        try:
            item = await self.source.next()
        except (StopAsyncIteration, Stopped):
            return None
        self._pulled += 1
        return self._pulled - 1, item

    async def _call(self, index: int, item: T) -> Result[R] | None:
        try:
            value = await self._function(index, item)
            return None if value is None else Result(value=value)
        except Stopped:
            return None
        except (Exception, asyncio.CancelledError) as error:
            if is_own_cancellation(error):
                raise
            return Result(error=error)

    async def _await_turn(self, index: int) -> None:
        if index != self._turn:
            event = self._waiting[index] = anyio.Event()
            await event.wait()

    def _end_turn(self) -> None:
        self._turn += 1
        if (event := self._waiting.pop(self._turn, None)) is not None:
            event.set()


class _Results(AsyncIterator[R]):
    """The reader's side."""

    def __init__(self, work: _Work[T, R]) -> None:
        self._work = work

    async def __anext__(self) -> R:
        result = await self._work.handover.take()
        if result is None:
            error, self._work.source.error = self._work.source.error, None
            if error is not None:
                raise error from error.__cause__
            raise StopAsyncIteration
        if result.error is not None:
            raise result.error
        return result.value  # type: ignore[return-value]  # a result without an error has a value
