"""A time limit on time, but for a process that stood still: that one is let read what came meanwhile."""

from __future__ import annotations

import asyncio

import pytest
from clock import on_a_fake_clock

from asi_image_async.deadline import Deadline


def stand_still(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    clock = loop.time
    loop.time = lambda: clock() + seconds  # type: ignore[method-assign]


async def work(*, before: float, still: float, after: float) -> float:
    with Deadline(10):
        await asyncio.sleep(before)
        stand_still(still)
        await asyncio.sleep(after)
    return asyncio.get_running_loop().time()


def test_what_is_done_in_time_is_done() -> None:
    assert on_a_fake_clock(work(before=5, still=0, after=4.9)) == pytest.approx(9.9)


def test_what_takes_longer_is_ended_on_time() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            await work(before=5, still=0, after=5.1)
        return asyncio.get_running_loop().time()

    assert on_a_fake_clock(main()) == pytest.approx(10)


@pytest.mark.parametrize("still", [6, 3600])
def test_who_stood_still_beyond_the_end_gets_some_seconds_more(still: float) -> None:
    assert on_a_fake_clock(work(before=5, still=still, after=4.9)) == pytest.approx(5 + still + 4.9)
    with pytest.raises(TimeoutError):
        on_a_fake_clock(work(before=5, still=still, after=5.1))


def test_who_stood_still_within_the_time_gets_no_more() -> None:
    with pytest.raises(TimeoutError):
        on_a_fake_clock(work(before=1, still=8, after=2))


def test_a_cancellation_from_outside_is_one() -> None:
    async def main() -> None:
        task = asyncio.ensure_future(work(before=5, still=0, after=0))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    on_a_fake_clock(main())


def test_a_cancellation_that_meets_the_end_is_not_swallowed() -> None:
    async def wait() -> None:
        task = asyncio.current_task()
        assert task is not None
        with Deadline(10):
            asyncio.get_running_loop().call_later(10, task.cancel)
            await asyncio.sleep(20)

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(wait())

    on_a_fake_clock(main())
