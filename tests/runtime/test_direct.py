"""A large reply, read past aiohttp: the same picture, the same errors, and a line as clean as ever."""

from __future__ import annotations

import asyncio
import base64
import gc
import gzip
import io
import json
import re
import ssl
import sys
import tracemalloc
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import trustme
from conftest import KEY
from PIL import Image
from service import raw_serving, read_request, send_reset

from asi_image_async import ImageSession
from asi_image_async.errors import APIConnectionError, APITimeoutError
from asi_image_async.events import Event, RequestSucceeded
from asi_image_async.runtime.transport import direct

pytestmark = pytest.mark.anyio

Handle = Callable[[StreamReader, StreamWriter], Awaitable[None]]


def noise(width: int = 700) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((width, 700), 100).save(file, "PNG", compress_level=0)
    return file.getvalue()


def body_of(picture: bytes) -> bytes:
    return json.dumps({"data": [{"b64_json": base64.b64encode(picture).decode()}], "created": 1}).encode()


PICTURE = noise()
BODY = body_of(PICTURE)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n"
REPLY = HEAD % len(BODY) + b"\r\n" + BODY
HALF = len(REPLY) // 2


@pytest.fixture(params=["asyncio"] if sys.platform == "win32" else ["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Either reads in its own way; the command's is uvloop, where there is one."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture(autouse=True)
def taken(monkeypatch: pytest.MonkeyPatch) -> list[direct._Rest]:
    """What read the rest of each reply past aiohttp."""
    rests: list[direct._Rest] = []

    class Noted(direct._Rest):
        def __init__(self, *args: Any) -> None:
            rests.append(self)
            super().__init__(*args)

    monkeypatch.setattr(direct, "_Rest", Noted)
    return rests


@asynccontextmanager
async def asking(handle: Handle, **settings: Any) -> AsyncIterator[ImageSession]:
    """A session whose service answers so, on each line."""
    async with (
        raw_serving(handle) as base_url,
        ImageSession(KEY, base_url=base_url, rate_limit=None, **settings) as session,
    ):
        yield session


@asynccontextmanager
async def over_tls(handle: Handle, **settings: Any) -> AsyncIterator[ImageSession]:
    """The same with a certificate, and an http session of one's own that trusts it."""
    authority = trustme.CA()
    at_the_server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(at_the_server)
    at_the_client = ssl.create_default_context()
    authority.configure_trust(at_the_client)
    connector = aiohttp.TCPConnector(ssl=at_the_client)
    async with (
        raw_serving(handle, at_the_server) as base_url,
        aiohttp.ClientSession(connector=connector, **settings) as http,
        ImageSession(KEY, base_url=base_url, http=http, rate_limit=None, timeout=5) as session,
    ):
        yield session


def counted(handle: Handle, lines: list[StreamWriter]) -> Handle:
    """The same, and each line is noted."""

    async def noted(reader: StreamReader, writer: StreamWriter) -> None:
        lines.append(writer)
        await handle(reader, writer)

    return noted


async def in_halves(writer: StreamWriter, reply: bytes = REPLY) -> None:
    """So that the second is still to come when the first has been read."""
    writer.write(reply[:HALF])
    await asyncio.sleep(0.02)
    writer.write(reply[HALF:])


def pieces(reply: bytes, size: int) -> Iterator[bytes]:
    return (reply[start : start + size] for start in range(0, len(reply), size))


@pytest.mark.parametrize("size", [997, 16_384, 65_536, HALF, len(REPLY) - 1])
async def test_in_any_pieces_it_is_the_same_picture_and_the_line_is_kept(
    size: int, taken: list[direct._Rest]
) -> None:
    lines: list[StreamWriter] = []

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            await read_request(reader)
            for piece in pieces(REPLY, size):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.0002)

    async with asking(counted(handle, lines)) as session:
        for _ in range(3):
            assert (await session.generate("a cat")).image.data == PICTURE
        received = session.usage.bytes_received
    assert len(lines) == 1
    assert received == 3 * len(BODY)
    assert len(taken) == 3


async def test_of_many_at_once_and_of_every_size_each_is_its_own(taken: list[direct._Rest]) -> None:
    widths = [300, 900, 11_000, 500, 1300, 400, 2000, 700]  # the third is more than is read at once
    pictures = {f"{width} wide": noise(width) for width in widths}

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            request = await read_request(reader)
            body = body_of(pictures[json.loads(request.partition(b"\r\n\r\n")[2])["prompt"]])
            for piece in pieces(HEAD % len(body) + b"\r\n" + body, 100_003):
                writer.write(piece)
                await asyncio.sleep(0.001)

    async with asking(handle) as session:
        for _ in range(2):
            generations = await session.gather([*pictures, *pictures])
            assert [each.image.data for each in generations] == [*pictures.values()] * 2
    assert len(taken) == 4 * (len(pictures) - 1)


def all_at_once(many: int) -> Handle:
    """So many replies are held back before their last byte, and end in one turn of the loop."""
    held: list[StreamWriter] = []

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        writer.write(REPLY[:-1])
        await writer.drain()
        held.append(writer)
        if len(held) == many:
            await asyncio.sleep(0.2)  # until the clients have read so far
            for each in held:
                each.write(REPLY[-1:])
        await asyncio.sleep(5)

    return handle


async def test_of_large_replies_that_end_together_each_is_decoded_in_a_turn_of_its_own() -> None:
    loop = asyncio.get_running_loop()
    turn, decoded = 0, []

    def count() -> None:
        nonlocal turn
        turn += 1
        if len(decoded) < 6:
            loop.call_soon(count)

    def note(event: Event) -> None:
        if isinstance(event, RequestSucceeded):
            decoded.append(turn)

    async with asking(all_at_once(6), observer=note) as session:
        loop.call_soon(count)
        generations = await session.gather(["a cat"] * 6)
    assert [each.image.data for each in generations] == [PICTURE] * 6
    assert len(set(decoded)) == 6
    assert max(decoded) - min(decoded) < 20  # one after another, and not when something else comes


async def test_what_waits_for_its_turn_when_a_session_is_left_is_taken_all_the_same() -> None:
    first = asyncio.Event()

    def note(event: Event) -> None:
        if isinstance(event, RequestSucceeded):
            first.set()

    async with asking(all_at_once(6), observer=note) as session:
        asked = [asyncio.create_task(session.generate("a cat")) for _ in range(6)]
        await first.wait()
    assert [(await each).image.data for each in asked] == [PICTURE] * 6


async def test_who_is_cancelled_while_it_waits_for_its_turn_holds_up_nobody() -> None:
    def note(event: Event) -> None:
        if isinstance(event, RequestSucceeded):
            asked[3].cancel()

    async with asking(all_at_once(6), observer=note) as session:
        asked = [asyncio.create_task(session.generate("a cat")) for _ in range(6)]
        given = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)
    assert isinstance(given.pop(3), asyncio.CancelledError)
    assert [each.image.data for each in given] == [PICTURE] * 5


async def test_over_tls_and_by_a_session_of_ones_own_it_is_the_same_picture(
    taken: list[direct._Rest],
) -> None:
    lines: list[StreamWriter] = []

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            await read_request(reader)
            await in_halves(writer)

    async with over_tls(counted(handle, lines)) as session:
        for _ in range(3):
            assert (await session.generate("a cat")).image.data == PICTURE
    assert len(lines) == 1
    assert len(taken) == 3


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)),
        (b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(gzip.compress(BODY)), gzip.compress(BODY)),
        (b"Connection: close\r\n", BODY),
    ],
    ids=["chunked", "packed", "until the line ends"],
)
async def test_what_does_not_come_as_it_is_is_left_to_aiohttp(
    head: bytes, body: bytes, taken: list[direct._Rest]
) -> None:
    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        await in_halves(writer, b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body)

    async with asking(handle) as session:
        assert (await session.generate("a cat")).image.data == PICTURE
    assert taken == []


async def test_a_line_that_is_not_to_be_kept_is_not(taken: list[direct._Rest]) -> None:
    closed = asyncio.Event()

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        await in_halves(writer, HEAD % len(BODY) + b"Connection: close\r\n\r\n" + BODY)
        await reader.read()
        closed.set()

    async with asking(handle) as session, asyncio.timeout(5):
        assert (await session.generate("a cat")).image.data == PICTURE
        await closed.wait()
    assert len(taken) == 1


# --- lost


Lose = Callable[[StreamWriter], Awaitable[object]]


async def cut(writer: StreamWriter) -> None:
    writer.close()


async def reset(writer: StreamWriter) -> None:
    send_reset(writer)


def breaking(lose: Lose) -> Handle:
    """The first reply is lost in its middle; those on other lines are whole."""
    asked = 0

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal asked
        while True:
            await read_request(reader)
            asked += 1
            if asked == 1:
                writer.write(REPLY[:HALF])
                await asyncio.sleep(0.05)
                await lose(writer)
                return
            await in_halves(writer)

    return handle


@pytest.mark.parametrize("lose", [cut, reset])
async def test_a_line_that_breaks_is_unknown_and_another_serves_the_next(
    lose: Lose, taken: list[direct._Rest]
) -> None:
    async with asking(breaking(lose)) as session:
        with pytest.raises(
            APIConnectionError, match=f"{len(REPLY) - HALF} bytes before the end of the reply"
        ) as raised:
            await session.generate("a cat")
        assert (raised.value.maybe_billed, raised.value.attempts) == (True, 1)
        assert (await session.generate("a cat")).image.data == PICTURE
    assert len(taken) == 2


async def test_a_line_that_stalls_is_left_at_the_timeout(taken: list[direct._Rest]) -> None:
    async with asking(breaking(lambda _: asyncio.sleep(0.5)), timeout=0.3) as session:
        with pytest.raises(APITimeoutError) as raised:
            await session.generate("a cat")
        assert raised.value.maybe_billed
        assert (await session.generate("a cat")).image.data == PICTURE
    assert len(taken) == 2


async def test_who_is_cancelled_in_the_middle_leaves_no_half_reply_to_the_next(
    taken: list[direct._Rest],
) -> None:
    left = asyncio.Event()

    async def lose(writer: StreamWriter) -> None:
        await left.wait()
        writer.write(REPLY[HALF:])  # to a line that nobody reads any longer

    async with asking(breaking(lose)) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await session.generate("a cat")
        left.set()
        assert (await session.generate("a cat")).image.data == PICTURE
    assert len(taken) == 2


async def test_a_session_that_is_left_in_the_middle_ends_at_once(taken: list[direct._Rest]) -> None:
    async with asyncio.timeout(5):
        async with asking(breaking(lambda _: asyncio.sleep(0))) as session:
            session_ends = asyncio.create_task(session.generate("a cat"))
            while not taken:
                await asyncio.sleep(0.001)
        with pytest.raises(APIConnectionError, match="was left before the reply"):
            await session_ends


async def test_a_line_that_breaks_as_the_reading_begins_is_noticed_at_once() -> None:
    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        writer.write(REPLY[:HALF])
        await writer.drain()
        writer.transport.abort()

    for turns in range(12):

        async def hold_up(*_: object, turns: int = turns) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(hold_up)
        async with over_tls(handle, trace_configs=[trace]) as session:
            with pytest.raises(APIConnectionError) as raised:
                await session.generate("a cat")
            assert not isinstance(raised.value, APITimeoutError)
            assert raised.value.maybe_billed


async def test_lines_that_break_leave_no_memory_behind(taken: list[direct._Rest]) -> None:
    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        writer.write(REPLY[:HALF])
        await asyncio.sleep(0.02)

    gc.disable()
    tracemalloc.start()
    try:
        async with asking(handle) as session:
            await session.gather(["a cat"] * 20, return_exceptions=True)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert len(taken) == 20
    assert held < 10 * len(BODY)


async def test_who_was_cancelled_has_room_for_whatever_still_comes(taken: list[direct._Rest]) -> None:
    """As with uvloop, which reads on in the same turn."""
    async with asking(breaking(lambda _: asyncio.sleep(1))) as session:
        task = asyncio.create_task(session.generate("a cat"))
        while not taken:
            await asyncio.sleep(0.001)
        task.cancel()
        taken[0].over.cancel()
        for _ in range(10):
            room = len(taken[0].get_buffer(-1))
            assert room > 0
            taken[0].buffer_updated(room)
        with pytest.raises(asyncio.CancelledError):
            await task


# --- around it


@pytest.mark.parametrize("size", [1, 1000, len(REPLY)])
@pytest.mark.parametrize(("late", "pause"), [(0.0, 0.0), (0.0, 0.06), (0.02, 0.06)])
async def test_what_nobody_asked_for_is_not_taken_for_the_next_reply(
    size: int, late: float, pause: float, taken: list[direct._Rest]
) -> None:
    unasked = REPLY.replace(b"A", b"B")[:size]

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            await read_request(reader)
            await in_halves(writer, REPLY if late else REPLY + unasked)
            if late:
                await asyncio.sleep(late)
                writer.write(unasked)

    async with asking(handle) as session:
        for _ in range(4):
            generation = await session.generate("a cat")
            assert (generation.image.data, generation.attempts) == (PICTURE, 1)
            if pause:  # else the next request goes out within the same turn of the loop
                await asyncio.sleep(pause)
    assert len(taken) == 4


@pytest.mark.filterwarnings("ignore:Sending a large body")  # a smaller one the system takes whole
async def test_a_reply_that_comes_while_the_request_still_goes_up_is_that_reply(
    taken: list[direct._Rest],
) -> None:
    lines: list[StreamWriter] = []

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(REPLY[:HALF])
            await asyncio.sleep(0.05)
            await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))
            writer.write(REPLY[HALF:])

    async with asking(counted(handle, lines)) as session, asyncio.timeout(20):
        for _ in range(2):
            generation = await session.generate("a cat", image="x" * 24 * 2**20)
            assert generation.image.data == PICTURE
    assert len(lines) == 1
    assert len(taken) == 2
