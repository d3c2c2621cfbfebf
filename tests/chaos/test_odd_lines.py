"""A line in pieces, one that stalls, one that is cut where it is kept, one that says what nobody asked."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import random
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack

import pytest
from chaos.line import WHOLE, Act, Framing, Line, Passage, Place, in_front, prompt_of, whole
from chaos.scale import SLACK, Figures, scaled
from conftest import KEY
from hypothesis import given, settings
from hypothesis import strategies as st
from service import picture, raw_serving, read_request

from asi_image_async import Generation, ImageSession, RetryPolicy
from asi_image_async.errors import APIConnectionError, APITimeoutError, BadRequestError

pytestmark = pytest.mark.anyio

WIDTH = 8
TIMEOUT = scaled(2.0, 5.0)  # a busy machine does all its requests at once within it


def session(base_url: str, *, timeout: float = 10.0, width: int = WIDTH) -> ImageSession:
    retry = RetryPolicy(backoff=0.01)
    return ImageSession(
        KEY, base_url=base_url, timeout=timeout, max_concurrency=width, rate_limit=None, retry=retry
    )


async def again_at_full_width(
    line: Line, client: ImageSession, prompts: Iterable[str], width: int = WIDTH
) -> list[Generation]:
    """Ask for these on a good line: as many at once as ever, whatever became of the connections before."""
    first, all_asked = line.requests, asyncio.Event()

    def none_before_the_last(number: int, request: bytes) -> Passage:
        if number == first + width - 1:
            all_asked.set()
        return Passage(Act.DELAY, Place.BEFORE_HEADERS, until=all_asked)

    line.decide = none_before_the_last
    await client.gather(f"after all that {number}" for number in range(width))
    assert line.requests == first + width
    line.decide = whole
    return await client.gather(prompts)


# --- in pieces


@pytest.mark.parametrize("framing", Framing)
async def test_a_reply_in_single_bytes_or_split_at_any_place_is_the_same_picture(framing: Framing) -> None:
    chunks = itertools.repeat(97)
    async with in_front() as (_, line), session(line.base_url) as client:
        unbroken = (await client.generate("a cat")).image.sha256
        ways = [Passage(framing=framing, chunks=chunks, pieces=itertools.repeat(1))]
        line.decide = lambda *_: ways[0]
        await client.generate("a cat")
        ways += [
            Passage(framing=framing, chunks=chunks, pieces=[place])
            for place in range(1, len(line.reply), scaled(29, 1))
        ]
        first = line.requests
        line.decide = lambda number, _: ways[number - first]
        generations = await client.gather("a cat" for _ in ways)
    assert {generation.image.sha256 for generation in generations} == {unbroken}
    assert {generation.attempts for generation in generations} == {1}


def test_any_chunking_of_a_reply_gives_the_same_picture() -> None:
    sizes = st.lists(st.integers(1, 400), max_size=30)
    stack = AsyncExitStack()

    async def ask(passage: Passage) -> bytes:
        line.decide = lambda *_: passage
        return (await client.generate("a cat")).image.data

    with asyncio.Runner() as runner:
        _, line = runner.run(stack.enter_async_context(in_front()))
        client = runner.run(stack.enter_async_context(session(line.base_url)))
        unbroken = runner.run(ask(WHOLE))

        @settings(max_examples=scaled(40, 500), deadline=None)
        @given(st.sampled_from(Framing), sizes, sizes)
        def same(framing: Framing, chunks: list[int], pieces: list[int]) -> None:
            assert runner.run(ask(Passage(framing=framing, chunks=chunks, pieces=pieces))) == unbroken

        try:
            same()
        finally:
            runner.run(stack.aclose())


# --- stalled


async def test_a_line_that_stalls_or_trickles_is_left_at_the_timeout_and_the_pool_is_whole() -> None:
    ways = [Passage(Act.STALL, place, framing) for place in list(Place)[:-1] for framing in Framing]
    # Alive and never done: a timeout between two bytes would not end it.
    ways += [Passage(framing=framing, pieces=itertools.repeat(1), pause=0.05) for framing in Framing]
    width = scaled(1, 5) * len(ways)
    held: dict[str, float] = {}

    async def ask(prompt: str) -> None:
        started = time.monotonic()
        with pytest.raises(APITimeoutError) as raised:
            await client.generate(prompt)
        held[prompt] = time.monotonic() - started
        assert (raised.value.maybe_billed, raised.value.attempts) == (True, 1)

    async with (
        in_front(lambda number, _: ways[number % len(ways)]) as (service, line),
        session(line.base_url, timeout=TIMEOUT, width=width) as client,
    ):
        for turn in range(scaled(1, 3)):
            await asyncio.gather(*(ask(f"picture {turn}/{number}") for number in range(width)))
        async with asyncio.timeout(SLACK):
            while line.busy:  # until the client has let go of all of them
                await asyncio.sleep(0.01)
        bought = service.billed_by_prompt
        again = await again_at_full_width(line, client, list(held), width)
    assert min(held.values()) > TIMEOUT * 0.9
    assert max(held.values()) < TIMEOUT + SLACK
    assert set(bought.values()) == {1}
    Figures(
        fault="line stalled or trickling",
        tries=len(held),
        delivered=len(again),
        lost=len(bought.keys() - held.keys()),
        billed_twice=service.billed - width - len(again) - len(bought),
        longest_hang=max(held.values()),
    ).tell()


# --- kept


async def test_lines_that_are_cut_idle_or_under_the_next_request_leave_a_pool_that_is_whole() -> None:
    chance = random.Random(3)
    cuts = 0

    def decide(number: int, request: bytes) -> Passage:
        nonlocal cuts
        framing = chance.choice([Framing.MEASURED, Framing.CHUNKED])  # what keeps a line
        if number % 2:
            return Passage(framing=framing)
        cuts += 1
        place = chance.choice([Place.BEFORE_REQUEST, Place.AFTER_END])
        return Passage(chance.choice([Act.CUT, Act.RESET]), place, framing, wait=chance.random() * 0.005)

    prompts = [f"picture number {number}" for number in range(scaled(60, 600))]
    async with (
        in_front(decide, latency=0.002) as (service, line),
        session(line.base_url) as client,
    ):
        outcomes = dict(zip(prompts, await client.gather(prompts, return_exceptions=True), strict=True))
        bought = service.billed_by_prompt
        done = {prompt for prompt, outcome in outcomes.items() if isinstance(outcome, Generation)}
        unknown = outcomes.keys() - done
        for error in map(outcomes.__getitem__, unknown):
            assert isinstance(error, APIConnectionError)
            assert error.maybe_billed
        await asyncio.sleep(0.1)  # the last of the lines are cut
        again = await again_at_full_width(line, client, unknown)
    assert bought.keys() == done  # no line was cut while a request was at the service
    assert set(bought.values()) == {1}
    Figures(
        fault="kept line cut, idle or under a request",
        tries=cuts,
        delivered=len(done) + len(again),
        lost=len(bought.keys() - done - unknown),
        billed_twice=service.billed - WIDTH - len(prompts),
    ).tell()


# --- what nobody asked for


def drawing(request: bytes) -> bytes:
    """A whole reply: a picture as wide as the prompt says."""
    drawn = base64.b64encode(picture(size=(int(prompt_of(request)), 8))).decode()
    body = json.dumps({"data": [{"b64_json": drawn}]}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize(
    "unasked",
    [
        lambda reply: reply,
        lambda reply: reply[: len(reply) // 2],
        lambda _: b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n",
        lambda _: b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
    ids=["the same once more", "half of it once more", "408", "100"],
)
async def test_a_reply_that_comes_to_an_idle_line_is_not_taken_for_that_of_the_next_prompt(
    unasked: Callable[[bytes], bytes],
) -> None:
    own_is_read, more_is_sent = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            reply = drawing(await read_request(reader))
            writer.write(reply)
            await own_is_read.acquire()
            writer.write(unasked(reply))
            more_is_sent.release()

    async with raw_serving(handle) as base_url, session(base_url) as client:
        for width in (8, 16, 24):
            generation = await client.generate(str(width))
            assert (generation.image.width, generation.attempts) == (width, 1)
            own_is_read.release()
            await more_is_sent.acquire()
            await asyncio.sleep(0.01)  # a turn of the loop, in which it is read


async def test_replies_on_the_way_to_the_reply_are_passed_over() -> None:
    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        reply = drawing(await read_request(reader))
        for piece in (b"100 Continue", b"102 Processing", b"103 Early Hints\r\nLink: </x>"):
            writer.write(b"HTTP/1.1 %b\r\n\r\n" % piece)
            await asyncio.sleep(0.001)
        writer.write(reply)
        await reader.read()

    async with raw_serving(handle) as base_url, session(base_url) as client:
        assert (await client.generate("16")).image.width == 16


# --- a request that takes long on its way up

LONG_WAY = "x" * 24 * 2**20  # far more than the buffers of the system take
long_way = pytest.mark.filterwarnings("ignore:Sending a large body")


@long_way
async def test_a_request_that_was_given_up_on_its_way_up_does_not_arrive_whole_afterwards() -> None:
    given_up = asyncio.Event()
    arrived: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        await given_up.wait()  # meanwhile it takes what its buffer takes
        arrived.set_result(await reader.read())

    async with raw_serving(handle) as base_url, session(base_url, timeout=0.5) as client:
        with pytest.raises(APITimeoutError) as raised:
            await client.generate("a cat", image=LONG_WAY)
        assert raised.value.maybe_billed
        given_up.set()
        async with asyncio.timeout(5):
            assert len(await arrived) < len(LONG_WAY)


@long_way
async def test_a_refusal_that_comes_before_the_request_has_gone_up_is_that_refusal() -> None:
    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
        await refused.wait()

    refused = asyncio.Event()
    async with raw_serving(handle) as base_url, session(base_url) as client:
        with pytest.raises(BadRequestError) as raised:
            await client.generate("a cat", image=LONG_WAY)
        refused.set()
    assert (raised.value.status, raised.value.maybe_billed, raised.value.attempts) == (413, False, 1)
