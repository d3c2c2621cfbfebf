"""What the gate promises, on a clock that only the test moves."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asi_image_async import RateLimit
from asi_image_async.core.pace import margin
from asi_image_async.events import Event, Throttled, WaitStarted
from asi_image_async.runtime.gate import Gate


class _NoWaiting(selectors.SelectSelector):
    """A selector that does not wait but moves the loop's clock on."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.now += max(timeout, 1e-6)  # as on a real clock, some time always passes
        return ready


def on_a_fake_clock(main: Coroutine[Any, Any, Any]) -> Any:
    selector = _NoWaiting()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main)


def gate(*limits: RateLimit, width: int = 1000, events: list[Event] | None = None) -> Gate:
    return Gate(limits, width, (events if events is not None else []).append)


async def enter_all(door: Gate, count: int) -> list[float]:
    times: list[float] = []

    async def one() -> None:
        times.append(await door.enter())

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(one)
    return times


def test_a_limit_is_used_at_once_and_never_exceeded() -> None:
    times = on_a_fake_clock(enter_all(gate(RateLimit(3, per=60)), 9))
    assert times[:3] == [0, 0, 0]
    step = 60 + margin(60)
    assert times[3:] == pytest.approx([step] * 3 + [2 * step] * 3)


def test_several_limits_hold_together() -> None:
    times = on_a_fake_clock(enter_all(gate(RateLimit(3, per=60), RateLimit(5, per=86400)), 8))
    assert sum(time < 86400 for time in times) == 5


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 6),
    st.floats(0.1, 100),
    st.lists(st.tuples(st.floats(0, 50), st.booleans()), min_size=1, max_size=40),
)
def test_no_window_is_ever_over_its_number_whoever_comes_or_gives_up(
    n: int, per: float, arrivals: list[tuple[float, bool]]
) -> None:
    async def main() -> list[tuple[int, float]]:
        door = gate(RateLimit(n, per=per))
        entered: list[tuple[int, float]] = []

        async def one(number: int, delay: float, gives_up: bool) -> None:
            await asyncio.sleep(delay)
            with anyio.move_on_after(per / 2 if gives_up else None):
                entered.append((number, await door.enter()))

        async with anyio.create_task_group() as group:
            for number, (delay, gives_up) in enumerate(arrivals):
                group.start_soon(one, number, delay, gives_up)
        return entered

    entered = on_a_fake_clock(main())
    times = [time for _, time in entered]
    assert times == sorted(times)
    assert all(later - first > per for first, later in zip(times, times[n:], strict=False))
    assert {number for number, (_, gives_up) in enumerate(arrivals) if not gives_up} <= {
        number for number, _ in entered
    }


def test_those_who_wait_are_served_in_order() -> None:
    async def main() -> list[int]:
        door, order = gate(RateLimit(1, per=1)), []

        async def one(number: int) -> None:
            await door.enter()
            order.append(number)

        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(one, number)
        return order

    assert on_a_fake_clock(main()) == list(range(6))


def test_after_a_refusal_nobody_goes_before_retry_after_and_then_one_by_one() -> None:
    events: list[Event] = []

    async def main() -> list[float]:
        door = gate(events=events)
        sent_at = await door.enter()
        door.refused(sent_at, 7.0)
        return await enter_all(door, 5)

    times = on_a_fake_clock(main())
    assert times[0] >= 7.0
    assert all(later - earlier > 0.2 for earlier, later in zip(times, times[1:], strict=False))
    assert [type(event) for event in events if isinstance(event, Throttled | WaitStarted)] == [
        Throttled,
        WaitStarted,
    ]


def test_a_burst_of_refusals_counts_as_one() -> None:
    async def main() -> tuple[float, float]:
        door = gate()
        sent_at = await door.enter()
        first = door.refused(sent_at, None)
        return first, max(door.refused(sent_at, None) for _ in range(20))

    first, last = on_a_fake_clock(main())
    assert last <= first


def test_refusals_in_a_row_make_longer_pauses_and_success_ends_them() -> None:
    async def main() -> tuple[list[float], float]:
        door, pauses = gate(), []
        for _ in range(4):
            pauses.append(door.refused(await door.enter(), None))
        sent_at = await door.enter()
        door.succeeded()
        return pauses, door.refused(sent_at, None)

    pauses, after = on_a_fake_clock(main())
    assert all(later > earlier for earlier, later in zip(pauses, pauses[1:], strict=False))
    assert after < pauses[1]


def test_no_more_are_inside_than_there_are_places_and_a_cancelled_wait_gives_its_place_back() -> None:
    async def main() -> None:
        door = gate(width=1)
        await door.enter()
        with anyio.move_on_after(1) as scope:
            await door.enter()
        assert scope.cancelled_caught
        door.leave()
        with anyio.fail_after(1):
            await door.enter()

    on_a_fake_clock(main())
