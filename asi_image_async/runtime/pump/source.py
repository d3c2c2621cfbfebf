"""Where items come from: any iterable, asked when a slot is free, an asynchronous one in one task."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Generic, TypeVar

import anyio

from ...brake import Brake, Stopped
from .cancelled import is_own_cancellation

__all__ = ["Several", "Source", "each"]

T = TypeVar("T")

_PATIENCE = 5.0  # seconds, with a source that goes on though it was cancelled


class Several(list[T]):
    """Items that an asynchronous source gives together, as no time passes between them."""


def each(source: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    """Any iterable, asked as an asynchronous one."""
    return aiter(source) if isinstance(source, AsyncIterable) else _Plain(source)


class Source(Generic[T]):
    """The items of an iterable, for several slots that each ask for the `next`.

    An asynchronous one is asked in a task of its own: what it holds across its yields, such as a scope, a
    span or a context variable, belongs to the task that it was entered in. It is not closed where it is left
    before its end, as its owner may go on with it.
    `error`: what it raised. `is_cut_short`: that task was cancelled before the end.
    """

    def __init__(
        self, items: Iterable[T] | AsyncIterable[T] | AsyncIterable[Several[T]], brake: Brake
    ) -> None:
        self._plain = None if isinstance(items, AsyncIterable) else iter(items)
        self._awaited: AsyncIterator[Any] | None = aiter(items) if isinstance(items, AsyncIterable) else None
        self._brake = brake
        self._context = contextvars.copy_context()
        self._given: deque[T] = deque()  # and not taken yet
        self._ended = False
        self._turn = anyio.Lock(fast_acquire=True)  # of the slot for which it is asked
        self._wanted = anyio.Semaphore(0, fast_acquire=True)
        self._asked = anyio.Semaphore(0, fast_acquire=True)
        self.error: BaseException | None = None
        self.is_cut_short = False

    async def next(self) -> T:
        """An item; raises StopAsyncIteration at the end, and Stopped where the brake is pulled."""
        while not self._brake.pulled:
            if self._given:
                return self._given.popleft()
            if self._ended:
                raise StopAsyncIteration
            if self._plain is not None:
                return self._pull(self._plain)
            async with self._turn:
                if not self._given and not self._ended:
                    with self._brake.stops():
                        self._wanted.release()
                        await self._asked.acquire()
        raise Stopped

    def _pull(self, items: Iterator[T]) -> T:
        try:
            return self._context.run(next, items)
        except StopIteration:
            pass
        except (Exception, asyncio.CancelledError) as error:
            self.error = error
        self._ended = True
        raise StopAsyncIteration

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """Around all that asks for the next."""
        if self._awaited is None:
            yield
            return
        # A task of anyio's is in a scope of its own, which cannot be left while the source holds another.
        task = asyncio.create_task(self._ask(self._awaited))
        try:
            with self._brake.cancels(task):
                yield
        finally:
            self._ended = True
            if not task.cancelling():  # by the brake, and may be tidying up
                task.cancel()
            with anyio.CancelScope(shield=True):
                while (await asyncio.wait([task], timeout=_PATIENCE))[1]:
                    task.cancel()
        if not task.cancelled():
            task.result()

    async def _ask(self, items: AsyncIterator[Any]) -> None:
        try:
            while not self._is_over:
                try:
                    await self._wanted.acquire()
                except asyncio.CancelledError as error:
                    # By what the source holds, such as a time limit that ran out while it waited at a yield.
                    throw = getattr(items, "athrow", None)
                    if self._is_over or throw is None:
                        raise
                    self._give(await throw(error))
                    with suppress(anyio.WouldBlock):  # meanwhile it is
                        self._wanted.acquire_nowait()
                        self._asked.release()
                else:
                    self._give(await anext(items))
                    self._asked.release()
        except StopAsyncIteration:
            pass
        except (Exception, asyncio.CancelledError) as error:
            if is_own_cancellation(error):
                self.is_cut_short = not self._is_over
                raise
            self.error = error
        finally:
            self._ended = True
            self._asked.release()

    @property
    def _is_over(self) -> bool:
        return self._ended or self._brake.pulled

    def _give(self, item: Any) -> None:
        self._given.extend(item if isinstance(item, Several) else [item])


class _Plain(AsyncIterator[T]):
    """An ordinary iterable, asked as an asynchronous one."""

    def __init__(self, source: Iterable[T]) -> None:
        self._items = iter(source)

    async def __anext__(self) -> T:
        for item in self._items:
            return item
        raise StopAsyncIteration
