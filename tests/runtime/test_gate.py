"""What the gate promises, on a clock that only waiting moves."""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable
from itertools import pairwise

import anyio
import pytest
from clock import on_a_fake_clock
from hypothesis import given, settings
from hypothesis import strategies as st

from asi_image_async import RateLimit, RetryPolicy
from asi_image_async.core.pace import margin
from asi_image_async.errors import RateLimitError
from asi_image_async.events import Event, RateChanged, Throttled, WaitStarted
from asi_image_async.runtime.gate import Gate

Limiter = Callable[[float], tuple[bool, float | None]]


def gate(limits: list[RateLimit] | None, width: int = 1000, events: list[Event] | None = None) -> Gate:
    return Gate(limits, width, (events if events is not None else []).append)


async def enter(door: Gate) -> float:
    """Through the gate and out on the line at once."""
    turn = await door.enter()
    door.sent(turn)
    return turn.granted


async def enter_all(door: Gate, count: int) -> list[float]:
    times: list[float] = []

    async def one() -> None:
        times.append(await enter(door))

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(one)
    return times


def test_a_limit_is_used_at_once_and_never_exceeded() -> None:
    times = on_a_fake_clock(enter_all(gate([RateLimit(3, per=60)]), 9))
    assert times[:3] == pytest.approx([0, 0, 0], abs=1e-6)
    step = 60 + margin(60)
    assert times[3:] == pytest.approx([step] * 3 + [2 * step] * 3)


def test_several_limits_hold_together() -> None:
    times = on_a_fake_clock(enter_all(gate([RateLimit(3, per=60), RateLimit(5, per=86400)]), 8))
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
        door = gate([RateLimit(n, per=per)])
        entered: list[tuple[int, float]] = []

        async def one(number: int, delay: float, gives_up: bool) -> None:
            await asyncio.sleep(delay)
            with anyio.move_on_after(per / 2 if gives_up else None):
                entered.append((number, await enter(door)))

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
        door, order = gate([RateLimit(1, per=1)]), []

        async def one(number: int) -> None:
            await enter(door)
            order.append(number)

        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(one, number)
        return order

    assert on_a_fake_clock(main()) == list(range(6))


def test_no_more_are_inside_than_there_are_places_and_a_cancelled_wait_gives_its_place_back() -> None:
    async def main() -> None:
        door = gate([], width=1)
        turn = await door.enter()
        with anyio.move_on_after(1) as scope:
            await door.enter()
        assert scope.cancelled_caught
        door.leave(turn)
        with anyio.fail_after(1):
            await door.enter()

    on_a_fake_clock(main())


def test_after_a_refusal_one_goes_first_and_the_others_when_it_was_let_through() -> None:
    events: list[Event] = []

    async def main() -> list[float]:
        door = gate(None, events=events)
        turn = await door.enter()
        await door.refused(turn, 7.0)
        times: list[float] = []

        async def one() -> None:
            turn = await door.enter()
            times.append(turn.granted)
            await asyncio.sleep(0.1)
            door.succeeded(turn)

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(one)
        return times

    times = on_a_fake_clock(main())
    assert times[0] >= 7.0
    assert times[1] >= times[0] + 0.1
    assert all(later - earlier > 0.1 for earlier, later in pairwise(times))
    kinds = [type(event) for event in events]
    assert kinds.index(Throttled) < kinds.index(WaitStarted) < kinds.index(RateChanged)


class Together:
    """A limit that others keep too, one slot a second; it notes what it was asked."""

    def __init__(self) -> None:
        self.next = 0.0
        self.penalties: list[float] = []

    async def reserve(self, n: int = 1) -> float:
        now = anyio.current_time()
        slot = max(now, self.next)
        self.next = slot + n
        return slot - now

    async def penalize(self, seconds: float) -> None:
        self.penalties.append(seconds)


def test_a_limit_that_others_keep_too_is_asked_for_every_request_and_told_of_refusals() -> None:
    limiter = Together()

    async def main() -> list[float]:
        door = Gate([], 100, lambda _: None, [limiter])
        times = await enter_all(door, 4)
        await door.refused(await door.enter(), 9.0)
        return times

    assert on_a_fake_clock(main()) == pytest.approx([0, 1, 2, 3], abs=0.01)
    assert limiter.penalties == [pytest.approx(9.0, abs=1.0)]


def test_a_shared_limit_that_cannot_be_told_of_a_refusal_holds_nobody_up() -> None:
    class Deaf(Together):
        async def penalize(self, seconds: float) -> None:
            await anyio.sleep_forever()

    async def main() -> float:
        door = Gate([], 100, lambda _: None, [Deaf()])
        await door.refused(await door.enter(), 9.0)
        return anyio.current_time()

    assert on_a_fake_clock(main()) < 10


def test_a_shared_slot_that_was_waited_for_in_vain_is_the_next_ones() -> None:
    limiter = Together()

    async def main() -> list[float]:
        door = Gate([], 100, lambda _: None, [limiter])
        times = [await enter(door)]
        for _ in range(5):
            with anyio.move_on_after(0.1):
                await enter(door)
        return times + await enter_all(door, 2)

    assert on_a_fake_clock(main()) == pytest.approx([0, 1, 2], abs=0.01)


def test_a_wait_that_is_longer_than_anybodys_patience_is_told_to_everyone_who_stands_there() -> None:
    async def main() -> tuple[list[tuple[float, float | None]], float]:
        door = Gate([RateLimit(1, per=60)], 100, lambda _: None, patience=300)
        first, told = await door.enter(), []
        door.sent(first)

        async def one() -> None:
            with pytest.raises(RateLimitError) as raised:
                await door.enter()
            told.append((door.now(), raised.value.retry_after))

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(one)
            await anyio.sleep(1)
            await door.refused(first, 3600)
        await anyio.sleep(3000)
        await one()
        await anyio.sleep(400)
        return told, await enter(door)

    told, through = on_a_fake_clock(main())
    assert told == [pytest.approx((1, 3600), abs=0.01)] * 3 + [pytest.approx((3001, 600), abs=0.01)]
    assert 3601 < through < 3600 + 2 * (60 + margin(60))


# The gate before services that are strict in one way or another


def window(n: int, per: float, *, retry_after: bool = False) -> Limiter:
    """Refuses the request after the nth in any `per` seconds."""
    let_through: deque[float] = deque()

    def limiter(now: float) -> tuple[bool, float | None]:
        while let_through and let_through[0] <= now - per:
            let_through.popleft()
        if len(let_through) >= n:
            return False, let_through[0] + per - now if retry_after else None
        let_through.append(now)
        return True, None

    return limiter


def bucket(rate: float, burst: float) -> Limiter:
    """A token bucket."""
    level, since = burst, 0.0

    def limiter(now: float) -> tuple[bool, float | None]:
        nonlocal level, since
        level, since = min(burst, level + (now - since) * rate), now
        if level < 1:
            return False, None
        level -= 1
        return True, None

    return limiter


async def ask(door: Gate, limiter: Limiter, width: int, count: int, *, seconds: float, latency: float = 0.1):
    """`width` tasks ask for `count` pictures; the times of those let through, and of the refusals."""
    let_through: list[float] = []
    refusals: list[float] = []
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            for _attempt in range(RetryPolicy().max_attempts):
                turn = await door.enter()
                await asyncio.sleep(0.002 * (turn.granted * 1000 % 1))  # the network, a little unsteady
                door.sent(turn)
                now = anyio.current_time()
                passed, retry_after = limiter(now)
                await asyncio.sleep(latency if passed else 0.01)
                (let_through if passed else refusals).append(now)
                door.succeeded(turn) if passed else await door.refused(turn, retry_after)
                door.leave(turn)
                if passed:
                    break
            else:
                raise AssertionError("one request was refused more often than the default policy bears")

    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as group:
            for _ in range(width):
                group.start_soon(worker)
    return sorted(let_through), refusals


HOUR = 3600.0


@pytest.fixture(autouse=True)
def _the_same_chance_every_time() -> None:
    random.seed(7)


def test_told_20_in_2_seconds_it_never_meets_a_refusal_and_loses_hardly_any_time() -> None:
    times, refusals = on_a_fake_clock(
        ask(gate([RateLimit(20, per=2)], 32), window(20, 2), 32, 200, seconds=HOUR)
    )
    assert refusals == []
    assert times[-1] <= 18 / 0.93


def test_told_50_a_second_a_bucket_with_a_small_burst_refuses_in_the_first_second_only() -> None:
    times, refusals = on_a_fake_clock(
        ask(gate([RateLimit(50, per=1)], 32), bucket(50, 10), 32, 1000, seconds=HOUR)
    )
    assert len(refusals) <= 30
    assert max(refusals) < 1
    assert times[-1] <= 19.8 / 0.95


def in_whole_seconds(limiter: Limiter) -> Limiter:
    """As the header is written by most: rounded up."""

    def rounding(now: float) -> tuple[bool, float | None]:
        passed, retry_after = limiter(now)
        return passed, None if retry_after is None else float(math.ceil(retry_after))

    return rounding


# A slow picture costs a little: the gentle start waits for the first signs of being let through.
@pytest.mark.parametrize(("latency", "share"), [(0.1, 0.85), (1.0, 0.8)])
@pytest.mark.parametrize(
    "service",
    [
        lambda: window(20, 1),
        lambda: window(20, 1, retry_after=True),
        lambda: in_whole_seconds(window(20, 1, retry_after=True)),
    ],
    ids=["no Retry-After", "Retry-After", "Retry-After in whole seconds"],
)
def test_not_told_it_finds_20_a_second(service: Callable[[], Limiter], latency: float, share: float) -> None:
    times, refusals = on_a_fake_clock(ask(gate(None, 32), service(), 32, 400, seconds=HOUR, latency=latency))
    assert len(refusals) <= 24
    assert times[-1] <= 19 / share


@pytest.mark.parametrize("retry_after", [True, False])
@pytest.mark.parametrize("latency", [0.5, 10.0, 30.0])
@pytest.mark.parametrize("width", [8, 32])
def test_not_told_it_finds_3_a_minute_without_a_storm(retry_after: bool, latency: float, width: int) -> None:
    service = window(3, 60, retry_after=retry_after)
    times, refusals = on_a_fake_clock(
        ask(gate(None, width), service, width, 10_000, seconds=2 * HOUR, latency=latency)
    )
    assert len([time for time in refusals if time < 180]) <= 6
    later = [time for time in refusals if time >= 180]
    assert all(second - first >= 600 for first, second in pairwise(later))
    assert len(times) >= 0.9 * 2 * 60 * 3


@pytest.mark.parametrize(("before", "after"), [(20, 40), (20, 10)])
def test_a_limit_that_changes_is_followed_within_half_a_minute(before: int, after: int) -> None:
    first, second = window(before, 1), window(after, 1)

    def service(now: float) -> tuple[bool, float | None]:
        return (first if now < 60 else second)(now)

    times, refusals = on_a_fake_clock(ask(gate(None, 32), service, 32, 10**6, seconds=120, latency=0.3))
    assert sum(90 <= time < 120 for time in times) >= 0.85 * 30 * after
    assert len([time for time in refusals if time > 60]) <= 0.06 * 30 * after + 10


def test_told_too_high_it_finds_what_is_true() -> None:
    times, refusals = on_a_fake_clock(
        ask(gate([RateLimit(50, per=1)], 32), window(35, 1), 32, 1000, seconds=HOUR)
    )
    assert len(refusals) <= 60
    assert times[-1] <= 28 / 0.85


def test_where_nothing_is_refused_the_gentle_start_costs_little() -> None:
    spans = [
        on_a_fake_clock(ask(gate(limits, 32), lambda _: (True, None), 32, 2000, seconds=HOUR))[0][-1]
        for limits in (None, [])
    ]
    assert spans[0] <= 1.1 * spans[1]


def test_a_turn_that_never_left_counts_in_no_limit() -> None:
    async def main() -> list[float]:
        door = gate([RateLimit(2, per=60)])
        turns = [await door.enter() for _ in range(2)]
        door.sent(turns[0])
        waiting = asyncio.create_task(enter(door))
        await asyncio.sleep(5)
        for turn in turns:
            door.leave(turn)
        with anyio.fail_after(300):
            return [await waiting, await enter(door)]

    assert on_a_fake_clock(main()) == pytest.approx([5, 60 + margin(60)])


def test_where_requests_are_kept_apart_none_goes_in_without_a_wait() -> None:
    async def main() -> None:
        door = gate([RateLimit(50, per=1)])
        turn = await door.enter()
        door.sent(turn)
        await door.refused(turn, None)
        probe = await door.enter()
        door.sent(probe)
        door.succeeded(probe)
        assert door.pace.interval > 0
        assert door.enter_nowait() is None

    on_a_fake_clock(main())


def test_a_shared_slot_is_not_used_long_after_its_time() -> None:
    limiter = Together()

    async def main() -> None:
        door = Gate([], 100, lambda _: None, [limiter])
        await enter(door)
        with anyio.move_on_after(0.1):
            await enter(door)
        await anyio.sleep(5)
        await enter(door)

    on_a_fake_clock(main())
    assert limiter.next == pytest.approx(6.1, abs=0.01)
