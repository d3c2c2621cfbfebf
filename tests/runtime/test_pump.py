"""What the pump promises: so many at once, nothing lost, nothing left running."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from asi_image_async.brake import Brake, Stopped
from asi_image_async.runtime.pump import Several, pump

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("ordered", [False, True], ids=["as completed", "ordered"])
widths = pytest.mark.parametrize("width", [1, 2, 7])


async def same(index: int, item: Any) -> Any:
    return item


async def ticks(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def taken(function: Callable[[int, Any], Awaitable[Any]], source: Any, **settings: Any) -> list[Any]:
    async with pump(function, source, **settings) as results:
        return [result async for result in results]


async def taken_into(
    seen: list[Any], function: Callable[[int, Any], Awaitable[Any]], source: Any, **settings: Any
) -> None:
    """Like `taken`, where an error is to come after some results."""
    async with pump(function, source, **settings) as results:
        async for result in results:
            seen.append(result)


class Counting(Iterator[int]):
    """0, 1, 2 ... without an end; `pulled` says how many were asked for."""

    def __init__(self) -> None:
        self.pulled = 0

    def __next__(self) -> int:
        self.pulled += 1
        return self.pulled - 1


class Meter:
    """A function that takes a few ticks, and knows how many of its calls were under way at once."""

    def __init__(self) -> None:
        self.now = self.peak = self.begun = 0

    async def __call__(self, index: int, item: int) -> int:
        self.now += 1
        self.begun += 1
        self.peak = max(self.peak, self.now)
        try:
            await ticks(20 + index * 7 % 5)
        finally:
            self.now -= 1
        return item


# --- how many, and in which order


@both
@widths
async def test_every_item_is_called_once_and_no_more_than_the_width_at_once(
    width: int, ordered: bool
) -> None:
    meter = Meter()
    results = await taken(meter, range(100), width=width, ordered=ordered)
    assert sorted(results) == list(range(100))
    assert meter.begun == 100
    assert meter.peak == width


@widths
async def test_ordered_results_come_in_input_order_and_others_as_they_are_done(width: int) -> None:
    async def later_first(index: int, item: int) -> int:
        await ticks(20 - index)
        return item

    assert await taken(later_first, range(20), width=width, ordered=True) == list(range(20))
    as_completed = await taken(later_first, range(20), width=width)
    assert (as_completed == list(range(20))) == (width == 1)


@both
async def test_the_index_is_the_place_in_the_source(ordered: bool) -> None:
    async def pair(index: int, item: str) -> tuple[int, str]:
        await ticks(3 - index)
        return index, item

    assert sorted(await taken(pair, "abc", width=3, ordered=ordered)) == [(0, "a"), (1, "b"), (2, "c")]


@both
async def test_what_comes_to_none_is_no_result(ordered: bool) -> None:
    async def even(_: int, item: int) -> int | None:
        await anyio.sleep(0)
        return None if item % 2 else item

    async with pump(even, range(20), width=3, ordered=ordered) as results:
        assert sorted([result async for result in results]) == list(range(0, 20, 2))


@both
@widths
async def test_nothing_is_pulled_before_a_slot_is_free(width: int, ordered: bool) -> None:
    source = Counting()
    async with pump(same, source, width=width, ordered=ordered) as results:
        for count in range(20):
            await ticks(50)  # a reader that takes its time
            assert source.pulled == width + count
            await anext(results)


@both
async def test_a_reader_that_reads_no_more_stops_the_pulling(ordered: bool) -> None:
    source = Counting()
    async with pump(same, source, width=3, ordered=ordered) as results:
        assert [await anext(results) for _ in range(5)] == list(range(5))
        await ticks(200)
        assert source.pulled == 8


async def test_a_slow_first_call_holds_ordered_results_back_within_the_width() -> None:
    source, go = Counting(), asyncio.Event()

    async def function(index: int, item: int) -> int:
        if index == 0:
            await go.wait()
        return item

    async with pump(function, source, width=4, ordered=True) as results:
        await ticks(100)
        assert source.pulled == 4
        go.set()
        assert [await anext(results) for _ in range(6)] == list(range(6))


async def test_a_slow_source_opens_no_slot_that_it_cannot_fill() -> None:
    before = len(asyncio.all_tasks())
    go = asyncio.Event()

    async def slow() -> AsyncIterator[int]:
        await go.wait()
        yield 1

    async with pump(same, slow(), width=50) as results:
        await ticks(20)
        assert len(asyncio.all_tasks()) == before + 3  # one slot, who asks, and the task that they belong to
        go.set()
        assert [result async for result in results] == [1]


@both
async def test_a_source_that_yields_nothing_gives_nothing(ordered: bool) -> None:
    for empty in ([], iter(()), "", range(0)):
        assert await taken(same, empty, width=3, ordered=ordered) == []


@both
async def test_an_async_source_is_asked_by_one_slot_at_a_time(ordered: bool) -> None:
    asking = 0

    async def source() -> AsyncIterator[int]:
        nonlocal asking
        for item in range(30):
            asking += 1
            assert asking == 1
            await ticks(item % 3)
            asking -= 1
            yield item

    assert sorted(await taken(same, source(), width=5, ordered=ordered)) == list(range(30))


@both
async def test_what_an_async_source_holds_across_its_yields_stays_in_one_task(ordered: bool) -> None:
    whose: ContextVar[str] = ContextVar("whose")
    tasks = set()

    async def source() -> AsyncIterator[int]:
        whose.set("the source's")
        async with asyncio.timeout(60), anyio.create_task_group():
            with anyio.CancelScope():
                for item in range(30):
                    tasks.add(asyncio.current_task())
                    assert whose.get() == "the source's"
                    yield item
                    await ticks(item % 3)

    assert sorted(await taken(Meter(), source(), width=5, ordered=ordered)) == list(range(30))
    assert len(tasks) == 1


@both
async def test_what_a_source_holds_across_its_yields_stays_in_one_context(ordered: bool) -> None:
    whose: ContextVar[str] = ContextVar("whose")

    def source() -> Iterator[int]:
        token = whose.set("the source's")
        yield from range(10)
        whose.reset(token)

    assert sorted(await taken(Meter(), source(), width=5, ordered=ordered)) == list(range(10))


async def test_a_time_limit_of_an_async_source_is_its_error_and_no_cancellation() -> None:
    async def source() -> AsyncIterator[int]:
        async with asyncio.timeout(0.05):
            yield 0
            yield 1
            await asyncio.sleep(60)

    seen: list[int] = []
    with pytest.raises(TimeoutError):
        await taken_into(seen, Meter(), source(), width=4)
    assert sorted(seen) == [0, 1]


@both
async def test_a_time_limit_that_runs_out_while_nothing_is_wanted_is_the_source_s_too(ordered: bool) -> None:
    async def ends_with_an_error() -> AsyncIterator[int]:
        async with asyncio.timeout(0.02):
            for item in range(1000):
                yield item

    async def ends() -> AsyncIterator[int]:
        with anyio.move_on_after(0.02):
            for item in range(1000):
                yield item

    async def goes_on() -> AsyncIterator[int]:
        item = 0
        while item < 10:
            with anyio.move_on_after(0.02):
                yield item
            item += 1

    async def long(index: int, item: int) -> int:
        await asyncio.sleep(0.1)
        return item

    seen: list[int] = []
    with pytest.raises(TimeoutError):
        await taken_into(seen, long, ends_with_an_error(), width=2, ordered=ordered)
    assert sorted(seen) == [0, 1]
    assert sorted(await taken(long, ends(), width=2, ordered=ordered)) == [0, 1]
    assert sorted(await taken(long, goes_on(), width=2, ordered=ordered)) == list(range(10))


async def test_what_a_source_gives_in_answer_to_its_own_time_limit_goes_to_who_waits() -> None:
    handed = asyncio.Event()

    async def source() -> AsyncIterator[str]:
        try:
            async with asyncio.timeout(0.02):
                yield "a"
        except TimeoutError:
            await asyncio.sleep(0.1)  # meanwhile the slot is free again
        yield "b"
        await handed.wait()
        yield "c"

    async def function(index: int, item: str) -> str:
        await asyncio.sleep(0.05)
        if item == "b":
            handed.set()
        return item

    with anyio.fail_after(10):
        assert await taken(function, source(), width=1) == ["a", "b", "c"]


async def test_a_source_that_answers_its_end_with_another_item_is_not_waited_for() -> None:
    brake = Brake()

    async def stubborn() -> AsyncIterator[int]:
        yield 0
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        yield 1

    with anyio.fail_after(4):  # less than its patience
        async with pump(same, stubborn(), width=2, brake=brake) as results:
            assert await anext(results) == 0
            await ticks(10)
            brake.pull()
            assert [result async for result in results] == []


@both
@widths
async def test_what_an_async_source_gives_together_is_taken_one_by_one(width: int, ordered: bool) -> None:
    asked = 0

    async def source() -> AsyncIterator[Several[int]]:
        nonlocal asked
        for start, stop in ((0, 4), (4, 4), (4, 5), (5, 30)):
            asked += 1
            yield Several(range(start, stop))
            await ticks(3)

    meter = Meter()
    async with pump(meter, source(), width=width, ordered=ordered) as results:
        first = await anext(results)
        assert asked == (1 if width < 4 else 4)  # no sooner than the last is taken
        assert sorted([first, *[result async for result in results]]) == list(range(30))
    assert meter.peak == width


@widths
async def test_a_pulled_brake_leaves_what_was_given_together_and_not_taken(width: int) -> None:
    brake = Brake()
    begun: list[int] = []

    async def source() -> AsyncIterator[Several[int]]:
        await ticks(20)  # all slots have come to wait for it
        yield Several(range(10))

    async def function(index: int, item: int) -> int:
        begun.append(item)
        brake.pull()
        return item

    assert await taken(function, source(), width=width, brake=brake) == [0]
    assert begun == [0]


async def test_an_async_source_that_is_closed_already_gives_nothing() -> None:
    async def source() -> AsyncIterator[int]:
        yield 1

    closed = source()
    await closed.aclose()  # type: ignore[attr-defined]
    assert await taken(same, closed, width=3) == []


@both
async def test_a_function_that_never_awaits_lets_others_live(ordered: bool) -> None:
    lived = 0

    async def other() -> None:
        nonlocal lived
        while True:
            lived += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    assert sorted(await taken(same, range(500), width=4, ordered=ordered)) == list(range(500))
    task.cancel()
    assert lived > 50


@pytest.mark.parametrize(("count", "ordered"), [(10_000, False), (2_000, True)])
async def test_ten_thousand_items_take_the_memory_of_a_few(count: int, ordered: bool) -> None:
    async def heavy(index: int, item: int) -> bytes:
        return bytes(50_000)

    async def run(count: int) -> int:
        gc.collect()
        tracemalloc.reset_peak()
        start, _ = tracemalloc.get_traced_memory()
        async with pump(heavy, range(count), width=8, ordered=ordered) as results:
            async for _ in results:
                pass
        return tracemalloc.get_traced_memory()[1] - start

    tracemalloc.start()
    try:
        assert await run(count) < await run(50) + 100_000 < 2_000_000
    finally:
        tracemalloc.stop()


# --- errors


@both
@widths
async def test_an_error_of_the_function_stands_in_its_place_and_the_others_go_on(
    width: int, ordered: bool
) -> None:
    async def function(index: int, item: int) -> int:
        await ticks(index % 3)
        if item % 4 == 0:
            raise LookupError(item)
        return item

    seen: list[int] = []
    async with pump(function, range(12), width=width, ordered=ordered) as results:
        while True:
            try:
                seen.append(await anext(results))
            except LookupError as error:
                seen.append(error.args[0])
            except StopAsyncIteration:
                break
    assert (seen if ordered else sorted(seen)) == list(range(12))


async def broken_source(count: int) -> AsyncIterator[int]:
    for item in range(count):
        yield item
    raise LookupError("the file is torn") from OSError("disk")


def broken_plain_source(count: int) -> Iterator[int]:
    yield from range(count)
    raise LookupError("the file is torn") from OSError("disk")


@both
@widths
@pytest.mark.parametrize("source", [broken_source, broken_plain_source])
@pytest.mark.parametrize("count", [0, 1, 5])
async def test_an_error_of_the_source_comes_after_what_was_under_way(
    source: Callable[[int], Any], count: int, width: int, ordered: bool
) -> None:
    seen: list[int] = []
    with pytest.raises(LookupError, match="torn") as raised:
        await taken_into(seen, Meter(), source(count), width=width, ordered=ordered)
    assert isinstance(raised.value.__cause__, OSError)
    assert sorted(seen) == list(range(count))


async def test_after_the_error_of_the_source_comes_nothing_more() -> None:
    async with pump(same, broken_source(0), width=2) as results:
        with pytest.raises(LookupError):
            await anext(results)
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await anext(results)


@both
async def test_an_error_of_the_block_comes_out_as_it_is_and_ends_every_call(ordered: bool) -> None:
    meter = Meter()
    cause = OSError("disk")

    async def block() -> None:
        async with pump(meter, Counting(), width=5, ordered=ordered) as results:
            await anext(results)
            raise LookupError("mine") from cause

    with pytest.raises(LookupError, match="mine") as raised:
        await block()
    assert raised.value.__cause__ is cause
    assert meter.now == 0


async def test_a_group_of_errors_of_the_block_stays_that_group() -> None:
    group = ExceptionGroup("mine", [LookupError(1), LookupError(2)])
    with pytest.raises(ExceptionGroup) as raised:
        async with pump(same, Counting(), width=2):
            raise group
    assert raised.value is group


async def test_a_source_that_cannot_be_asked_at_all_says_so_at_once() -> None:
    with pytest.raises(TypeError):
        async with pump(same, 7, width=2):  # type: ignore[arg-type]
            raise AssertionError("there is nothing to read")


@both
@widths
async def test_a_call_that_was_cancelled_by_another_is_told_and_not_left_out(
    width: int, ordered: bool
) -> None:
    async def function(index: int, item: int) -> int:
        if index == 2:
            helper = asyncio.create_task(asyncio.sleep(60))
            asyncio.get_running_loop().call_soon(helper.cancel)
            await helper
        return item

    seen: list[int] = []
    with pytest.raises(asyncio.CancelledError):
        await taken_into(seen, function, range(6), width=width, ordered=ordered)
    assert set(seen) <= {0, 1, 3, 4, 5}
    assert {0, 1} <= set(seen)
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


@both
@widths
async def test_a_source_that_was_cancelled_by_another_is_told_and_no_end(width: int, ordered: bool) -> None:
    async def source() -> AsyncIterator[int]:
        yield 0
        yield 1
        raise asyncio.CancelledError

    seen: list[int] = []
    with pytest.raises(asyncio.CancelledError):
        await taken_into(seen, same, source(), width=width, ordered=ordered)
    assert sorted(seen) == [0, 1]


@both
async def test_a_source_that_cancels_its_own_task_is_told_and_no_end(ordered: bool) -> None:
    async def source() -> AsyncIterator[int]:
        yield 0
        yield 1
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        await asyncio.sleep(60)

    seen: list[int] = []
    with pytest.raises(asyncio.CancelledError, match="source"):
        await taken_into(seen, same, source(), width=3, ordered=ordered)
    assert sorted(seen) == [0, 1]


async def test_what_is_no_ordinary_error_of_a_source_is_not_taken_for_its_end() -> None:
    class Odd(BaseException):
        pass

    async def source() -> AsyncIterator[int]:
        yield 0
        raise Odd

    with pytest.raises(Odd):
        await taken(same, source(), width=3)


# --- leaving


async def test_a_source_that_goes_on_when_it_is_cancelled_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("asi_image_async.runtime.pump.source._PATIENCE", 0.01)
    ignored = 0

    async def source() -> AsyncIterator[int]:
        nonlocal ignored
        yield 0
        while ignored < 3:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ignored += 1

    async with pump(same, source(), width=2) as results:
        assert await anext(results) == 0
        await ticks(10)
    assert ignored == 3


@both
async def test_an_async_generator_around_it_may_be_left_in_the_middle(ordered: bool) -> None:
    ended = asyncio.Event()

    async def work(index: int, item: int) -> int:
        try:
            await asyncio.sleep(60 if index > 2 else 0)
        finally:
            ended.set()
        return item

    async def results() -> AsyncIterator[int]:
        async with pump(work, Counting(), width=4, ordered=ordered) as found:
            async for result in found:
                yield result

    before = asyncio.all_tasks()
    async for _ in results():
        break
    gc.collect()  # the loop closes the generator, in a task of its own
    with anyio.fail_after(5):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.001)
    assert ended.is_set()


async def test_an_async_generator_around_it_may_be_read_by_one_task_and_closed_by_another() -> None:
    async def results() -> AsyncIterator[int]:
        async with pump(same, Counting(), width=2) as found:
            async for result in found:
                yield result

    generator = results()
    assert await asyncio.create_task(anext(generator)) == 0
    assert await anext(generator) == 1
    await asyncio.create_task(generator.aclose())  # type: ignore[attr-defined]
    await ticks(5)  # any of these would be cancelled


@both
async def test_leaving_the_block_ends_every_call_and_the_iterator(ordered: bool) -> None:
    meter = Meter()
    async with pump(meter, Counting(), width=5, ordered=ordered) as results:
        await anext(results)
    assert meter.now == 0
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await anext(results)


@both
@pytest.mark.parametrize("after", range(12))
async def test_a_reader_that_is_cancelled_while_it_waits_loses_no_result(after: int, ordered: bool) -> None:
    go = asyncio.Event()

    async def function(index: int, item: int) -> int:
        await go.wait()
        return item

    seen = []
    async with pump(function, range(4), width=2, ordered=ordered) as results:
        reader = asyncio.create_task(anext(results))  # type: ignore[arg-type]
        await ticks(10)
        go.set()
        await ticks(after)
        reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            seen.append(await reader)
        seen += [result async for result in results]
    assert sorted(seen) == list(range(4))


@both
async def test_a_reader_with_a_time_limit_may_come_back_as_often_as_it_likes(ordered: bool) -> None:
    async def function(index: int, item: int) -> int:
        await asyncio.sleep(0.002 + item % 3 * 0.001)
        return item

    seen = []
    chance = random.Random(1)
    async with pump(function, range(60), width=3, ordered=ordered) as results:
        while True:
            try:
                async with asyncio.timeout(chance.random() * 0.002):
                    seen.append(await anext(results))
            except TimeoutError:
                continue
            except StopAsyncIteration:
                break
    assert sorted(seen) == list(range(60))


async def test_two_readers_share_the_results() -> None:
    async with pump(Meter(), range(50), width=4) as results:

        async def read() -> list[int]:
            return [result async for result in results]

        one, other = await asyncio.gather(read(), read())
    assert sorted(one + other) == list(range(50))
    assert one
    assert other


async def nested(index: int, item: int) -> int:
    return sum(await taken(Meter(), range(item % 5), width=2, ordered=True))


async def test_a_pump_may_run_within_a_pump() -> None:
    assert await taken(nested, range(20), width=4, ordered=True) == [0, 0, 1, 3, 6] * 4


async def test_cancelled_at_any_moment_it_ends_and_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    ended_early = 0
    for seed in range(300):
        chance = random.Random(seed)
        meter = Meter()
        function = chance.choice([meter, same, nested])

        async def source(chance: random.Random = chance) -> AsyncIterator[int]:
            for item in range(15):
                await ticks(chance.randrange(3))
                yield item

        given = chance.choice([source, Counting, lambda: range(15)])()
        width, ordered = chance.randint(1, 6), chance.random() < 0.5
        job = asyncio.create_task(taken(function, given, width=width, ordered=ordered))
        await ticks(chance.randrange(80))
        job.cancel()
        done, _ = await asyncio.wait([job], timeout=5)
        assert done, f"seed {seed} does not end"
        ended_early += job.cancelled()
        assert asyncio.all_tasks() == before, f"seed {seed} leaves a task behind"
        assert meter.now == 0
    assert ended_early > 150


async def test_a_time_limit_around_it_ends_it() -> None:
    meter = Meter()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await taken(meter, Counting(), width=3)
    with anyio.move_on_after(0.02) as scope:
        await taken(meter, Counting(), width=3)
    assert scope.cancelled_caught
    assert meter.now == 0


# --- the brake


@both
@widths
async def test_a_pulled_brake_lets_what_is_under_way_finish_and_pulls_no_more(
    width: int, ordered: bool
) -> None:
    source, go, brake = Counting(), asyncio.Event(), Brake()

    async def function(index: int, item: int) -> int:
        await go.wait()
        return item

    async with pump(function, source, width=width, ordered=ordered, brake=brake) as results:
        await ticks(50)
        brake.pull()
        await ticks(50)
        go.set()
        assert sorted([result async for result in results]) == list(range(width))
    assert source.pulled == width


async def test_a_brake_pulled_before_the_start_pulls_nothing() -> None:
    source, brake = Counting(), Brake()
    brake.pull()
    brake.pull()
    assert await taken(same, source, width=3, brake=brake) == []
    assert source.pulled == 0


async def test_a_brake_ends_the_wait_for_a_source_that_says_nothing_and_lets_it_tidy_up() -> None:
    closed = asyncio.Event()

    async def silent() -> AsyncIterator[int]:
        try:
            yield 0
            await asyncio.Event().wait()
        finally:
            await ticks(100)
            closed.set()

    brake = Brake()
    async with pump(same, silent(), width=3, brake=brake) as results:
        assert await anext(results) == 0
        await ticks(10)
        brake.pull()
        assert [result async for result in results] == []
    assert closed.is_set()


@both
async def test_what_waits_at_the_brake_gives_no_result_and_holds_nobody_up(ordered: bool) -> None:
    brake = Brake()

    async def function(index: int, item: int) -> int:
        if item % 2:
            with brake.stops():
                await asyncio.sleep(60)
        await ticks(10)
        return item

    async with pump(function, range(6), width=6, ordered=ordered, brake=brake) as results:
        await ticks(30)
        brake.pull()
        assert [result async for result in results] == [0, 2, 4]


async def test_a_brake_stops_the_waits_within_it_and_those_to_come() -> None:
    brake = Brake()
    with brake.stops():
        await asyncio.sleep(0)

    async def wait() -> str:
        try:
            with brake.stops():
                await asyncio.sleep(60)
        except Stopped:
            await asyncio.sleep(0)  # and it is not cancelled any more
            return "stopped"
        return "went through"

    waits = [asyncio.create_task(wait()) for _ in range(3)]
    await ticks(3)
    brake.pull()
    assert await asyncio.gather(*waits, wait()) == ["stopped"] * 4


async def test_a_brake_is_no_cancellation_and_a_cancellation_is_no_brake() -> None:
    brake = Brake()

    async def wait() -> None:
        with brake.stops():
            await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await ticks(3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not brake.pulled
    with pytest.raises(LookupError), brake.stops():
        raise LookupError("an error of its own")
    brake.pull()


async def test_pulled_at_any_moment_the_brake_loses_nothing_that_had_begun() -> None:
    for seed in range(150):
        chance = random.Random(seed)
        meter, brake = Meter(), Brake()
        settings: dict[str, Any] = {"width": chance.randint(1, 6), "ordered": chance.random() < 0.5}
        job = asyncio.create_task(taken(meter, Counting(), brake=brake, **settings))
        await ticks(chance.randrange(60))
        brake.pull()
        results = await asyncio.wait_for(job, 5)
        assert sorted(results) == list(range(meter.begun)), f"seed {seed}"
