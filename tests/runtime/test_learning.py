"""What is learnt of services that count in ways of their own: a list gets through, and soon."""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from clock import on_a_fake_clock

from asi_image_async import RateLimit
from asi_image_async.runtime.gate import Gate

_ATTEMPTS = 4  # as RetryPolicy has it
_AWAY = 0.02  # seconds to the service and back, and the same again where it is busy

Counting = Callable[[float], bool]  # whether a request that comes at this time is let through


def sliding(n: int, per: float) -> Counting:
    through: deque[float] = deque()

    def count(now: float) -> bool:
        while through and through[0] <= now - per:
            through.popleft()
        if len(through) >= n:
            return False
        through.append(now)
        return True

    return count


def fixed(n: int, per: float, phase: float) -> Counting:
    """So many in each window of a clock on the wall."""
    window, through = -1, 0

    def count(now: float) -> bool:
        nonlocal window, through
        current = math.floor(now / per + phase)
        if current != window:
            window, through = current, 0
        through += 1
        return through <= n

    return count


def even(per: float) -> Counting:
    """One in `per` seconds, and none saved up: a bucket that leaks."""
    free = 0.0

    def count(now: float) -> bool:
        nonlocal free
        if now < free:
            return False
        free = now + per
        return True

    return count


def bucket(rate: float, size: float) -> Counting:
    """A bucket of tokens that is full at first."""
    tokens, last = size, 0.0

    def count(now: float) -> bool:
        nonlocal tokens, last
        tokens, last = min(size, tokens + (now - last) * rate), now
        if tokens < 1:
            return False
        tokens -= 1
        return True

    return count


def but(counting: Counting, refuses: Callable[[float, int], bool]) -> Counting:
    """The same, where some are refused besides: by the time, and the number from 0."""
    number = -1

    def count(now: float) -> bool:
        nonlocal number
        number += 1
        return not refuses(now, number) and counting(now)

    return count


@dataclass
class Told:
    """What became of a list: when each was let through, and how many refusals and failures that took."""

    through: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: int = 0


def ask(
    count: int,
    counting: Counting,
    *,
    told: list[RateLimit] | None = None,
    retry_after: float | None = None,
    refuses_after: float = 0.0,
    width: int = 32,
) -> Told:
    """So many requests through a gate, each tried as often as a session would."""
    result = Told()
    chance = random.Random(1)

    async def one(gate: Gate) -> None:
        for _ in range(_ATTEMPTS):
            turn = await gate.enter()
            gate.sent(turn)
            await asyncio.sleep(_AWAY / 2 + chance.random() * _AWAY / 2)
            now = gate.now()
            if counting(now):
                await asyncio.sleep(0.1)
                result.through.append(now)
                gate.succeeded(turn)
                gate.leave(turn)
                return
            result.refused.append(now)
            await asyncio.sleep(refuses_after + _AWAY / 2)
            await gate.refused(turn, retry_after)
            gate.leave(turn)
        result.failed += 1

    async def main() -> None:
        gate = Gate(told, width, lambda _: None)
        left = iter(range(count))

        async def worker() -> None:
            for _ in left:
                await one(gate)

        await asyncio.gather(*(worker() for _ in range(width)))

    on_a_fake_clock(main())
    return result


def test_a_wait_that_is_asked_for_and_too_short_is_not_believed_twice() -> None:
    learnt = ask(60, sliding(3, 60), retry_after=1.0)
    assert learnt.failed == 0
    assert len(learnt.refused) <= 15
    assert learnt.through[-1] <= 60 / 3 * 60 * 1.25


def test_a_window_that_was_waited_for_in_vain_is_not_tried_again() -> None:
    learnt = ask(60, sliding(2, 120), retry_after=60.0, width=4)
    assert learnt.failed == 0
    assert len(learnt.refused) <= 10


@pytest.mark.parametrize("told", [None, [RateLimit(1, per=1)]], ids=["not told", "told too much"])
@pytest.mark.parametrize("per", [1.2, 1.5, 1.9])
def test_where_one_request_a_window_is_too_many_the_window_is_a_longer_one(
    per: float, told: list[RateLimit] | None
) -> None:
    learnt = ask(150, even(per), told=told, refuses_after=0.3, width=8)
    assert learnt.failed == 0
    assert len(learnt.refused) <= 20
    assert learnt.through[-1] <= 150 * per * 2


@pytest.mark.parametrize("told", [(50, 1), (60, 60), (20, 2), (5, 1)], ids=str)
def test_three_refusals_in_a_hundred_without_a_reason_leave_most_of_what_was_told(
    told: tuple[int, float],
) -> None:
    chance = random.Random(2)
    stray = but(sliding(*told), lambda _now, _number: chance.random() < 0.03)
    learnt = ask(1000, stray, told=[RateLimit(told[0], per=told[1])])
    assert learnt.failed == 0
    assert learnt.through[-1] <= 1000 * told[1] / told[0] / 0.6


def test_a_wait_that_is_too_short_says_nothing_of_a_told_limit_either() -> None:
    learnt = ask(500, sliding(50, 60), told=[RateLimit(60, per=60)], retry_after=1.0)
    assert learnt.failed == 0
    assert learnt.through[-1] <= 500 / 50 * 60 * 1.25


@pytest.mark.parametrize("told", [[(20, 1)], [(10, 1), (100, 60)], [(3, 60), (20, 600)]], ids=str)
def test_one_refusal_without_a_reason_is_the_last_where_the_truth_was_told(
    told: list[tuple[int, float]],
) -> None:
    limits = [RateLimit(n, per=per) for n, per in told]
    windows = [sliding(n, per) for n, per in told]
    stray = but(lambda now: all(window(now) for window in windows), lambda _, number: number == 5)
    learnt = ask(300, stray, told=limits)
    assert (len(learnt.refused), learnt.failed) == (1, 0)


def test_a_bad_quarter_of_a_minute_does_not_cost_ten_minutes() -> None:
    bad = but(sliding(20, 1), lambda now, _: 10 <= now < 22)
    learnt = ask(4000, bad, told=[RateLimit(20, per=1)])
    after = sum(1 for at in learnt.through if 22 <= at < 142)
    assert after >= 0.5 * 20 * 120


@pytest.mark.parametrize("phase", [number / 8 for number in range(8)])
@pytest.mark.parametrize(("n", "per"), [(3, 60.0), (60, 60.0), (50, 1.0)])
def test_a_window_of_the_clock_on_the_wall_is_found_in_whatever_part_of_it_one_begins(
    n: int, per: float, phase: float
) -> None:
    count = n * 20
    learnt = ask(count, fixed(n, per, phase))
    assert learnt.failed == 0
    assert learnt.through[-1] <= 20 * per / 0.65


@pytest.mark.parametrize("late", [5.0, 8.0])
def test_a_refusal_that_comes_late_is_waited_for(late: float) -> None:
    learnt = ask(40, sliding(3, 60), refuses_after=late)
    assert learnt.failed == 0
    assert learnt.through[-1] <= 40 / 3 * 60 * 1.25


@pytest.mark.parametrize("width", [8, 32])
@pytest.mark.parametrize(("rate", "size"), [(1, 20), (5, 100), (2, 200)])
def test_what_was_saved_up_at_first_is_not_taken_for_the_limit_where_refusals_come_late(
    rate: float, size: float, width: int
) -> None:
    learnt = ask(400, bucket(rate, size), refuses_after=1.0, width=width)
    assert learnt.failed == 0
    assert learnt.through[-1] <= (400 - size) / rate / 0.95
