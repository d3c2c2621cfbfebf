"""Calls that are cancelled by the thousand, and calls in a group: they end, and nothing of them is left.

ASI_CHAOS=long gives ten thousand of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from chaos.awaits import Task, nothing_is_left
from chaos.scale import Figures, scaled
from service import GOOD, Service, reply

from asi_image_async import ImageSession, RetryPolicy
from asi_image_async.errors import BadRequestError

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

KEY = "sk_chaos_0123456789abcdef"
WIDTH = 8


def open_session(base_url: str, width: int = WIDTH, **given: Any) -> ImageSession:
    given = {"rate_limit": None, "retry": RetryPolicy(backoff=0.001)} | given
    return ImageSession(KEY, base_url=base_url, max_concurrency=width, **given)


# --- by the thousand


@dataclass
class Many:
    """Calls of which there are always enough, and of which one at random is cancelled again and again."""

    session: ImageSession
    chance: random.Random
    calls: list[Task] = field(default_factory=list)
    delivered: int = 0
    cancelled_while: Counter[str] = field(default_factory=Counter)

    async def cancel(self, number: int) -> None:
        for _ in range(number):
            ended = [call for call in self.calls if call.done() and not call.cancelled()]
            self.delivered += sum(call.exception() is None for call in ended)
            self.calls = [call for call in self.calls if not call.done()]
            missing = 3 * WIDTH - len(self.calls)
            self.calls += [asyncio.create_task(self.session.generate("a cat")) for _ in range(missing)]
            await ticks(self.chance.randrange(4))
            call = self.chance.choice([call for call in self.calls if not call.done()])
            self.cancelled_while[doing(call)] += 1
            call.cancel()

    async def end(self) -> None:
        for call in self.calls:
            call.cancel()
        await asyncio.wait(self.calls, timeout=10)
        assert all(call.done() for call in self.calls)


async def ticks(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def doing(call: Task) -> str:
    """What a call is doing, by the names of the functions that it is in."""
    coroutine: Any = call.get_coro()
    if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
        return "nothing"
    names = set()
    while inspect.iscoroutine(coroutine):
        names.add(coroutine.cr_code.co_name)
        coroutine = coroutine.cr_await
    stages = {"enter": "waiting", "connect": "connecting", "read_within": "reading", "start": "in flight"}
    return next((stage for name, stage in stages.items() if name in names), "something else")


@pytest.mark.parametrize("rate_limit", ["auto", "40/0.02s"])
async def test_thousands_of_cancelled_calls_leave_a_pool_that_serves_at_full_width(
    service: Service, rate_limit: str
) -> None:
    chance = random.Random(7)

    async def answer(number: int, request: web.Request) -> web.StreamResponse:
        await ticks(chance.randrange(12))
        if number % 50 == 49:
            return reply({"message": "busy"}, 503)
        return await answer_bit_by_bit(request, chance, hang_up=number % 3 == 0)

    service.answer = answer
    number = scaled(1000, 10_000)
    before = asyncio.all_tasks()
    async with open_session(service.base_url, rate_limit=rate_limit) as session:
        many = Many(session, chance)
        await many.cancel(number)
        await many.end()
        assert {"waiting", "connecting", "in flight", "reading"} < set(many.cancelled_while)
        await quiet(service)
        nothing_is_left(session, before | set(filter(is_the_services, asyncio.all_tasks())), WIDTH)
        await serves_at_full_width(service, session)
    if rate_limit == "auto":
        fault = "calls cancelled at random moments"
        Figures(fault=fault, tries=number, delivered=many.delivered, lost=0, billed_twice=0).tell()


async def answer_bit_by_bit(
    request: web.Request, chance: random.Random, *, hang_up: bool
) -> web.StreamResponse:
    body = json.dumps(GOOD).encode()
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    if hang_up:  # so that the next one has to connect
        response.force_close()
    with contextlib.suppress(ConnectionError):  # whoever asked has gone
        await response.prepare(request)
        for start in range(0, len(body), 200):
            await response.write(body[start : start + 200])
            await ticks(chance.randrange(4))
    return response


def is_the_services(task: Task) -> bool:
    return "web_protocol" in repr(task)


async def quiet(service: Service) -> None:
    async with asyncio.timeout(5):
        while service.in_flight:
            await asyncio.sleep(0.001)


async def serves_at_full_width(service: Service, session: ImageSession) -> None:
    together = asyncio.Event()

    async def meet(number: int, _: web.Request) -> web.Response:
        if service.in_flight == WIDTH:
            together.set()
        await together.wait()
        return reply()

    service.answer, service.peak = meet, 0
    async with asyncio.timeout(5):
        await session.gather(["a cat"] * (3 * WIDTH))
    assert service.peak == WIDTH


# --- in a group


def one_in_ten_is_refused(service: Service) -> None:
    async def answer(number: int, request: web.Request) -> web.Response:
        await asyncio.sleep(0.01)
        bad = (await request.json())["prompt"] == "bad"
        return reply({"message": "no"}, 400) if bad else reply()

    service.answer = answer


async def test_one_failing_call_of_a_task_group_ends_the_group_with_that_alone_and_leaves_nothing(
    service: Service,
) -> None:
    one_in_ten_is_refused(service)
    before = asyncio.all_tasks()
    async with open_session(service.base_url) as session:
        with pytest.raises(ExceptionGroup) as raised:
            async with asyncio.TaskGroup() as group:
                calls = [
                    group.create_task(session.generate("bad" if n == 20 else "good")) for n in range(100)
                ]
        assert [type(error) for error in raised.value.exceptions] == [BadRequestError]
        assert 0 < sum(call.cancelled() for call in calls) < 99
        await quiet(service)
        nothing_is_left(session, before | set(filter(is_the_services, asyncio.all_tasks())), WIDTH)
        await serves_at_full_width(service, session)


async def test_one_failing_call_of_a_gather_does_no_harm_to_the_others(service: Service) -> None:
    one_in_ten_is_refused(service)
    async with open_session(service.base_url) as session:
        calls = [asyncio.create_task(session.generate("bad" if n == 20 else "good")) for n in range(100)]
        with pytest.raises(BadRequestError):
            await asyncio.gather(*calls)
        await asyncio.wait(calls, timeout=10)
        assert sum(call.exception() is None for call in calls) == 99
        await serves_at_full_width(service, session)
