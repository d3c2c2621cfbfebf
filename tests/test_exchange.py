"""What happens to the money: every way in which asking can fail, and what is done about it."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import os
import re
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web
from conftest import KEY
from pydantic import SecretStr
from service import GOOD, JPEG, Service, raw_serving, read_request, reply, send_reset, serving

from asi_image_async import Done, Failed, ImageRequest, ImageSession, MemorySink, RetryPolicy
from asi_image_async.brake import Brake, Stopped
from asi_image_async.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
)
from asi_image_async.events import (
    Event,
    RequestCancelled,
    RequestFailed,
    RequestStarted,
    RetryScheduled,
    Throttled,
)
from asi_image_async.exchange import Exchange, Item
from asi_image_async.runtime.gate import Gate
from asi_image_async.runtime.transport import Transport

pytestmark = pytest.mark.anyio

REFUSED = os.strerror(errno.ECONNREFUSED)
ATTEMPTS = 3
BOUND = 2**16
BODY = json.dumps(GOOD).encode()
KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)
OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"  # so that no row meets the dead line of another
MEASURED = OK + b"Content-Length: %d\r\n\r\n" % len(BODY)
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
GZIPPED = OK + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\n"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await writer.drain()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await writer.drain()
    await asyncio.sleep(0.01)  # what was written is to arrive before the reset does
    send_reset(writer)


async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(bytes(2**14))
        await writer.drain()


def settings(**given: Any) -> dict[str, Any]:
    """Of a session that waits for nothing long."""
    policy = RetryPolicy(
        max_attempts=ATTEMPTS, backoff=0.001, resend_unknown=given.pop("resend_unknown", False)
    )
    return {"timeout": 5.0, "retry": policy, "max_response_bytes": BOUND, "rate_limit": None} | given


@dataclass(frozen=True)
class Line:
    """A line that fails after the request has gone out: what the server writes, and what it does then."""

    writes: bytes = b""
    then: Handler = close
    error: type[APIError] = APIConnectionError
    resent: bool = True  # where the user says resend_unknown
    whole: bool = True  # whether the server reads the request first

    @property
    def timeout(self) -> float:
        return 0.15 if self.error is APITimeoutError else 5.0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.writes)
        await self.then(reader, writer)


TIMEOUT: dict[str, Any] = {"then": stall, "error": APITimeoutError}
BAD_REPLY: dict[str, Any] = {"error": InvalidResponseError, "resent": False}
UNKNOWN = {
    "closed right after accepting": Line(whole=False),
    "closed after reading the request": Line(),
    "reset after reading the request": Line(then=reset),
    "closed within the status line": Line(b"HTTP/1.1 20"),
    "closed within the headers": Line(OK),
    "closed within a header": Line(OK + b"Content-Len"),
    "closed before the body": Line(MEASURED),
    "closed within the body": Line(MEASURED + BODY[:100]),
    "closed one byte before the end": Line(MEASURED + BODY[:-1]),
    "reset within the body": Line(MEASURED + BODY[:100], reset),
    "closed within a chunk": Line(CHUNKED + b"%x\r\n" % len(BODY) + BODY[:100]),
    "closed within a chunk's size": Line(CHUNKED + b"1"),
    "closed before the last chunk": Line(CHUNKED + b"%x\r\n%b\r\n" % (len(BODY), BODY)),
    "closed one byte before the end of the last chunk": Line(
        CHUNKED + b"%x\r\n%b\r\n0\r\n\r" % (len(BODY), BODY)
    ),
    "a chunk size that is none": Line(CHUNKED + b"xyz\r\n"),
    "stalled before the headers": Line(**TIMEOUT),
    "stalled within the headers": Line(OK, **TIMEOUT),
    "stalled within the body": Line(MEASURED + BODY[:100], **TIMEOUT),
    "stalled one byte before the end": Line(MEASURED + BODY[:-1], **TIMEOUT),
    "stalled within a chunk": Line(CHUNKED + b"ff\r\n", **TIMEOUT),
    "asked to go on and stalled": Line(b"HTTP/1.1 100 Continue\r\n\r\n" * 3, **TIMEOUT),
    "garbage instead of HTTP": Line(b"\x16\x03\x01\x02\r\n\r\n"),
    "garbage without an end": Line(then=pour),
    "a mail server": Line(b"220 mail.example ESMTP\r\n"),
    "a header line that is huge": Line(OK + b"X: " + b"x" * 100_000 + b"\r\n\r\n"),
    "headers without an end": Line(OK + b"X: x\r\n" * 20_000),
    "two lengths": Line(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "a length that is none": Line(OK + b"Content-Length: -2\r\n\r\n{}"),
    "not the gzip that it claims": Line(GZIPPED + b"not gzip!"),
    "200 and no body": Line(OK + b"Content-Length: 0\r\n\r\n", **BAD_REPLY),
    "200 and invalid JSON": Line(OK + b'Content-Length: 9\r\n\r\n{"data": ', **BAD_REPLY),
    "200 and a page of HTML": Line(OK + b"Content-Length: 9\r\n\r\n<!DOCTYPE", **BAD_REPLY),
    "200, no length, and closed within the body": Line(OK + b"\r\n" + BODY[:-1], **BAD_REPLY),
    "204": Line(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", **BAD_REPLY),
    "200 and too large": Line(OK + b"Content-Length: 99999999\r\n\r\n", **BAD_REPLY),
    "200 and a body without an end": Line(OK + b"\r\n", pour, **BAD_REPLY),
}
lines = pytest.mark.parametrize("line", UNKNOWN.values(), ids=UNKNOWN)


@dataclass
class Seen:
    """What a server saw: how many requests came to it on how many connections."""

    base_url: str = ""
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def keys(self) -> set[bytes]:
        heads = (request.split(b"\r\n\r\n")[0] for request in self.requests)
        return {line for head in heads for line in head.split(b"\r\n") if line.startswith(b"Idempotency-Key")}


@asynccontextmanager
async def answering(*handlers: Handler, whole: bool = True) -> AsyncIterator[Seen]:
    """A server that reads each request and answers by the handler of its turn; by the last one for ever."""
    seen = Seen()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        turn = seen.connections
        seen.connections += 1
        if whole:
            seen.requests.append(await read_request(reader))
        await handlers[min(turn, len(handlers) - 1)](reader, writer)

    async with raw_serving(serve) as seen.base_url:
        yield seen


good = Line(MEASURED + BODY).handle


async def good_and_kept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(KEPT + BODY)
    await writer.drain()


# --- unknown: it may have been billed


@lines
async def test_what_went_out_and_was_not_answered_whole_may_have_been_billed_and_is_not_resent(
    line: Line,
) -> None:
    async with (
        answering(line.handle, whole=line.whole) as seen,
        ImageSession(KEY, base_url=seen.base_url, **settings(timeout=line.timeout)) as session,
    ):
        with pytest.raises(line.error) as raised:
            await session.generate("a cat")
        assert type(raised.value) is line.error
        assert raised.value.maybe_billed
        assert raised.value.attempts == 1
        assert (session.usage.requests, session.usage.retries) == (1, 0)
        assert str(raised.value)
        assert KEY not in f"{raised.value} {raised.value!r} {raised.value.__cause__!r}"
    assert seen.connections == 1


@lines
async def test_what_is_unknown_is_resent_where_the_user_says_so_with_the_same_idempotency_key(
    line: Line,
) -> None:
    given = settings(timeout=line.timeout)
    given["retry"] = RetryPolicy(max_attempts=2, backoff=0.001, resend_unknown=True)
    async with (
        answering(line.handle, whole=line.whole) as seen,
        ImageSession(KEY, base_url=seen.base_url, **given) as session,
    ):
        with pytest.raises(line.error) as raised:
            await session.generate("a cat")
        assert raised.value.maybe_billed
        expected = 2 if line.resent else 1
        assert raised.value.attempts == session.usage.requests == expected
    assert seen.connections == expected
    assert len(seen.keys) == line.whole


async def test_what_is_resent_may_succeed_and_counts_its_attempts() -> None:
    broken = UNKNOWN["closed within the body"].handle
    async with (
        answering(broken, broken, good) as seen,
        ImageSession(KEY, base_url=seen.base_url, **settings(resend_unknown=True)) as session,
    ):
        generation = await session.generate("a cat")
    assert generation.image.data == JPEG
    assert generation.attempts == 3
    assert len(seen.requests) == 3


async def test_every_failure_has_a_hint_and_one_line_and_leaves_the_pool_whole() -> None:
    rows = [line for line in UNKNOWN.values() if line.whole and line.error is not APITimeoutError]
    async with (
        answering(*(line.handle for line in rows), good) as seen,
        ImageSession(KEY, base_url=seen.base_url, **settings(max_concurrency=2)) as session,
    ):
        for line in rows:
            with pytest.raises(line.error) as raised:
                await session.generate("a cat")
            assert raised.value.hint
            assert 10 < len(str(raised.value)) < 500
            assert "\n" not in str(raised.value)
            assert "<Raw" not in str(raised.value)
        assert len(await session.gather(["a", "b", "c", "d"])) == 4


# --- never delivered: not billed, and tried again


@contextmanager
def full_backlog() -> Any:
    """A port that accepts nobody: connecting to it neither fails nor ends."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = []
        try:
            for _ in range(8):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(listening.getsockname())
                waiting.append(sock)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        finally:
            for sock in waiting:
                sock.close()


class NoNames(aiohttp.abc.AbstractResolver):
    """A resolver on a machine without a network."""

    asked = 0

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[Any]:
        self.asked += 1
        raise OSError(-3, "Temporary failure in name resolution")

    async def close(self) -> None:
        pass


async def ask_and_fail(base_url: str, error: type[APIError], **given: Any) -> APIError:
    events: list[Event] = []
    async with ImageSession(KEY, base_url=base_url, **settings(observer=events.append, **given)) as session:
        with pytest.raises(error) as raised:
            await session.generate("a cat")
        assert type(raised.value) is error
        assert session.usage.requests == raised.value.attempts
        assert session.usage.retries == raised.value.attempts - 1
    kinds = Counter(type(event) for event in events)
    assert kinds[RequestStarted] == raised.value.attempts
    assert kinds[RetryScheduled] == raised.value.attempts - 1
    return raised.value


async def test_after_a_429_it_is_the_pace_that_says_when(service: Service) -> None:
    events: list[Event] = []
    service.says(lambda: reply({"message": "slow down"}, 429), reply)
    policy = RetryPolicy(backoff=60.0, max_backoff=60.0)
    async with ImageSession(
        KEY, base_url=service.base_url, rate_limit="1000/s", retry=policy, observer=events.append
    ) as session:
        await asyncio.wait_for(session.generate("a cat"), 10)
    assert [event.delay for event in events if isinstance(event, RetryScheduled)] == [0.0]
    assert [event for event in events if isinstance(event, Throttled)]


def was_never_delivered(error: APIError) -> None:
    assert not error.maybe_billed
    assert error.attempts == ATTEMPTS


async def test_a_refused_connection_is_tried_again_and_was_not_billed() -> None:
    async with serving() as service:
        gone = service.base_url
    was_never_delivered(await ask_and_fail(gone, APIConnectionError))


async def test_what_cannot_be_reached_and_what_is_not_there_are_told_with_their_address(
    service: Service,
) -> None:
    async with raw_serving(close) as gone:
        pass
    error = await ask_and_fail(gone, APIConnectionError)
    assert str(error) == f"no connection to 127.0.0.1:{gone.split(':')[2].removesuffix('/v1')}: {REFUSED}"
    async with ImageSession(KEY, base_url=service.base_url + "/wrong", **settings()) as session:
        with pytest.raises(NotFoundError) as raised:
            await session.generate("a cat")
    assert f"{service.base_url}/wrong/image/generate" in raised.value.hint


async def test_a_name_that_cannot_be_resolved_is_tried_again_and_was_not_billed() -> None:
    resolver = NoNames()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=resolver)) as http:
        error = await ask_and_fail("http://asi.invalid/v1", APIConnectionError, http=http)
    was_never_delivered(error)
    assert "asi.invalid" in str(error)
    assert resolver.asked == ATTEMPTS


async def test_a_connection_that_is_never_accepted_times_out_and_was_not_billed() -> None:
    with full_backlog() as base_url:
        was_never_delivered(await ask_and_fail(base_url, APITimeoutError, timeout=0.15))


async def test_a_handshake_with_a_plain_server_is_tried_again_and_was_not_billed(service: Service) -> None:
    base_url = service.base_url.replace("http:", "https:")
    was_never_delivered(await ask_and_fail(base_url, APIConnectionError))
    assert service.bodies == []


async def test_a_handshake_that_stalls_times_out_and_was_not_billed() -> None:
    async with answering(stall, whole=False) as seen:
        base_url = seen.base_url.replace("http:", "https:")
        was_never_delivered(await ask_and_fail(base_url, APITimeoutError, timeout=0.15))


async def test_a_certificate_that_is_not_trusted_was_not_billed() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("nothing was to arrive")

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        base_url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        error = await ask_and_fail(base_url, APIConnectionError)
    was_never_delivered(error)
    assert "certificate" in str(error).lower()


async def test_a_proxy_that_lets_nobody_through_was_not_billed() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"CONNECT asi.invalid:443")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    async with (
        raw_serving(refuse) as proxy,
        aiohttp.ClientSession(proxy=proxy.removesuffix("/v1")) as http,
    ):
        error = await ask_and_fail("https://asi.invalid/v1", APIConnectionError, http=http)
    was_never_delivered(error)


# --- refused, or rejected before work


@pytest.mark.parametrize(
    ("status", "error", "attempts", "maybe_billed"),
    [
        ("400 Bad Request", BadRequestError, 1, False),
        ("403 Forbidden", PermissionDeniedError, 1, False),
        ("408 Request Timeout", APIStatusError, ATTEMPTS, False),
        ("429 Too Many Requests", RateLimitError, ATTEMPTS, False),
        ("500 Internal Server Error", ServerError, ATTEMPTS, False),
        ("502 Bad Gateway", ServerError, 1, True),
        ("503 Service Unavailable", ServerError, ATTEMPTS, False),
        ("504 Gateway Timeout", ServerError, 1, True),
        ("307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/", APIStatusError, 1, False),
    ],
)
@pytest.mark.parametrize("cut", ["whole", "cut", "reset"])
async def test_a_status_is_that_error_whatever_becomes_of_its_body(
    monkeypatch: pytest.MonkeyPatch,
    status: str,
    error: type[APIStatusError],
    attempts: int,
    maybe_billed: bool,
    cut: str,
) -> None:
    monkeypatch.setattr("asi_image_async.core.pace.refusals._USUAL", (0.001,))
    body = b'{"message": "so it is"}'
    missing = 0 if cut == "whole" else 20
    written = f"HTTP/1.1 {status}\r\nContent-Length: {len(body) + missing}\r\n\r\n".encode() + body
    async with answering(Line(written, reset if cut == "reset" else close).handle) as seen:
        raised = await ask_and_fail(seen.base_url, error)
        assert isinstance(raised, APIStatusError)
        assert raised.status == int(status[:3])
        assert raised.attempts == len(seen.requests) == attempts
        assert len(seen.keys) == 1
        assert raised.maybe_billed == maybe_billed
        if raised.status >= 400:
            assert raised.message == "so it is"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_error_and_nothing_goes_where_it_points(status: int) -> None:
    async with serving() as service, serving() as target:
        location = target.base_url + "/image/generate"
        service.says(lambda: reply({}, status, Location=location))
        async with ImageSession(KEY, base_url=service.base_url, **settings()) as session:
            with pytest.raises(APIStatusError, match=location) as raised:
                await session.generate("a cat")
    assert raised.value.status == status
    assert not raised.value.maybe_billed
    assert len(service.bodies) == 1
    assert target.bodies == target.headers == []


# --- a connection that is used again


async def test_a_connection_that_the_server_closed_while_idle_is_replaced_unseen() -> None:
    async with (
        answering(good_and_kept) as seen,
        ImageSession(KEY, base_url=seen.base_url, **settings()) as session,
    ):
        for _ in range(5):
            generation = await session.generate("a cat")
            await asyncio.sleep(0.01)  # the server's goodbye arrives
            assert generation.attempts == 1
    assert seen.connections == len(seen.requests) == 5


@pytest.mark.parametrize("then", [close, reset], ids=["closed", "reset"])
async def test_a_used_connection_that_dies_under_the_next_request_is_unknown_and_sent_once(
    then: Handler,
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await good_and_kept(reader, writer)
        seen.requests.append(await read_request(reader))
        await then(reader, writer)

    async with (
        answering(handle) as seen,
        ImageSession(KEY, base_url=seen.base_url, **settings()) as session,
    ):
        await session.generate("the first")
        with pytest.raises(APIConnectionError) as raised:
            await session.generate("the second")
        assert raised.value.maybe_billed
        assert raised.value.attempts == 1
        assert (await session.generate("the third")).image.data == JPEG
    arrived = [sum(word in request for request in seen.requests) for word in (b"first", b"second", b"third")]
    assert arrived == [1, 1, 1]
    assert seen.connections == 2


@pytest.mark.parametrize("ticks", [0, 1, 2, 3, 4, 5, 50])
@pytest.mark.parametrize("then", [close, reset], ids=["closed", "reset"])
async def test_a_used_connection_that_dies_before_a_byte_is_written_is_replaced_or_else_it_is_unknown(
    then: Handler, ticks: int
) -> None:
    lines: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append((reader, writer))
        await good_and_kept(reader, writer)
        await reader.read()

    async def die(*_: object) -> None:
        reader, writer = lines[-1]
        await then(reader, writer)
        writer.close()
        for _ in range(ticks):
            await asyncio.sleep(0)

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(die)
    async with (
        answering(handle) as seen,
        aiohttp.ClientSession(trace_configs=[trace]) as http,
        ImageSession(KEY, base_url=seen.base_url, **settings(http=http)) as session,
    ):
        await session.generate("the first")
        (second,) = await session.gather(["the second"], return_exceptions=True)
    arrived = [b"second" in request for request in seen.requests]
    if isinstance(second, APIError):
        assert (second.maybe_billed, second.attempts) == (True, 1)
        assert arrived == [False]
        assert ticks < 50
    else:
        assert second.attempts == 2  # type: ignore[union-attr]
        assert arrived == [False, True]


async def test_a_connection_whose_end_crosses_the_next_request_sends_none_twice() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await good_and_kept(reader, writer)
        await gone.wait()

    async with (
        answering(handle) as seen,
        ImageSession(KEY, base_url=seen.base_url, **settings()) as session,
    ):
        for turn in range(40):
            gone = asyncio.Event()
            await session.generate("the first")
            asyncio.get_running_loop().call_later(turn * 0.000_02, gone.set)
            try:
                await session.generate("the second")
            except APIConnectionError as error:
                assert (error.maybe_billed, error.attempts) == (True, 1)  # noqa: PT017 - either may happen
            gone.set()
            await asyncio.sleep(0.001)
    assert len(seen.keys) == len(seen.requests)  # each that arrived has a key of its own: none came twice


# --- links: the picture is bought already


def linking(service: Service, *paths: str) -> None:
    urls = [service.base_url.removesuffix("v1") + path for path in paths]
    service.says(lambda: reply({"data": [{"url": url} for url in urls]}))


async def test_a_link_that_fails_is_tried_again_without_asking_for_another_picture() -> None:
    asked: list[str] = []

    async def file(request: web.Request) -> web.Response:
        asked.append(request.headers.get("Authorization", "no key"))
        return web.Response(body=JPEG) if len(asked) == 3 else web.Response(status=[404, 503][len(asked) - 1])

    async with serving(file=file) as service:
        linking(service, "file")
        async with ImageSession(KEY, base_url=service.base_url, **settings()) as session:
            generation = await session.generate("a cat")
            assert session.usage.requests == 1
            assert session.usage.bytes_received > len(JPEG)
    assert generation.image.data == JPEG
    assert generation.attempts == 1
    assert asked == ["no key"] * 3
    assert len(service.bodies) == 1


@pytest.mark.parametrize(("attempts", "tries"), [(1, 4), (6, 6)])
async def test_a_link_that_fails_for_good_may_have_been_billed_and_is_named(
    attempts: int, tries: int
) -> None:
    asked: list[str] = []

    async def gone(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=410)

    async with serving(gone=gone) as service:
        linking(service, "gone")
        policy = RetryPolicy(max_attempts=attempts, backoff=0.001)
        async with ImageSession(KEY, base_url=service.base_url, retry=policy) as session:
            with pytest.raises(InvalidResponseError, match="/gone") as raised:
                await session.generate("a cat")
    assert raised.value.maybe_billed
    assert raised.value.attempts == len(service.bodies) == 1
    assert len(asked) == tries


async def test_a_link_is_not_waited_for_when_its_session_is_left() -> None:
    asked = asyncio.Event()

    async def gone(_: web.Request) -> web.Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(gone=gone) as service:
        linking(service, "gone")
        policy = RetryPolicy(max_attempts=ATTEMPTS, backoff=30.0, max_backoff=30.0)
        async with ImageSession(KEY, base_url=service.base_url, retry=policy) as session:
            asking = asyncio.create_task(session.generate("a cat"))
            await asked.wait()
            await session.__aexit__(None, None, None)
        with pytest.raises(InvalidResponseError) as raised:
            await asyncio.wait_for(asking, 10)
    assert raised.value.maybe_billed


async def test_a_link_that_is_refused_is_not_tried_again() -> None:
    async with serving() as other, serving() as service:
        service.says(lambda: reply({"data": [{"url": other.base_url + "/cat.jpg"}]}))
        policy = RetryPolicy(max_attempts=ATTEMPTS, backoff=30.0, resend_unknown=True)
        async with ImageSession(KEY, base_url=service.base_url, retry=policy) as session:
            with pytest.raises(InvalidResponseError, match="not followed") as raised:
                await session.generate("a cat")
    assert raised.value.maybe_billed
    assert len(service.bodies) == 1


async def test_waits_between_tries_of_a_link_are_bounded() -> None:
    asked: list[str] = []

    async def gone(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=404)

    async with serving(gone=gone) as service:
        linking(service, "gone")
        policy = RetryPolicy(max_attempts=40, backoff=0.001, max_backoff=0.002, resend_unknown=True)
        async with ImageSession(KEY, base_url=service.base_url, retry=policy) as session:
            with pytest.raises(InvalidResponseError):
                await asyncio.wait_for(session.generate("a cat"), 5)
    assert len(asked) == 40
    assert len(service.bodies) == 1  # what was bought is not bought again for a link that is gone


@pytest.mark.parametrize("wrong", [{"b64_json": "no base64!"}, {"b64_json": "R0lG"}, {"url": "/gone"}])
async def test_a_picture_that_cannot_be_read_takes_no_good_one_with_it(
    wrong: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async def gone(_: web.Request) -> web.Response:
        return web.Response(status=410)

    good = {"b64_json": base64.b64encode(JPEG).decode()}
    async with serving(gone=gone) as service:
        if "url" in wrong:
            wrong = {"url": service.base_url + "/gone"}
        service.says(lambda: reply({"data": [good, wrong, good]}))
        async with ImageSession(KEY, base_url=service.base_url, **settings()) as session:
            generation = await session.generate("a cat", n=3)
            usage = session.usage
    assert [image.data for image in generation.images] == [JPEG, JPEG]
    assert "one of 3 pictures of a reply is left out" in caplog.text
    assert [error.maybe_billed for error in generation.left_out] == [True]
    assert (usage.images, usage.left_out, usage.billed_at_least, usage.billed_at_most) == (2, 1, 2, 3)


async def test_pictures_and_links_in_one_reply_keep_their_order() -> None:
    async def file(_: web.Request) -> web.Response:
        return web.Response(body=JPEG)

    async with serving(file=file) as service:
        url = service.base_url.removesuffix("v1") + "file"
        service.says(lambda: reply({"data": [{"url": url}, GOOD["data"][0], {"url": url}]}))  # type: ignore[index]
        async with ImageSession(KEY, base_url=service.base_url, **settings()) as session:
            assert [image.data for image in (await session.generate("a cat")).images] == [JPEG] * 3


async def test_what_a_reply_links_to_has_the_bound_of_the_pictures_asked_for_and_what_is_beyond_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def file(_: web.Request) -> web.Response:
        return web.Response(body=JPEG + bytes(BOUND // 3))

    async with serving(file=file) as service:
        linking(service, *["file"] * 5)
        given = settings() | {"max_response_bytes": BOUND}
        async with ImageSession(KEY, base_url=service.base_url, **given) as session:
            assert len((await session.generate("a cat", n=5)).images) == 5
            assert len((await session.generate("a cat")).images) == 2
    told = re.findall(r"larger than (\d+) bytes \(the picture's link: http://127.0.0.1", caplog.text)
    assert len(told) == 3
    assert all(int(left) < BOUND // 3 for left in told)


async def test_a_reply_that_links_to_hundreds_of_pictures_is_none() -> None:
    async with serving() as service:
        linking(service, *["file"] * 101)
        async with ImageSession(KEY, base_url=service.base_url, **settings()) as session:
            with pytest.raises(InvalidResponseError, match="links to more than 100 pictures") as raised:
                await session.generate("a cat")
    assert raised.value.maybe_billed


# --- the exchange by itself


@asynccontextmanager
async def exchange(base_url: str, policy: RetryPolicy) -> AsyncIterator[Exchange]:
    transport = Transport(
        base_url=base_url, api_key=SecretStr(KEY), timeout=5.0, max_response_bytes=BOUND, http=None
    )
    await transport.open()
    try:
        yield Exchange(Gate((), 4, lambda _: None), transport, policy, lambda _: None)
    finally:
        await transport.close()


def item() -> Item:
    return Item(ImageRequest(prompt="a cat"), idempotency_key="1")


@pytest.mark.parametrize("turns", range(10))
async def test_a_session_that_is_left_waits_for_no_rest_of_a_reply(turns: int) -> None:
    begun = asyncio.Event()

    async def a_part(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        begun.set()
        await reader.read()

    async with raw_serving(a_part) as base_url:
        async with ImageSession(KEY, base_url=base_url, timeout=120.0) as session:
            asking = asyncio.create_task(session.generate("a cat"))
            await begun.wait()
            for _ in range(turns):  # before, between and after its headers and the first look for its body
                await asyncio.sleep(0)
        with pytest.raises(APIConnectionError, match="the session was left") as raised:
            await asyncio.wait_for(asking, 10)
    assert raised.value.maybe_billed


async def test_what_is_stamped_when_its_session_is_left_is_not_sent(service: Service) -> None:
    class Leaving:
        def attempt(self, item: Item) -> AbstractAsyncContextManager[None]:
            return nullcontext()

        async def stamp(self, item: Item) -> Callable[[], None]:
            await asking._transport.close()
            return lambda: None

        def never_left(self, item: Item) -> None:
            """Nobody asks."""

        landed = never_left

    async with exchange(service.base_url, RetryPolicy()) as asking:
        asking._books = Leaving()
        with pytest.raises(Stopped):
            await asking.ask(item(), Brake())
    assert service.bodies == []


async def test_a_brake_ends_the_wait_for_another_try(service: Service) -> None:
    asked = asyncio.Event()

    async def busy(number: int, _: web.Request) -> web.Response:
        asked.set()
        return reply({}, 503)

    service.answer = busy
    async with exchange(service.base_url, RetryPolicy(backoff=60.0)) as asking:
        brake, one = Brake(), item()
        call = asyncio.create_task(asking.ask(one, brake))
        await asked.wait()
        await asyncio.sleep(0.02)
        brake.pull()
        with pytest.raises(Stopped):
            await asyncio.wait_for(call, 5)
    assert not one.in_flight
    assert len(service.bodies) == 1


async def test_a_brake_lets_a_request_that_is_out_finish(service: Service) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(number: int, _: web.Request) -> web.Response:
        asked.set()
        await go.wait()
        return reply()

    service.answer = slow
    async with exchange(service.base_url, RetryPolicy()) as asking:
        brake = Brake()
        call = asyncio.create_task(asking.ask(item(), brake))
        await asked.wait()
        brake.pull()
        go.set()
        assert (await asyncio.wait_for(call, 5)).image.data == JPEG
        with pytest.raises(Stopped):
            await asking.ask(item(), brake)


async def test_what_may_have_been_billed_stays_so_where_the_next_try_is_refused(service: Service) -> None:
    service.says(lambda: reply({}, 504), lambda: reply({"message": "no"}, 400))
    async with exchange(service.base_url, RetryPolicy(backoff=0.001, resend_unknown=True)) as asking:
        with pytest.raises(BadRequestError) as raised:
            await asking.ask(item(), Brake())
    assert (raised.value.maybe_billed, raised.value.attempts) == (True, 2)


async def test_what_may_have_been_billed_is_told_where_a_brake_ends_the_wait_for_another_try(
    service: Service,
) -> None:
    service.says(lambda: reply({}, 504))
    brake = Brake()
    async with exchange(service.base_url, RetryPolicy(backoff=60.0, resend_unknown=True)) as asking:
        asyncio.get_running_loop().call_later(0.1, brake.pull)
        with pytest.raises(ServerError) as raised:
            await asyncio.wait_for(asking.ask(item(), brake), 5)
    assert (raised.value.maybe_billed, raised.value.attempts) == (True, 1)
    assert len(service.bodies) == 1


async def test_an_item_says_whether_it_was_out_when_it_was_cancelled(service: Service) -> None:
    asked = asyncio.Event()

    async def slow(number: int, _: web.Request) -> web.Response:
        asked.set()
        await asyncio.sleep(60)
        return reply()

    service.answer = slow
    async with exchange(service.base_url, RetryPolicy()) as asking:
        out, waiting = [item() for _ in range(4)], [item() for _ in range(3)]
        calls = [asyncio.create_task(asking.ask(one, Brake())) for one in out + waiting]
        await asked.wait()
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    assert all(one.in_flight for one in out)
    assert not any(one.in_flight for one in waiting)


async def test_what_is_given_up_before_it_has_a_connection_was_not_billed() -> None:
    events: list[Event] = []
    with full_backlog() as base_url:
        async with ImageSession(KEY, base_url=base_url, observer=events.append) as session:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await session.generate("a cat")
            assert session.usage.billed_at_most == 0
    assert [type(event) for event in events] == [RequestStarted, RequestCancelled]


async def test_a_middleware_that_sends_another_body_is_not_taken_for_a_request_that_never_left() -> None:
    async def rewrites(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        await request.update_body(b'{"prompt": "another"}')
        return await handler(request)

    async with answering(close) as seen, aiohttp.ClientSession(middlewares=[rewrites]) as http:
        async with ImageSession(KEY, base_url=seen.base_url, http=http, **settings()) as session:
            with pytest.raises(APIConnectionError) as raised:
                await session.generate("a cat")
    assert (raised.value.maybe_billed, raised.value.attempts) == (True, 1)
    assert len(seen.requests) == 1


async def test_one_prompt_that_breaks_the_service_holds_up_no_other(service: Service) -> None:
    async def answer(number: int, request: web.Request) -> web.Response:
        return reply({}, 503) if (await request.json())["prompt"] == "poison" else reply()

    service.answer = answer
    retry = RetryPolicy(max_attempts=4, backoff=0.001)
    events: list[Event] = []
    async with ImageSession(KEY, base_url=service.base_url, retry=retry, observer=events.append) as session:
        with pytest.raises(ServerError):
            await session.generate("poison")
        await asyncio.wait_for(session.generate("a cat"), 5)
    assert not [event for event in events if isinstance(event, Throttled)]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_what_is_raised_within_a_users_http_session_is_that_prompts_failure(
    service: Service, when: str
) -> None:
    async def breaks(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if when == "after":
            await handler(request)
        raise RuntimeError("it broke")

    async with aiohttp.ClientSession(middlewares=[breaks]) as http:
        async with ImageSession(KEY, base_url=service.base_url, http=http, **settings()) as session:
            report = await session.run(["a", "b"], MemorySink())
    assert report.stopped_by is None
    assert (report.failed, report.unknown) == ((2, 0) if when == "before" else (0, 2))
    assert "the http session raised RuntimeError: it broke" in str(report.failures[0].error)


async def test_what_is_raised_when_a_link_is_followed_names_the_link_that_was_bought() -> None:
    async def breaks(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if request.method == "GET":
            raise RuntimeError("it broke")
        return await handler(request)

    async with serving() as service, aiohttp.ClientSession(middlewares=[breaks]) as http:
        linking(service, "file")
        async with ImageSession(KEY, base_url=service.base_url, http=http, **settings()) as session:
            with pytest.raises(InvalidResponseError, match=r"it broke.*/file") as raised:
                await session.generate("a cat")
    assert raised.value.maybe_billed


async def test_a_retry_that_a_brake_forbids_is_not_told(service: Service) -> None:
    service.says(lambda: reply({}, 500))
    events: list[Event] = []
    async with exchange(service.base_url, RetryPolicy()) as asking:
        brake = Brake()

        def tell(event: Event) -> None:
            events.append(event)
            if isinstance(event, RequestFailed):
                brake.pull()

        asking._tell = tell
        with pytest.raises(Stopped):
            await asking.ask(item(), brake)
    assert [type(event) for event in events] == [RequestStarted, RequestFailed]


# --- all of it together


async def test_a_stream_of_failures_and_pictures_has_one_outcome_for_each() -> None:
    rows = [line for line in UNKNOWN.values() if line.whole and line.error is not APITimeoutError]
    async with (
        answering(*(handler for line in rows for handler in (line.handle, good))) as seen,
        ImageSession(KEY, base_url=seen.base_url, **settings(max_concurrency=3)) as session,
        session.stream(f"{n}" for n in range(2 * len(rows))) as outcomes,
    ):
        kinds: Counter[bool] = Counter()
        async for outcome in outcomes:
            match outcome:
                case Failed(_, _, APIError() as error):
                    assert error.maybe_billed
                case Done(_, _, generation):
                    assert generation.image.data == JPEG
            kinds[outcome.ok] += 1
    assert kinds == {True: len(rows), False: len(rows)}
