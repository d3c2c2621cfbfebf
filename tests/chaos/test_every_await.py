"""A call and a stream that are cancelled at any of their awaits end with that, and leave nothing behind.

ASI_CHAOS=long strikes at each of them, the everyday form at every so-many-th.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from chaos.awaits import Strike, moments, nothing_is_left, open_session, serving, waking

from asi_image_async import ImageSession
from asi_image_async.emulator import Fault

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

WIDTH = 2
PROMPTS = [f"prompt {number}" for number in range(6)]

BUSY = {"faults": [Fault("error", status=503, every=2)]}
CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "that is answered": ({}, {}),
    "that is given a link": ({"shape": "D-url"}, {}),
    "that waits and is refused": (BUSY, {"rate_limit": "1/0.02s"}),
}


@waking
@pytest.mark.parametrize(("knobs", "given"), CALLS.values(), ids=CALLS)
async def test_a_call_cancelled_at_any_await_ends_and_gives_its_place_and_its_line_back(
    knobs: dict[str, Any], given: dict[str, Any], waking: bool
) -> None:
    with serving(**knobs) as service:
        for at in moments(2):
            strike = Strike(at, waking=waking)
            async with open_session(service.base_url, width=1, **given) as session:
                before = asyncio.all_tasks()
                call = await strike.on(session.generate("a cat"))
                if not strike.times:
                    break
                assert call.cancelled(), strike
                nothing_is_left(session, before, 1)
                async with asyncio.timeout(5):
                    await session.generate("another cat")
    assert at > 3


async def read(
    session: ImageSession, *, ordered: bool = False, leave_after: int = 100, strike: Strike | None = None
) -> None:
    async with session.stream(PROMPTS, ordered=ordered) as outcomes:
        taken = 0
        async for _ in outcomes:
            taken += 1
            if strike is not None and strike.times:
                raise LookupError
            if taken == leave_after:
                break


@waking
@pytest.mark.parametrize("again", [None, 1, 4], ids=["once", "twice at once", "twice"])
@pytest.mark.parametrize(
    "reading", [{}, {"ordered": True}, {"leave_after": 3}], ids=["to the end", "in order", "in part"]
)
async def test_a_stream_cancelled_at_any_await_ends_with_that_and_leaves_nothing(
    reading: dict[str, Any], again: int | None, waking: bool
) -> None:
    with serving() as service:
        for at in moments(7):
            strike = Strike(at, waking=waking, again=again)
            async with open_session(service.base_url, width=WIDTH) as session:
                before = asyncio.all_tasks()
                call = await strike.on(read(session, **reading))
                if not strike.times:
                    break
                assert call.cancelled(), strike
                nothing_is_left(session, before, WIDTH)
    assert at > 15


@waking
async def test_a_reader_that_raises_at_any_moment_ends_its_stream_with_that_and_leaves_nothing(
    waking: bool,
) -> None:
    tries = raised = 0
    with serving() as service:
        for at in moments(7):
            strike = Strike(at, waking=waking, act=lambda _: None)
            async with open_session(service.base_url, width=WIDTH) as session:
                before = asyncio.all_tasks()
                call = await strike.on(read(session, strike=strike))
                nothing_is_left(session, before, WIDTH)
            if strike.suspensions < at:  # there are not so many
                break
            tries += 1
            if call.exception() is not None:  # else it came after the last outcome
                assert isinstance(call.exception(), LookupError), strike
                raised += 1
    assert at > 15
    assert raised > tries / 2, (raised, tries)


@waking
async def test_a_time_limit_that_is_over_at_any_await_is_a_timeout_and_leaves_nothing(waking: bool) -> None:
    async def limited(limit: asyncio.Timeout) -> None:
        try:
            async with limit:
                await read(session)
        finally:
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0

    with serving() as service:
        for at in moments(7):
            limit = asyncio.timeout(None)
            strike = Strike(at, waking=waking, act=lambda _, limit=limit: limit.reschedule(0.0))
            async with open_session(service.base_url, width=WIDTH) as session:
                before = asyncio.all_tasks()
                call = await strike.on(limited(limit))
                nothing_is_left(session, before, WIDTH)
                if not strike.times or not limit.expired():  # it had ended when its time was over
                    break
                assert isinstance(call.exception(), TimeoutError), strike
    assert at > 15
