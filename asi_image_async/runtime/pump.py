"""Bounded fan-out of any async function over any source: a slot first, then an item."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Generic, NamedTuple, TypeVar

import anyio
from anyio.abc import TaskGroup

from ..brake import Brake, Stopped

__all__ = ["Several", "each", "is_own_cancellation", "pump"]

T = TypeVar("T")
R = TypeVar("R")


class Several(list[T]):
    """Items that an asynchronous source gives together, as no time passes between them."""


_Items = Iterator[Any] | AsyncIterator[Any]


def each(source: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    """Any iterable, asked as an asynchronous one."""
    return aiter(source) if isinstance(source, AsyncIterable) else _Plain(source)


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
    items: _Items = aiter(source) if isinstance(source, AsyncIterable) else iter(source)
    work = _Work(function, items, width, ordered, brake or Brake())
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
            async with anyio.create_task_group() as group:
                work.open_slot(group)
        if work.is_cut_short and not scope.cancel_called:
            work.source_error = asyncio.CancelledError("a call cancelled its own task")
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


class _Result(NamedTuple, Generic[R]):
    """What a call came to, on its way from its slot to the reader."""

    value: R | None = None
    error: BaseException | None = None


class _Handover(Generic[R]):
    """From the slots to the readers; a slot waits until its result has been taken.

    What is there is taken at once, without a turn of the loop; a result is taken in the step that returns it,
    so a reader that is cancelled while it waits loses none, where a memory stream of anyio would lose the
    one on its way.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._offered: deque[tuple[_Result[R], asyncio.Future[None]]] = deque()
        self._there = anyio.Semaphore(0, fast_acquire=True)  # as many as are offered, and one for the end

    async def give(self, result: _Result[R]) -> None:
        taken = self._loop.create_future()
        self._offered.append((result, taken))
        self._there.release()
        await taken

    async def take(self) -> _Result[R] | None:
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


class _Work(Generic[T, R]):
    """What the slots share: the source, and in ordered work whose turn it is."""

    def __init__(
        self,
        function: Callable[[int, T], Awaitable[R]],
        items: _Items,
        width: int,
        ordered: bool,
        brake: Brake,
    ) -> None:
        self._function = function
        self._items = items
        self._given: deque[T] = deque()  # together with one that was taken
        self._unopened = width
        self._open = 0
        self._ordered = ordered
        self._brake = brake
        self._pulling = anyio.Lock(fast_acquire=True)
        self._pulled = 0
        self._ended = False
        self._turn = 0
        self._waiting: dict[int, anyio.Event] = {}
        self.handover = _Handover[R]()
        self.source_error: BaseException | None = None  # comes after all results

    @property
    def is_cut_short(self) -> bool:
        """Whether a slot has not come to its end."""
        return self._open > 0

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
        if not self._open:
            self.handover.close()

    async def _pull(self) -> tuple[int, T] | None:
        try:
            item = await self._next()
        except (StopAsyncIteration, Stopped):
            self._ended = True
            return None
        except (Exception, asyncio.CancelledError) as error:
            if is_own_cancellation(error):
                raise
            self._ended = True
            self.source_error = error
            return None
        self._pulled += 1
        return self._pulled - 1, item

    async def _next(self) -> T:
        if self._brake.pulled:
            raise Stopped
        if self._given:
            return self._given.popleft()
        if isinstance(self._items, AsyncIterator):
            async with self._pulling:
                while not self._given:
                    if self._ended:
                        raise StopAsyncIteration
                    with self._brake.stops():
                        item: T | Several[T] = await anext(self._items)
                    if not isinstance(item, Several):
                        return item
                    self._given.extend(item)
                if self._brake.pulled:
                    raise Stopped
                return self._given.popleft()
        if not self._ended:
            pulled: T
            for pulled in self._items:  # there is no wait that another slot would be let in by
                return pulled
        raise StopAsyncIteration

    async def _call(self, index: int, item: T) -> _Result[R] | None:
        try:
            value = await self._function(index, item)
            return None if value is None else _Result(value=value)
        except Stopped:
            return None
        except (Exception, asyncio.CancelledError) as error:
            if is_own_cancellation(error):
                raise
            return _Result(error=error)

    async def _await_turn(self, index: int) -> None:
        if index != self._turn:
            event = self._waiting[index] = anyio.Event()
            await event.wait()

    def _end_turn(self) -> None:
        self._turn += 1
        if (event := self._waiting.pop(self._turn, None)) is not None:
            event.set()


def is_own_cancellation(error: BaseException) -> bool:
    """Whether this is the cancellation of the task that asks.

    A call, a source or a sink may raise CancelledError of its own, from a task that it awaited and another
    cancelled. Passed on as ours it would end the slot without a word, and its item be missing.
    """
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


class _Results(AsyncIterator[R]):
    """The reader's side."""

    def __init__(self, work: _Work[T, R]) -> None:
        self._work = work

    async def __anext__(self) -> R:
        result = await self._work.handover.take()
        if result is None:
            error, self._work.source_error = self._work.source_error, None
            if error is not None:
                raise error from error.__cause__
            raise StopAsyncIteration
        if result.error is not None:
            raise result.error
        return result.value  # type: ignore[return-value]  # a result without an error has a value


class _Plain(AsyncIterator[T]):
    """An ordinary iterable, asked as an asynchronous one."""

    def __init__(self, source: Iterable[T]) -> None:
        self._items = iter(source)

    async def __anext__(self) -> T:
        for item in self._items:
            return item
        raise StopAsyncIteration
