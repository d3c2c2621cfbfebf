"""Every await of a call, one after another: something is done to it at the k-th suspension of its tasks."""

from __future__ import annotations

import asyncio
import contextlib
import random
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import aiohttp
import pytest
from chaos.scale import LONG

from asi_image_async import ImageSession, RetryPolicy
from asi_image_async.emulator import Emulator, emulator
from asi_image_async.emulator.server import in_thread

waking = pytest.mark.parametrize("waking", [False, True], ids=["falling asleep", "waking"])
Task = asyncio.Task[Any]
ENOUGH = 15.0  # seconds: nothing that is struck takes as long, unless it hangs


def moments(stride: int) -> Iterator[int]:
    """Each moment from the first; in the short form only every so-many-th, and other ones each time."""
    return count(1) if LONG else count(random.randint(1, stride), stride)


@contextlib.contextmanager
def serving(**knobs: Any) -> Iterator[Emulator]:
    """In a thread of its own: the client's awaits alone are in this loop."""
    with in_thread(emulator(canned=100_000, **knobs)) as service:
        yield service


def open_session(base_url: str, width: int, **given: Any) -> ImageSession:
    given = {"rate_limit": None, "retry": RetryPolicy(backoff=0.001)} | given
    return ImageSession("sk_chaos_0123456789abcdef", base_url=base_url, max_concurrency=width, **given)


@dataclass
class Strike:
    """What is done to a call, and at which of its suspensions, counted from 1 over all tasks that it makes.

    `waking`: not when the task falls asleep, but when what it waits for is there and it has not run yet: then
    there is a result that a cancelled task could leave lying. `again`: so many suspensions later once more.
    """

    at: int
    act: Callable[[Task], object] = asyncio.Task.cancel
    waking: bool = False
    again: int | None = None
    times: int = 0
    took: float = 0.0  # seconds, from the first strike to the end of the call
    suspensions: int = 0
    _struck_at: float = field(default=0.0, repr=False)
    _call: Task | None = field(default=None, repr=False)

    async def on(self, call: Coroutine[Any, Any, Any]) -> Task:
        """Make the call in a task of its own, and give that when it has ended."""
        loop = asyncio.get_running_loop()
        loop.set_task_factory(self._make_task)
        try:
            self._call = loop.create_task(call)
            await asyncio.wait([self._call], timeout=ENOUGH)
        finally:
            loop.set_task_factory(None)
        assert self._call.done(), f"it hangs: {self}"
        self.took = loop.time() - self._struck_at
        return self._call

    def _make_task(self, loop: Any, coroutine: Coroutine[Any, Any, Any], **given: Any) -> Task:
        task = asyncio.Task(self._counted(coroutine), loop=loop, **given)
        task.add_done_callback(lambda _: coroutine.close())  # it may be cancelled before it has begun
        return task

    async def _counted(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return await self._stepwise(coroutine)

    @types.coroutine
    def _stepwise(self, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        step = partial(coroutine.send, None)
        while True:
            try:
                waited_for = step()
            except StopIteration as ended:
                return ended.value
            self._suspended(waited_for)
            try:
                yield waited_for
            except BaseException as error:
                step = partial(coroutine.throw, error)
            else:
                step = partial(coroutine.send, None)

    def _suspended(self, waited_for: asyncio.Future[Any] | None) -> None:
        self.suspensions += 1
        if self.suspensions not in (self.at, self.at + (self.again or 0)):
            return
        if not self.waking:
            self._strike()
        elif waited_for is None:
            asyncio.get_running_loop().call_soon(self._strike)
        else:  # called before the callback that wakes the task, which is added later
            waited_for.add_done_callback(self._strike)

    def _strike(self, *_: object) -> None:
        assert self._call is not None
        if not self._call.done():
            self.times += 1
            self._struck_at = self._struck_at or asyncio.get_running_loop().time()
            self.act(self._call)


def nothing_is_left(session: ImageSession, before: set[Task], width: int) -> None:
    """No task, no place and no connection is held by what has ended."""
    assert session._open is not None
    gate, transport = session._open
    assert asyncio.all_tasks() == before
    assert gate._places.value == width
    assert transport._own is not None
    assert isinstance(transport._own.connector, aiohttp.BaseConnector)
    assert not transport._own.connector._acquired
