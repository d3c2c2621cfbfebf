"""What `stream` promises: pulled as slots come free, freed as outcomes are taken, nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import web
from conftest import KEY
from service import Service, reply

from asi_image_async import Done, Failed, Generation, ImageSession
from asi_image_async.errors import (
    AsiImageError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def session(service: Service) -> AsyncIterator[ImageSession]:
    async with ImageSession(KEY, base_url=service.base_url, max_concurrency=4, rate_limit=None) as session:
        yield session


class Endless(Iterator[str]):
    """Prompts without an end, which counts how many were pulled."""

    def __init__(self) -> None:
        self.pulled = 0

    def __next__(self) -> str:
        self.pulled += 1
        return f"prompt {self.pulled}"


async def test_every_prompt_has_one_outcome(session: ImageSession) -> None:
    async with session.stream(f"{n}" for n in range(30)) as outcomes:
        done = [outcome async for outcome in outcomes]
    assert sorted(outcome.index for outcome in done) == list(range(30))
    assert all(outcome.request.prompt == str(outcome.index) for outcome in done)


async def test_ordered_outcomes_come_in_input_order(service: Service, session: ImageSession) -> None:
    async def answer(number: int, _: web.Request) -> web.Response:
        await asyncio.sleep((number * 7 % 5) * 0.003)
        return reply()

    service.answer = answer
    async with session.stream([f"{n}" for n in range(25)], ordered=True) as outcomes:
        assert [outcome.index async for outcome in outcomes] == list(range(25))


async def test_async_and_endless_prompts_are_fine_and_leaving_early_ends_all(
    service: Service, session: ImageSession
) -> None:
    async def prompts() -> AsyncIterator[str]:
        for prompt in Endless():
            await asyncio.sleep(0)
            yield prompt

    before = asyncio.all_tasks()
    async with session.stream(prompts()) as outcomes:
        async for outcome in outcomes:
            if outcome.index >= 10:
                break
    assert asyncio.all_tasks() <= before | {t for t in asyncio.all_tasks() if "web_protocol" in repr(t)}
    await asyncio.sleep(0.01)
    assert service.in_flight == 0


async def test_a_slot_is_freed_only_when_its_outcome_has_been_taken(
    service: Service, session: ImageSession
) -> None:
    prompts = Endless()
    async with session.stream(prompts) as outcomes:
        await asyncio.sleep(0.1)  # a reader that does not read
        assert prompts.pulled == len(service.bodies) == 4
        await anext(outcomes)
        await asyncio.sleep(0.1)
        assert prompts.pulled == 5


async def test_a_prompt_that_is_none_is_known_by_what_its_owner_gave_it(session: ImageSession) -> None:
    async with session.stream(
        [{"prompt": "a cat", "size": "big", "id": "k1", "metadata": {"a": 1}}]
    ) as found:
        (failed,) = [outcome async for outcome in found]
    assert not failed.ok
    assert (failed.request.prompt, failed.request.id, failed.request.metadata) == ("a cat", "k1", {"a": 1})


async def test_one_prompts_failure_is_an_outcome(service: Service, session: ImageSession) -> None:
    async def answer(number: int, request: web.Request) -> web.Response:
        return reply({"message": "no"}, 400) if (await request.json())["prompt"] == "bad" else reply()

    service.answer = answer
    seen = {}
    async with session.stream(["good", "bad", "", {"prompt": "also good"}, 7]) as outcomes:  # type: ignore[list-item]
        async for outcome in outcomes:
            match outcome:
                case Done(index, _, generation):
                    seen[index] = generation.request.prompt
                case Failed(index, _, error):
                    seen[index] = type(error).__name__
                    with pytest.raises(type(error)):
                        outcome.unwrap()
    assert seen == {
        0: "good", 1: BadRequestError.__name__, 2: ConfigurationError.__name__,
        3: "also good", 4: ConfigurationError.__name__,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AuthenticationError), (403, PermissionDeniedError), (404, NotFoundError)],
)
async def test_what_would_fail_for_all_ends_the_stream_by_name(
    service: Service, session: ImageSession, status: int, error: type[Exception]
) -> None:
    service.says(lambda: reply({"message": "no"}, status))
    prompts = Endless()
    async with session.stream(prompts) as outcomes:
        with pytest.raises(error):
            await anext(outcomes)
    assert len(service.bodies) <= 4


@pytest.mark.parametrize("status", [403, 404])
async def test_a_403_or_404_after_a_success_speaks_of_its_own_prompt(
    service: Service, session: ImageSession, status: int
) -> None:
    await session.generate("a cat")
    service.says(lambda: reply({"message": "no such model"}, status))
    async with session.stream(["a", "b"]) as outcomes:
        assert [outcome.ok async for outcome in outcomes] == [False, False]


async def test_what_was_in_flight_when_the_key_was_refused_is_still_delivered(
    service: Service, session: ImageSession
) -> None:
    async def answer(number: int, _: web.Request) -> web.Response:
        if number == 1:
            return reply({"message": "no"}, 401)
        await asyncio.sleep(0.05)
        return reply()

    service.answer = answer
    seen = []
    async with session.stream(Endless()) as outcomes:
        with pytest.raises(AuthenticationError):
            async for outcome in outcomes:
                seen.append(outcome.ok)
    assert seen == [True] * 3
    assert len(service.bodies) == 4


async def test_what_the_prompts_raise_comes_out_after_what_was_under_way(session: ImageSession) -> None:
    def prompts() -> Iterator[str]:
        yield "one"
        yield "two"
        raise LookupError("no more")

    seen = []
    async with session.stream(prompts()) as outcomes:
        with pytest.raises(LookupError, match="no more"):
            async for outcome in outcomes:
                seen.append(outcome.index)
    assert sorted(seen) == [0, 1]


async def test_what_the_block_raises_comes_out_as_it_is(session: ImageSession) -> None:
    with pytest.raises(ZeroDivisionError):
        async with session.stream(Endless()) as outcomes:
            async for _ in outcomes:
                1 / 0  # noqa: B018


async def test_cancelling_the_reader_ends_everything(service: Service, session: ImageSession) -> None:
    async def answer(number: int, _: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return reply()

    service.answer = answer

    async def read() -> None:
        async with session.stream(Endless()) as outcomes:
            async for _ in outcomes:
                pass

    reader = asyncio.create_task(read())
    async with asyncio.timeout(30):
        while service.in_flight < 4:
            await asyncio.sleep(0.005)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(reader, 5)
    await asyncio.sleep(0.05)
    assert service.in_flight == 0


async def test_draining_finishes_what_is_in_flight_and_asks_for_nothing_more(service: Service) -> None:
    async def answer(number: int, _: web.Request) -> web.Response:
        await asyncio.sleep(0.1)
        return reply()

    service.answer = answer
    # Two may go out at once; the others wait a minute for their turn.
    async with ImageSession(KEY, base_url=service.base_url, rate_limit="2/min") as session:
        async with session.stream(Endless()) as outcomes:
            asyncio.get_running_loop().call_later(0.05, session.drain)
            seen = [outcome async for outcome in outcomes]
    assert [outcome.ok for outcome in seen] == [True, True]
    assert len(service.bodies) == 2


async def test_a_gather_that_is_drained_says_what_it_did_not_ask_for(service: Service) -> None:
    async def answer(number: int, _: web.Request) -> web.Response:
        session.drain()
        return reply()

    service.answer = answer
    prompts = [f"prompt {number}" for number in range(5)]
    async with ImageSession(KEY, base_url=service.base_url, max_concurrency=2, rate_limit=None) as session:
        found = await session.gather(prompts, return_exceptions=True)
        assert [type(each) for each in found] == [Generation] * 2 + [AsiImageError] * 3
        with pytest.raises(AsiImageError, match="drained before all had been asked for"):
            await session.gather(prompts)
        with pytest.raises(AsiImageError, match="drained before all had been asked for"):
            await session.gather(iter(prompts))
        assert len(await session.gather(prompts[:1])) == len(await session.gather(iter(prompts[:1]))) == 1


async def test_a_drained_gather_waits_no_longer_for_prompts(service: Service, session: ImageSession) -> None:
    async def prompts() -> AsyncIterator[str]:
        yield "one"
        session.drain()
        await asyncio.Event().wait()

    async with asyncio.timeout(5):
        found = await session.gather(prompts(), return_exceptions=True)
    assert [type(each) for each in found] == [AsiImageError]
    assert service.bodies == []


async def test_a_slow_source_does_not_hold_up_what_is_done(service: Service, session: ImageSession) -> None:
    never = asyncio.Event()

    async def prompts() -> AsyncIterator[str]:
        yield "one"
        await never.wait()

    async with session.stream(prompts()) as outcomes:
        assert (await asyncio.wait_for(anext(outcomes), 5)).ok
