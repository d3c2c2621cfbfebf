"""A thread for work that blocks: whatever has come in while it was busy is done as one group."""

from __future__ import annotations

import asyncio
import errno
import os
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, Generic, TypeVar

import anyio

__all__ = ["GroupThread"]

J = TypeVar("J")
A = TypeVar("A")

_LARGEST_GROUP = 1000
_MOMENT = 0.01  # seconds
_PATIENCE = 5.0  # with a disk that hangs
_Work = Callable[[Sequence[J]], Sequence[A | Exception]]


class GroupThread(Generic[J, A]):
    """One thread, in which `working` is entered, does all jobs, and is left.

    What `working` gives is called with some jobs at a time, in order, and returns an answer or an error for
    each. So a group can share what costs the most: one commit, one flush, one way back to the loop.
    """

    def __init__(self, working: Callable[[], AbstractContextManager[_Work[J, A]]], name: str) -> None:
        self._working = working
        self._name = name
        self._jobs: _Jobs[J, A] | None = None
        self._posted: list[_Asked[J, A]] = []
        self._ended: asyncio.Future[None]

    @property
    def is_open(self) -> bool:
        """Whether jobs are done."""
        return self._jobs is not None

    async def open(self) -> None:
        """Start; raises what entering `working` raises, and OSError where there can be no more threads."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        self._ended = loop.create_future()
        jobs: _Jobs[J, A] = queue.SimpleQueue()
        arguments = (self._working, jobs, opened, self._ended)
        try:
            threading.Thread(target=_serve, args=arguments, name=self._name, daemon=True).start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from error
        self._jobs = jobs
        try:
            await opened
        except BaseException:
            # In a cancelled run too: whoever comes next is not to find anything held.
            with anyio.move_on_after(_PATIENCE, shield=True):
                await self.close()
            raise

    async def do(self, job: J) -> A:
        """Have a job done; where the waiting is cancelled it is done all the same. Open only."""
        assert self._jobs is not None
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._put(job, answer)
        return await answer

    def post(self, job: J) -> None:
        """Have a job done that nobody waits for, with the next one or in a moment. Open only."""
        assert self._jobs is not None
        if not self._posted:
            asyncio.get_running_loop().call_later(_MOMENT, self._put)
        self._posted.append((job, None))

    def _put(self, *last: Any) -> None:
        together, self._posted = [*self._posted, *([last] if last else [])], []
        if together and self._jobs is not None:
            self._jobs.put(together)

    async def close(self) -> None:
        """Do what is left, and end; where the waiting for that is cancelled, it ends all the same."""
        self._put()
        jobs, self._jobs = self._jobs, None
        if jobs is not None:
            jobs.put(None)
            await asyncio.wait([self._ended])
            self._ended.result()


_Asked = tuple[J, "asyncio.Future[A] | None"]  # None: nobody waits
_Jobs = queue.SimpleQueue["list[_Asked[J, A]] | None"]
_Answer = tuple["asyncio.Future[A]", "A | Exception"]


def _serve(
    working: Callable[[], AbstractContextManager[_Work[J, A]]],
    jobs: _Jobs[J, A],
    opened: asyncio.Future[None],
    ended: asyncio.Future[None],
) -> None:
    is_open, failure = False, None
    try:
        _interrupt_nobody()
        with working() as work:
            is_open = True
            _answer([(opened, None)])
            while _do_group(work, jobs):
                pass
    except Exception as error:  # whatever it is, nobody waits for ever
        failure = error
    finally:
        if not is_open:
            _answer([(opened, failure)])
            failure = None
        _answer([(ended, failure)])


def _interrupt_nobody() -> None:
    """A thread that wakes up takes the processor from nobody, but waits for its turn; on Linux.

    Who has it is the loop, as a rule, which has the interpreter's lock too: for each file that is on the disk
    there would be a switch to here and back, for nothing (SCHED_BATCH, sched(7)).
    """
    if sys.platform == "linux":
        # Where it is not allowed, or this Python does not know of it, it is as slow as elsewhere.
        with suppress(OSError, AttributeError):
            if os.sched_getscheduler(0) == os.SCHED_OTHER:
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _do_group(work: _Work[J, A], jobs: _Jobs[J, A]) -> bool:
    """False at the end. What a job holds is let go of before the next is waited for."""
    group = _next_group(jobs)
    if group:
        try:
            answers = work([job for job, _ in group])
        except Exception as error:  # the thread goes on
            answers = [error] * len(group)
        asked = zip([future for _, future in group], answers, strict=True)
        _answer([(future, answer) for future, answer in asked if future is not None])
    return bool(group)


def _next_group(jobs: _Jobs[J, A]) -> list[_Asked[J, A]]:
    """Wait for a job, and take whatever else has come in by now; none at the end."""
    group: list[_Asked[J, A]] = []
    with suppress(queue.Empty):
        while len(group) < _LARGEST_GROUP:
            together = jobs.get(block=not group)
            if together is None:
                jobs.put(None)  # for the next call, where it ends the thread
                break
            group += together
    return group


def _answer(answers: Sequence[_Answer[A]]) -> None:
    if answers:
        with suppress(RuntimeError):  # the loop was closed meanwhile; nobody waits any more
            answers[0][0].get_loop().call_soon_threadsafe(_settle, answers)


def _settle(answers: Sequence[_Answer[A]]) -> None:
    for future, value in answers:
        if future.done():  # whoever asked was cancelled; the work is done all the same
            continue
        if isinstance(value, Exception):
            future.set_exception(value)
        else:
            future.set_result(value)
