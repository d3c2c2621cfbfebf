"""A time limit on time, but for a process that stood still: that one is let read what came meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from clock import on_a_fake_clock

from asi_image_async.deadline import Deadlines


def stand_still(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    clock = loop.time
    loop.time = lambda: clock() + seconds  # type: ignore[method-assign]


async def work(*, before: float, still: float, after: float) -> float:
    with Deadlines(10).one():
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
        with Deadlines(10).one():
            asyncio.get_running_loop().call_later(10, task.cancel)
            await asyncio.sleep(20)

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(wait())

    on_a_fake_clock(main())


def test_each_of_many_ends_on_its_own_time() -> None:
    async def main() -> list[float]:
        loop, deadlines = asyncio.get_running_loop(), Deadlines(10)

        async def work(starts: float, takes: float) -> float:
            await asyncio.sleep(starts)
            with suppress(TimeoutError), deadlines.one():
                await asyncio.sleep(takes)
            return loop.time()

        plan = [(0, 3), (1, 20), (1, 20), (2, 9), (2.5, 1), (4, 20)]
        return await asyncio.gather(*[work(starts, takes) for starts, takes in plan])

    assert on_a_fake_clock(main()) == pytest.approx([3, 11, 11, 11, 3.5, 14])


def test_who_was_given_some_seconds_more_ends_with_the_others() -> None:
    async def main() -> float:
        deadlines = Deadlines(10)
        asyncio.get_running_loop().call_later(5, stand_still, 6)
        asyncio.get_running_loop().call_later(12, deadlines.expire)
        with pytest.raises(TimeoutError):
            with deadlines.one():
                await asyncio.sleep(60)
        return asyncio.get_running_loop().time()

    assert on_a_fake_clock(main()) < 13


@pytest.mark.parametrize("all_end", [12, 17])
def test_who_tidies_up_when_all_end_is_cancelled_once(all_end: float) -> None:
    async def main() -> int:
        deadlines, task = Deadlines(10), asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_later(5, stand_still, 6)  # it is 11 then, and it has until 16
        asyncio.get_running_loop().call_later(all_end, deadlines.expire)
        with pytest.raises(TimeoutError):
            with deadlines.one():
                try:
                    await asyncio.sleep(60)
                finally:
                    await asyncio.sleep(10)
        return task.cancelling()

    assert on_a_fake_clock(main()) == 0


def test_no_timer_is_left_behind() -> None:
    async def main() -> list[asyncio.TimerHandle]:
        loop, deadlines = asyncio.get_running_loop(), Deadlines(10)

        async def work(takes: float) -> None:
            with deadlines.one():
                await asyncio.sleep(takes)

        await asyncio.gather(work(1), work(2))
        timers: list[asyncio.TimerHandle] = loop._scheduled  # type: ignore[attr-defined]
        return [timer for timer in timers if not timer.cancelled()]

    assert on_a_fake_clock(main()) == []
