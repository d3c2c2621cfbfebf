"""Blocking work is done in one thread, what has come in meanwhile as one group; everybody gets an answer."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from asi_image_async import DiskSink
from asi_image_async.errors import JournalError, SinkError
from asi_image_async.group_thread import GroupThread
from asi_image_async.runtime.journal import Journal

pytestmark = pytest.mark.anyio


class Doubling:
    """Doubles numbers; the first group waits until `go`, and odd numbers are errors."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self.groups: list[list[int]] = []
        self.threads: set[str] = set()

    @contextmanager
    def __call__(self) -> Iterator[Callable[[Sequence[int]], list[int | Exception]]]:
        self.threads.add(threading.current_thread().name)
        yield self.work
        self.threads.add(threading.current_thread().name)

    def work(self, numbers: Sequence[int]) -> list[int | Exception]:
        self.threads.add(threading.current_thread().name)
        self.begun.set()
        self.go.wait(10)
        self.groups.append(list(numbers))
        return [ValueError(str(number)) if number % 2 else 2 * number for number in numbers]


async def test_its_end_is_not_waited_for_by_who_is_cancelled_and_comes_all_the_same() -> None:
    doubling = Doubling()
    thread = GroupThread(doubling, "doubling")
    await thread.open()
    job = asyncio.ensure_future(thread.do(2))
    while not doubling.begun.is_set():
        await asyncio.sleep(0.001)
    with anyio.move_on_after(0.01) as given_up:
        await thread.close()
    assert given_up.cancelled_caught
    assert not job.done()
    doubling.go.set()
    assert await job == 4


async def test_what_has_come_in_meanwhile_is_one_group_in_order() -> None:
    doubling = Doubling()
    thread = GroupThread(doubling, "doubling")
    await thread.open()
    first = asyncio.ensure_future(thread.do(0))
    while not doubling.begun.is_set():
        await asyncio.sleep(0.001)
    others = [asyncio.ensure_future(thread.do(number)) for number in (2, 4, 6)]
    await asyncio.sleep(0)
    doubling.go.set()
    assert await asyncio.gather(first, *others) == [0, 4, 8, 12]
    await thread.close()
    assert doubling.groups == [[0], [2, 4, 6]]
    assert doubling.threads == {"doubling"}


async def test_each_job_has_its_own_answer_or_error() -> None:
    doubling = Doubling()
    doubling.go.set()
    thread = GroupThread(doubling, "doubling")
    await thread.open()
    found = await asyncio.gather(*(thread.do(number) for number in range(4)), return_exceptions=True)
    await thread.close()
    assert [str(each) for each in found] == ["0", "1", "4", "3"]


async def test_work_that_breaks_is_told_to_all_of_its_group_and_the_next_is_done() -> None:
    @contextmanager
    def dividing() -> Iterator[Callable[[Sequence[int]], list[float]]]:
        yield lambda numbers: [1 / number for number in numbers]

    thread = GroupThread(dividing, "dividing")
    await thread.open()
    with pytest.raises(ZeroDivisionError):
        await thread.do(0)
    assert await thread.do(2) == 0.5
    await thread.close()


async def test_what_is_left_is_done_before_the_end_though_nobody_waits_for_it() -> None:
    doubling = Doubling()
    thread = GroupThread(doubling, "doubling")
    await thread.open()
    waiting = [asyncio.ensure_future(thread.do(number)) for number in (2, 4)]
    await asyncio.sleep(0)
    for each in waiting:
        each.cancel()
    doubling.go.set()
    await thread.close()
    assert sorted(number for group in doubling.groups for number in group) == [2, 4]
    assert not thread.is_open


@pytest.mark.parametrize("opens", [True, False])
async def test_what_goes_wrong_at_the_start_or_at_the_end_is_raised_there(opens: bool) -> None:
    @contextmanager
    def failing() -> Iterator[Callable[[Sequence[int]], Sequence[int]]]:
        if not opens:
            raise OSError("no start")
        yield lambda numbers: numbers
        raise OSError("no end")

    thread = GroupThread(failing, "failing")
    if opens:
        await thread.open()
        with pytest.raises(OSError, match="no end"):
            await thread.close()
    else:
        with pytest.raises(OSError, match="no start"):
            await thread.open()
    assert not thread.is_open


async def test_where_no_thread_can_be_started_that_is_an_error_and_it_is_not_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    doubling = Doubling()
    doubling.go.set()
    thread = GroupThread(doubling, "doubling")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        with pytest.raises(OSError, match="new thread"):
            await thread.open()
        with pytest.raises(SinkError, match="new thread"):
            await DiskSink(tmp_path).open()
        with pytest.raises(JournalError, match="new thread"):
            await Journal(tmp_path / "journal.sqlite").__aenter__()
    await thread.open()
    assert await thread.do(2) == 4
    await thread.close()


async def test_whatever_goes_wrong_in_its_thread_nobody_waits_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> None:
        raise LookupError("broken")

    monkeypatch.setattr("asi_image_async.group_thread._interrupt_nobody", broken)
    with pytest.raises(LookupError, match="broken"):
        await asyncio.wait_for(GroupThread(Doubling(), "doubling").open(), 5)


async def test_nothing_of_a_job_is_held_when_it_is_done() -> None:
    class Picture:
        pass

    @contextmanager
    def forgetting() -> Iterator[Callable[[Sequence[Picture]], list[None]]]:
        yield lambda pictures: [None for _ in pictures]

    thread = GroupThread(forgetting, "forgetting")
    await thread.open()
    picture = Picture()
    held = weakref.ref(picture)
    await thread.do(picture)
    del picture
    for _ in range(100):
        gc.collect()
        if held() is None:
            break
        await asyncio.sleep(0.01)  # the thread is about to wait for the next
    assert held() is None
    await thread.close()


async def test_a_group_that_fails_whole_fails_each_and_the_next_is_done() -> None:
    @contextmanager
    def working() -> Iterator[Callable[[Sequence[int]], list[int]]]:
        yield lambda numbers: [10 // number for number in numbers]

    thread = GroupThread(working, "dividing")
    await thread.open()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await thread.do(0)
        assert await thread.do(5) == 2
    await thread.close()


@contextmanager
def scheduled() -> Iterator[Callable[[Sequence[int]], list[int]]]:
    """Answers with the rule by which its thread gets a processor."""
    yield lambda jobs: [os.sched_getscheduler(0) for _ in jobs]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such rule")
async def test_on_linux_it_takes_the_processor_from_nobody_and_leaves_the_loop_as_it_was() -> None:
    before = os.sched_getscheduler(0)
    thread = GroupThread(scheduled, "scheduled")
    await thread.open()
    assert await thread.do(0) == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == before
    await thread.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such rule")
@pytest.mark.parametrize("refusal", [PermissionError("by a sandbox"), AttributeError("a Python without it")])
async def test_it_works_where_a_system_does_not_let_it_stand_back(
    monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    def refuse(*given: object) -> None:
        raise refusal

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    thread = GroupThread(scheduled, "scheduled")
    await thread.open()
    assert await thread.do(0) == os.SCHED_OTHER
    await thread.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such rule")
async def test_a_rule_of_the_users_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[object] = []
    monkeypatch.setattr(os, "sched_getscheduler", lambda pid: os.SCHED_IDLE)
    monkeypatch.setattr(os, "sched_setscheduler", lambda *given: set_to.append(given))
    thread = GroupThread(scheduled, "scheduled")
    await thread.open()
    await thread.close()
    assert not set_to
