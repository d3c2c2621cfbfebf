"""What the network's one door promises: bounds, whose key goes where, and links that are safe to follow."""

from __future__ import annotations

import asyncio
import json
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anyio
import pytest
import trustme
from aiohttp import web
from conftest import KEY
from multidict import CIMultiDict, CIMultiDictProxy
from pydantic import SecretStr
from service import GOOD, JPEG, Service, raw_serving, read_request, reply, serving
from yarl import URL

from asi_image_async.core.links import is_private
from asi_image_async.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    ConfigurationError,
    InvalidResponseError,
)
from asi_image_async.runtime.transport import Response, Transport
from asi_image_async.runtime.transport.broken import forget_key

pytestmark = pytest.mark.anyio

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
BODY = json.dumps(GOOD).encode()
BOUND = 2**20
ELSEWHERE = "https://api.example/v1"


@asynccontextmanager
async def opened(base_url: str, **settings: Any) -> AsyncIterator[Transport]:
    given = {"timeout": 5.0, "max_response_bytes": BOUND, "http": None} | settings
    transport = Transport(base_url=base_url, api_key=SecretStr(KEY), **given)
    await transport.open()
    try:
        yield transport
    finally:
        await transport.close()


def ignore(piece: bytes | bytearray, size: int) -> None:
    pass


async def post(base_url: str, **settings: Any) -> Response:
    """What is answered, with its body whatever its status."""
    pieces: list[bytes] = []
    async with opened(base_url, **settings) as transport:
        response = await transport.post(
            b'{"prompt": "a cat"}', "a key of its own", lambda piece, size: pieces.append(bytes(piece[:size]))
        )
    return response._replace(body=response.body + b"".join(pieces))


async def fetch(url: str, base_url: str = ELSEWHERE, **settings: Any) -> bytes:
    async with opened(base_url, **settings) as transport:
        return await transport.fetch(url)


def answering(*parts: bytes) -> Handler:
    """Read a request, write these bytes, hang up."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.writelines(parts)
        await writer.drain()

    return handle


def pouring(head: bytes, piece: bytes, poured: list[int]) -> Handler:
    """Read a request, write the head, then the piece for as long as somebody reads."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            poured.append(len(piece))

    return handle


def head(status: str = "200 OK", **headers: object) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def gzipped(mebibytes: int) -> bytes:
    packer = zlib.compressobj(wbits=31)
    zeros = bytes(2**20)
    return b"".join([*(packer.compress(zeros) for _ in range(mebibytes)), packer.flush()])


# --- what is sent


async def test_a_request_carries_the_key_its_idempotency_key_and_says_who_asks(service: Service) -> None:
    response = await post(service.base_url)
    assert response.status == 200
    assert response.headers["content-type"] == response.headers["Content-Type"]
    sent = service.headers[0]
    assert sent["Authorization"] == f"Bearer {KEY}"
    assert sent["Idempotency-Key"] == "a key of its own"
    assert sent["User-Agent"].startswith("asi-image-async/")
    assert sent["Content-Length"] == "19"


async def test_the_services_cookies_are_not_kept(service: Service) -> None:
    service.says(lambda: reply(Set_Cookie="tracked=yes; Path=/"))
    async with opened(
        service.base_url.replace("127.0.0.1", "localhost")
    ) as transport:  # no jar keeps an IP's
        await transport.post(b'{"prompt": "a cat"}', "1", ignore)
        await transport.post(b'{"prompt": "a cat"}', "2", ignore)
    assert all("Cookie" not in headers for headers in service.headers)


async def test_the_cookies_of_a_link_are_not_kept() -> None:
    seen: list[web.Request] = []

    async def file(request: web.Request) -> web.Response:
        seen.append(request)
        return web.Response(body=JPEG, headers={"Set-Cookie": "tracked=yes; Path=/"})

    async with serving(**{"cat.jpg": file}) as service:
        base_url = service.base_url.replace("127.0.0.1", "localhost")
        async with opened(base_url) as transport:
            for _ in range(2):
                assert await transport.fetch(at(base_url, "cat.jpg")) == JPEG
    assert ["Cookie" in request.headers for request in seen] == [False, False]


async def test_a_users_http_session_gives_as_much_time_as_ours_says(service: Service) -> None:
    async def slow(number: int, _: web.Request) -> web.Response:
        await asyncio.sleep(0.3)
        return reply()

    service.answer = slow
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.05)) as http:
        async with opened(service.base_url, http=http) as transport:
            assert (await transport.post(b'{"prompt": "a cat"}', "1", ignore)).status == 200


def test_what_is_said_to_a_proxy_is_in_no_error() -> None:
    headers = CIMultiDictProxy(
        CIMultiDict({"Proxy-Authorization": "Basic secret", "Authorization": "secret"})
    )
    url = URL("http://proxy.example/")
    error = aiohttp.ClientResponseError(aiohttp.RequestInfo(url, "POST", headers, url), ())
    forget_key(error)
    assert "secret" not in repr(error)


async def test_a_transport_that_is_not_open_sends_nothing(service: Service) -> None:
    transport = Transport(
        base_url=service.base_url, api_key=SecretStr(KEY), timeout=1, max_response_bytes=9, http=None
    )
    with pytest.raises(ConfigurationError, match="not open"):
        await transport.post(b"{}", "1", ignore)
    await transport.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_handed_back_and_neither_prompt_nor_key_go_where_it_points(status: int) -> None:
    arrived: list[web.Request] = []

    async def trap(request: web.Request) -> web.Response:
        arrived.append(request)
        return reply()

    async with serving(trap=trap) as same, serving(trap=trap) as other:
        for target in (other.base_url.replace("/v1", "/trap"), "/trap", "/v1/image/generate"):
            same.says(lambda target=target: web.Response(status=status, headers={"Location": target}))  # type: ignore[misc]
            response = await post(same.base_url)
            assert (response.status, response.headers["Location"]) == (status, target)
        assert len(same.bodies) == 3
    assert arrived == []
    assert other.bodies == []


# --- bounds

TOO_LARGE = {
    "by its Content-Length": answering(head(Content_Length=BOUND + 1)),
    "in a body that ends with the connection": answering(head(), bytes(BOUND + 1)),
    "in chunks": answering(head(Transfer_Encoding="chunked"), *[chunk(bytes(2**16))] * 17, chunk(b"")),
    "in one chunk": answering(head(Transfer_Encoding="chunked"), chunk(bytes(BOUND + 1)), chunk(b"")),
}


@pytest.mark.parametrize("handler", TOO_LARGE.values(), ids=TOO_LARGE)
async def test_a_reply_over_the_bound_is_refused_with_what_to_do(handler: Handler) -> None:
    async with raw_serving(handler) as base_url:
        with pytest.raises(InvalidResponseError, match=f"larger than {BOUND} bytes") as raised:
            await post(base_url)
    assert raised.value.maybe_billed
    assert "max_response_bytes" in raised.value.hint


@pytest.mark.parametrize(
    "parts",
    [
        (head(Content_Length=BOUND), bytes(BOUND)),
        (head(Transfer_Encoding="chunked"), chunk(bytes(BOUND)), chunk(b"")),
    ],
    ids=["measured", "chunked"],
)
async def test_a_reply_that_just_reaches_the_bound_is_taken(parts: tuple[bytes, ...]) -> None:
    async with raw_serving(answering(*parts)) as base_url:
        assert len((await post(base_url)).body) == BOUND


async def test_a_gzip_bomb_is_put_down_before_it_fills_the_memory() -> None:
    bomb = gzipped(128)
    async with raw_serving(
        answering(head(Content_Encoding="gzip", Content_Length=len(bomb)), bomb)
    ) as base_url:
        tracemalloc.start()
        try:
            with pytest.raises(InvalidResponseError, match="larger than"):
                await post(base_url)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 16 * 2**20


async def test_a_body_without_an_end_is_left_soon_after_the_bound() -> None:
    poured: list[int] = []
    piece = chunk(bytes(2**16))
    async with raw_serving(pouring(head(Transfer_Encoding="chunked"), piece, poured)) as base_url:
        with pytest.raises(InvalidResponseError, match="larger than"):
            await post(base_url)
    assert sum(poured) < 32 * BOUND  # what the kernel buffers on both sides is beyond our say


async def test_an_error_without_an_end_is_that_error_and_its_beginning() -> None:
    poured: list[int] = []
    piece = chunk(b"no " * 2**14)
    async with raw_serving(
        pouring(head("400 Bad Request", Transfer_Encoding="chunked"), piece, poured)
    ) as base_url:
        response = await post(base_url)
    assert response.status == 400
    assert response.body.startswith(b"no no ")
    assert len(response.body) < BOUND
    assert sum(poured) < 32 * BOUND


async def test_an_error_that_is_a_gzip_bomb_is_that_error() -> None:
    bomb = gzipped(64)
    answer = answering(head("500 Oh", Content_Encoding="gzip", Content_Length=len(bomb)), bomb)
    async with raw_serving(answer) as base_url:
        response = await post(base_url)
    assert response.status == 500
    assert len(response.body) < BOUND


@pytest.mark.parametrize(
    ("rest", "left"),
    [
        (head("400 Bad Request", Content_Length=1000) + b'{"message": "no', b'{"message": "no'),
        (head("400 Bad Request", Transfer_Encoding="chunked") + b"10\r\nno", b"no"),
        (head("400 Bad Request", Content_Length=3, Content_Encoding="gzip") + b"abc", b""),
        (head("400 Bad Request", Content_Length=0), b""),
        (head("400 Bad Request"), b""),
    ],
    ids=["cut", "cut in a chunk", "not the gzip it claims", "empty", "without a length"],
)
async def test_an_error_whose_body_is_broken_is_still_that_error(rest: bytes, left: bytes) -> None:
    async with raw_serving(answering(rest)) as base_url:
        response = await post(base_url)
    assert response.status == 400
    assert left.startswith(response.body)


async def test_an_error_whose_body_stalls_is_still_that_error() -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(head("401 Unauthorized", Content_Length=100), b"who")(reader, writer)
        await reader.read()

    async with raw_serving(stall) as base_url:
        response = await post(base_url, timeout=0.2)
    assert (response.status, response.body) == (401, b"who")


# --- the key


@pytest.mark.parametrize("padding", [0, 70_000, 300_000])
async def test_a_service_that_repeats_the_key_in_an_error_does_not_bring_it_in(padding: int) -> None:
    body = f"who is {KEY}?".encode() + b" " * padding
    async with raw_serving(answering(head("400 Bad Request", Content_Length=len(body)), body)) as base_url:
        response = await post(base_url)
    assert response.body.startswith(b"who is ***?")


async def test_a_reply_that_may_hold_a_picture_is_left_as_it_came() -> None:
    body = f"base64 may hold {KEY} by chance".encode()
    async with raw_serving(answering(head("200 OK", Content_Length=len(body)), body)) as base_url:
        assert (await post(base_url)).body == body


async def test_the_key_is_not_in_the_error_that_ours_came_from() -> None:
    async with raw_serving(answering(b"\x16\x03\x01 not HTTP\r\n\r\n")) as base_url:
        with pytest.raises(APIConnectionError) as raised:
            await post(base_url)
    cause: BaseException | None = raised.value
    while cause is not None:
        assert KEY not in f"{cause!r} {cause} {vars(cause)}"
        cause = cause.__cause__ or cause.__context__


# --- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def secure(authority: trustme.CA, *names: str, **routes: Any) -> AsyncIterator[int]:
    """The routes over https, with a certificate for these names; gives the port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    app = web.Application()
    for path, handler in routes.items():
        app.router.add_route("*", f"/{path}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def never(_: web.Request) -> web.Response:
    raise AssertionError("this was not to be asked for")


async def test_a_certificate_that_is_not_trusted_ends_it_before_anything_is_sent(
    authority: trustme.CA,
) -> None:
    async with secure(authority, "127.0.0.1", **{"v1/image/generate": never}) as port:
        with pytest.raises(APIConnectionError, match=r"(?i)certificate") as raised:
            await post(f"https://127.0.0.1:{port}/v1")
    assert not raised.value.maybe_billed


async def test_no_variable_of_the_environment_turns_the_verification_off_or_leads_elsewhere(
    authority: trustme.CA, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_NO_VERIFY", "NODE_TLS_REJECT_UNAUTHORIZED"):
        monkeypatch.setenv(name, "")
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, service.base_url)
        monkeypatch.setenv(name.lower(), service.base_url)
    async with secure(authority, "127.0.0.1", **{"v1/image/generate": never}) as port:
        with pytest.raises(APIConnectionError, match=r"(?i)certificate"):
            await post(f"https://127.0.0.1:{port}/v1")
    with pytest.raises(APIConnectionError, match=r"refused|connect"):
        await post("http://127.0.0.1:1/v1")
    assert service.bodies == []


async def test_a_certificate_for_another_name_ends_it_before_anything_is_sent(authority: trustme.CA) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    connector = aiohttp.TCPConnector(ssl=context)
    async with (
        secure(authority, "elsewhere.example", **{"v1/image/generate": never}) as port,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        with pytest.raises(APIConnectionError, match=r"(?i)certificate") as raised:
            await post(f"https://127.0.0.1:{port}/v1", http=http)
    assert not raised.value.maybe_billed


async def test_an_authority_of_ones_own_comes_with_ones_own_session(authority: trustme.CA) -> None:
    async def good(_: web.Request) -> web.Response:
        return reply()

    context = ssl.create_default_context()
    authority.configure_trust(context)
    connector = aiohttp.TCPConnector(ssl=context)
    async with (
        secure(authority, "127.0.0.1", **{"v1/image/generate": good}) as port,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        assert json.loads((await post(f"https://127.0.0.1:{port}/v1", http=http)).body) == GOOD


async def test_https_to_a_server_that_speaks_plain_http_sends_nothing(service: Service) -> None:
    with pytest.raises(APIConnectionError) as raised:
        await post(service.base_url.replace("http:", "https:"))
    assert not raised.value.maybe_billed
    assert service.bodies == []


@pytest.mark.filterwarnings("error")
async def test_a_large_request_is_sent_without_a_warning() -> None:
    async with serving() as service, opened(service.base_url) as transport:
        body = json.dumps({"prompt": "a cat", "mask": "x" * 2**21}).encode()
        assert (await transport.post(body, "a key of its own", ignore)).status == 200
        assert len(service.bodies[0]["mask"]) == 2**21


async def test_a_handshake_that_is_never_answered_times_out_with_nothing_sent() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_serving(silent) as base_url:
        with pytest.raises(APITimeoutError) as raised:
            await post(base_url.replace("http:", "https:"), timeout=0.2)
    assert not raised.value.maybe_billed
    assert str(raised.value) == "no connection within 0.2 s"
    assert "network" in raised.value.hint


async def test_as_many_requests_are_at_the_service_at_once_as_are_sent() -> None:
    all_are_there = asyncio.Event()

    async def answer(number: int, _: web.Request) -> web.Response:
        if number == 119:
            all_are_there.set()
        await all_are_there.wait()
        return reply()

    async with serving() as service, opened(service.base_url) as transport, asyncio.timeout(60):
        service.answer = answer
        posts = [transport.post(b'{"prompt": "a cat"}', f"key {number}", ignore) for number in range(120)]
        await asyncio.gather(*posts)


@pytest.mark.filterwarnings("ignore:Sending a large body")  # a smaller one the system takes whole
async def test_of_a_request_that_is_given_up_nothing_more_goes_out() -> None:
    came, given_up, read = asyncio.Event(), asyncio.Event(), asyncio.Event()
    got = 0

    async def handle(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal got
        came.set()
        await given_up.wait()
        try:
            while part := await reader.read(2**20):
                got += len(part)
        finally:
            read.set()

    body = bytes(64 * 2**20)
    async with raw_serving(handle) as base_url, opened(base_url, timeout=60.0) as transport:
        posting = asyncio.create_task(transport.post(body, "a key", ignore))
        async with asyncio.timeout(30):
            await came.wait()
            await asyncio.sleep(0.05)  # it is in the middle of the body, which nobody reads
            posting.cancel()
            await asyncio.wait([posting])
            given_up.set()
            await read.wait()
    assert got < len(body)


# --- links


class World:
    """An internet on loopback: names have addresses, and an address may lead to a port of this machine."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.leads: dict[str, int] = {}
        self.connected: list[str] = []

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[Any]:
        if host not in self.names:
            raise OSError(None, f"{host} is not known")
        return [
            {"hostname": host, "host": address, "port": port, "family": 2 if "." in address else 10}
            | {"proto": 6, "flags": 4}
            for address in self.names[host]
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch, authority: trustme.CA) -> World:
    world = World()
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect

    async def sock_connect(sock: Any, address: Any) -> None:
        world.connected.append(address[0])
        if address[0] not in world.leads:
            raise ConnectionRefusedError(111, f"nothing is at {address[0]}")
        await connect(sock, ("127.0.0.1", world.leads[address[0]]))

    context = ssl.create_default_context()
    authority.configure_trust(context)
    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    monkeypatch.setattr("aiohttp.DefaultResolver", lambda: world)
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", context)
    world.names = {"api.example": ["10.9.9.9"], "pictures.example": ["93.184.216.34"]}
    return world


def giving(content: bytes = JPEG, seen: list[web.Request] | None = None) -> Any:
    async def give(request: web.Request) -> web.Response:
        if seen is not None:
            seen.append(request)
        return web.Response(body=content)

    return give


def pointing(target: str) -> Any:
    async def point(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": target})

    return point


def at(base_url: str, path: str) -> str:
    return base_url.removesuffix("v1") + path


async def test_a_link_is_fetched_without_the_key_and_with_nothing_else_of_ours() -> None:
    seen: list[web.Request] = []
    async with serving(**{"cat.jpg": giving(seen=seen)}) as service:
        service.says(lambda: reply(Set_Cookie="tracked=yes; Path=/"))
        async with opened(service.base_url) as transport:
            await transport.post(b'{"prompt": "a cat"}', "a key of its own", ignore)
            assert await transport.fetch(at(service.base_url, "cat.jpg")) == JPEG
    assert seen[0].method == "GET"
    assert seen[0].headers.keys() == {"Host", "User-Agent", "Accept", "Accept-Encoding"}


@pytest.mark.parametrize(
    "link", ["/cat.jpg?signature=1%2F2%2B3%20%3d&s=%7e+'", "/a%2fcat.jpg", "/%7Ecat//cat.jpg"]
)
async def test_a_link_that_is_signed_is_asked_for_letter_by_letter(link: str) -> None:
    seen: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redirect = head("302 Found", Location=link, Connection="close", Content_Length=0)
        writer.write(head(Content_Length=len(JPEG)) + JPEG if seen else redirect)
        seen.append((await reader.readuntil(b"\r\n\r\n")).split()[1].decode())

    async with raw_serving(answer) as base_url:
        assert await fetch(at(base_url, link[1:]), base_url) == JPEG
    assert seen == [link, link]


async def test_a_link_with_letters_that_no_url_has_is_quoted() -> None:
    seen: list[web.Request] = []
    async with serving(**{"{name}": giving(seen=seen)}) as service:
        assert await fetch(at(service.base_url, "ein größeres Bild.jpg"), service.base_url) == JPEG
    assert seen[0].raw_path == "/ein%20gr%C3%B6%C3%9Feres%20Bild.jpg"


async def test_a_link_of_the_service_itself_is_fetched_as_the_service_is_and_without_our_key() -> None:
    seen: list[web.Request] = []
    async with (
        serving(**{"cat.jpg": giving(seen=seen)}) as service,
        aiohttp.ClientSession(headers={"X-Mine": "yes"}) as http,
    ):
        assert await fetch(at(service.base_url, "cat.jpg"), service.base_url, http=http) == JPEG
        assert not http.closed
    assert seen[0].headers["X-Mine"] == "yes"
    assert KEY not in str(seen[0].headers)


async def test_a_link_is_given_our_time_and_its_status_is_ours_to_judge_in_ones_own_session_too() -> None:
    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(0.2)
        return web.Response(body=JPEG)

    async def gone(_: web.Request) -> web.Response:
        return web.Response(status=403)

    own = {"raise_for_status": True, "timeout": aiohttp.ClientTimeout(total=0.05)}
    async with (
        serving(slow=slow, gone=gone) as service,
        aiohttp.ClientSession(**own) as http,  # type: ignore[arg-type]
    ):
        assert await fetch(at(service.base_url, "slow"), service.base_url, http=http) == JPEG
        with pytest.raises(APIConnectionError, match="answered 403"):
            await fetch(at(service.base_url, "gone"), service.base_url, http=http)


async def test_a_link_that_is_longer_than_any_is_not_followed(service: Service) -> None:
    with pytest.raises(InvalidResponseError, match="it has 50"):
        await fetch(at(service.base_url, "a" * 50_000), service.base_url)


def test_a_public_address_by_way_of_nat64_is_public() -> None:
    assert not is_private("64:ff9b::5db8:d822")
    assert is_private("64:ff9b::a00:1")


async def test_a_link_elsewhere_is_fetched_without_what_ones_own_session_adds(
    world: World, authority: trustme.CA
) -> None:
    seen: list[web.Request] = []
    async with (
        secure(authority, "pictures.example", **{"cat.jpg": giving(seen=seen)}) as port,
        aiohttp.ClientSession(headers={"X-Mine": KEY}, cookies={"mine": KEY}) as http,
    ):
        world.leads["93.184.216.34"] = port
        assert await fetch("https://pictures.example/cat.jpg", http=http) == JPEG
    assert KEY not in str(seen[0].headers)


async def test_another_port_of_the_service_is_elsewhere_too(world: World, authority: trustme.CA) -> None:
    seen: list[web.Request] = []
    async with (
        secure(authority, "api.example", **{"cat.jpg": giving(seen=seen)}) as port,
        aiohttp.ClientSession(
            headers={"X-Mine": KEY},
            connector=aiohttp.TCPConnector(resolver=world),  # type: ignore[arg-type]
        ) as http,
    ):
        world.leads["10.9.9.9"] = port
        for where in ("https://api.example:8443/cat.jpg", "https://api.example/cat.jpg"):
            assert await fetch(where, "https://api.example/v1", http=http) == JPEG
    assert ["X-Mine" in request.headers for request in seen] == [False, True]


async def test_a_link_over_https_to_a_public_address_is_fetched(world: World, authority: trustme.CA) -> None:
    seen: list[web.Request] = []
    async with secure(authority, "pictures.example", **{"cat.jpg": giving(seen=seen)}) as port:
        world.leads["93.184.216.34"] = port
        assert await fetch("https://pictures.example/cat.jpg") == JPEG
    assert "Authorization" not in seen[0].headers
    assert world.connected == ["93.184.216.34"]


async def test_a_private_address_is_fine_where_the_base_url_is_there(
    world: World, authority: trustme.CA
) -> None:
    async with secure(authority, "api.example", "127.0.0.1", **{"cat.jpg": giving()}) as port:
        world.leads = {"10.9.9.9": port, "127.0.0.1": port}
        assert await fetch(f"https://api.example:{port}/cat.jpg") == JPEG
        assert await fetch(f"https://127.0.0.1:{port}/cat.jpg", "https://127.0.0.1:1/v1") == JPEG


@pytest.mark.parametrize(
    "link",
    [
        "http://pictures.example/cat.jpg",
        "http://api.example/cat.jpg",
        "https:cat.jpg",
        "https://",
        "https:///cat.jpg",
        "https://[::1/cat.jpg",
        "https://pictures.example:99999/cat.jpg",
        "file:///etc/passwd",
        "file://pictures.example/etc/passwd",
        "ftp://pictures.example/cat.jpg",
        "gopher://pictures.example/",
        "ws://api.example/cat.jpg",
        "wss://api.example/cat.jpg",
        "javascript:alert(1)",
        "//pictures.example/cat.jpg",
        "cat.jpg",
        "",
    ],
)
async def test_a_link_that_is_neither_https_nor_from_the_services_own_origin_is_refused(
    world: World, link: str
) -> None:
    with pytest.raises(InvalidResponseError, match="not followed") as raised:
        await fetch(link)
    assert link in str(raised.value)
    assert raised.value.maybe_billed
    assert world.connected == []


@pytest.mark.parametrize("port", ["other", "same"])
async def test_a_link_over_http_to_another_origin_is_refused_though_the_host_is_the_same(port: str) -> None:
    seen: list[web.Request] = []
    async with serving(**{"cat.jpg": giving(seen=seen)}) as other:
        base_url = "http://127.0.0.1:1/v1" if port == "other" else other.base_url.replace("http:", "https:")
        with pytest.raises(InvalidResponseError, match="neither https"):
            await fetch(at(other.base_url, "cat.jpg"), base_url)
    assert seen == []


PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[::127.0.0.1]",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[fec0::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::1]",
    "[2002:7f00:1::]",
]
SPELLED = ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0", "127.0.0.1.", "１２７.0.0.1"]


@pytest.mark.parametrize("host", [*PRIVATE, *SPELLED])
async def test_a_link_to_a_private_address_is_refused_however_it_is_spelled(world: World, host: str) -> None:
    with pytest.raises(InvalidResponseError, match="its address is private") as raised:
        await fetch(f"https://{host}/latest/meta-data")
    assert raised.value.maybe_billed
    assert world.connected == []


@pytest.mark.parametrize("address", [host.strip("[]").replace("%25", "%") for host in PRIVATE])
async def test_a_name_that_has_a_private_address_only_is_refused_by_name(world: World, address: str) -> None:
    world.names["inside.example"] = [address, "10.0.0.2"]
    with pytest.raises(APIConnectionError, match=r"inside\.example has no public address") as raised:
        await fetch("https://inside.example/cat.jpg")
    assert raised.value.maybe_billed
    assert world.connected == []


async def test_of_a_name_that_has_both_only_the_public_address_is_asked(world: World) -> None:
    world.names["both.example"] = ["10.0.0.1", "93.184.216.35", "127.0.0.1"]
    with pytest.raises(APIConnectionError):
        await fetch("https://both.example/cat.jpg")
    assert world.connected == ["93.184.216.35"]


async def test_a_name_that_has_another_address_at_every_look_is_looked_up_once_and_that_one_is_asked(
    world: World, authority: trustme.CA
) -> None:
    answers = ["93.184.216.34", "127.0.0.1"] * 3
    look_up = world.resolve

    async def resolve(host: str, port: int = 0, family: int = 0) -> list[Any]:
        world.names[host] = [answers.pop(0)]
        return await look_up(host, port, family)

    world.resolve = resolve  # type: ignore[method-assign]
    async with secure(authority, "pictures.example", **{"cat.jpg": giving()}) as port:
        world.leads = {"93.184.216.34": port, "127.0.0.1": port}
        for _ in range(3):
            assert await fetch("https://pictures.example/cat.jpg") == JPEG
            with pytest.raises(APIConnectionError, match="has no public address"):
                await fetch("https://pictures.example/cat.jpg")
    assert world.connected == ["93.184.216.34"] * 3


async def test_a_name_that_is_not_known_says_which_link(world: World) -> None:
    with pytest.raises(APIConnectionError, match=r"https://nowhere\.example/cat\.jpg") as raised:
        await fetch("https://nowhere.example/cat.jpg")
    assert raised.value.maybe_billed


async def test_a_link_whose_certificate_is_not_trusted_is_not_fetched(
    world: World, authority: trustme.CA
) -> None:
    async with secure(authority, "other.example", **{"cat.jpg": never}) as port:
        world.leads["93.184.216.34"] = port
        with pytest.raises(APIConnectionError, match=r"(?i)certificate"):
            await fetch("https://pictures.example/cat.jpg")


async def test_a_redirect_of_a_link_is_followed_as_far_as_it_is_allowed(
    world: World, authority: trustme.CA
) -> None:
    routes = {
        "a": pointing("/deep/b?c"),
        "deep/b": pointing("c"),
        "deep/c": pointing("https://pictures.example/cat.jpg"),
        "cat.jpg": giving(),
    }
    async with secure(authority, "pictures.example", **routes) as port:
        world.leads["93.184.216.34"] = port
        assert await fetch("https://pictures.example/a") == JPEG


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("http://pictures.example/cat.jpg", "neither https"),
        ("file:///etc/passwd", "not followed"),
        ("ftp://pictures.example/cat.jpg", "neither https"),
        ("https://127.0.0.1/cat.jpg", "address is private"),
        ("https://169.254.169.254/latest", "address is private"),
        ("https://2130706433/", "address is private"),
        ("//[::1]/cat.jpg", "address is private"),
        ("https://[::1", "not followed"),
        ("https://inside.example/", "no public address"),
    ],
)
async def test_every_redirect_of_a_link_is_checked_again(
    world: World, authority: trustme.CA, target: str, why: str
) -> None:
    world.names["inside.example"] = ["10.0.0.1"]
    async with secure(authority, "pictures.example", a=pointing("/b"), b=pointing(target)) as port:
        world.leads["93.184.216.34"] = port
        with pytest.raises(APIError, match=why) as raised:
            await fetch("https://pictures.example/a")
    assert raised.value.maybe_billed
    assert set(world.connected) == {"93.184.216.34"}


async def test_redirects_of_a_link_have_an_end() -> None:
    asked: list[str] = []

    async def on(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=307, headers={"Location": "/on"})

    async with serving(on=on) as service:
        with pytest.raises(InvalidResponseError, match="too often") as raised:
            await fetch(at(service.base_url, "on"), service.base_url)
    assert len(asked) == 5
    assert raised.value.maybe_billed


@pytest.mark.parametrize("status", [204, 206, 304, 403, 404, 500])
async def test_a_link_that_is_not_answered_with_a_picture_says_so(status: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    async with serving(gone=answer) as service:
        link = at(service.base_url, "gone")
        with pytest.raises(APIConnectionError, match=f"answered {status}: {link}") as raised:
            await fetch(link, service.base_url)
    assert raised.value.maybe_billed


@asynccontextmanager
async def raw_files(handle: Handler) -> AsyncIterator[str]:
    """A file server of bare bytes: a GET has no body to read."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await handle(reader, writer)

    async with raw_serving(serve) as base_url:
        yield base_url


def writing(data: bytes, *, stall: bool = False) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if stall:
            await reader.read()

    return handle


@pytest.mark.parametrize(
    "parts",
    [
        head(Content_Length=BOUND + 1),
        head(Transfer_Encoding="chunked") + chunk(bytes(BOUND + 1)),
        head() + bytes(BOUND + 1),
    ],
    ids=["measured", "chunked", "open-ended"],
)
async def test_a_linked_picture_has_the_same_bound(parts: bytes) -> None:
    async with raw_files(writing(parts)) as base_url:
        with pytest.raises(InvalidResponseError, match="larger than") as raised:
            await fetch(at(base_url, "cat.jpg"), base_url)
    assert raised.value.maybe_billed


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (writing(b""), APIConnectionError),
        (writing(b"nonsense\r\n\r\n"), APIConnectionError),
        (writing(head(Content_Length=9) + b"12345678"), APIConnectionError),
        (writing(head(Content_Length=9), stall=True), APITimeoutError),
        (writing(b"", stall=True), APITimeoutError),
    ],
    ids=["closed", "garbage", "cut", "stalled in the body", "stalled"],
)
async def test_a_link_that_breaks_is_named_and_may_have_been_billed(
    handler: Handler, error: type[APIError]
) -> None:
    async with raw_files(handler) as base_url:
        link = at(base_url, "cat.jpg")
        with pytest.raises(error) as raised:
            await fetch(link, base_url, timeout=0.2)
    assert type(raised.value) is error
    assert link in str(raised.value)
    assert raised.value.maybe_billed


async def test_a_name_is_fine_inside_where_the_base_url_is_that_name(
    world: World, authority: trustme.CA
) -> None:
    world.names["bücher.example".encode("idna").decode()] = ["10.1.1.1"]
    async with secure(authority, "bücher.example", **{"cat.jpg": giving()}) as port:
        world.leads["10.1.1.1"] = port
        link = f"https://bücher.example:{port}/cat.jpg"
        assert await fetch(link, "https://BÜCHER.example/v1") == JPEG


@pytest.mark.parametrize("own", [False, True], ids=["our session", "ones own session"])
async def test_a_link_that_is_followed_when_the_session_was_left_says_so(world: World, own: bool) -> None:
    async with aiohttp.ClientSession() as http:
        async with opened("https://api.example/v1", http=http if own else None) as transport:
            pass
        with pytest.raises(APIConnectionError, match="was left before the picture") as raised:
            await transport.fetch("https://pictures.example/cat.jpg")
    assert raised.value.maybe_billed


async def test_one_client_fetches_all_links_and_is_closed_with_the_transport() -> None:
    transports = set()

    async def give(request: web.Request) -> web.Response:
        transports.add(request.transport)
        return web.Response(body=JPEG)

    async with serving(**{"cat.jpg": give}) as service, opened(service.base_url) as transport:
        for _ in range(3):
            await transport.fetch(at(service.base_url, "cat.jpg"))
    assert len(transports) == 1


async def test_every_client_is_closed_in_a_scope_that_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    clients: list[aiohttp.ClientSession] = []
    begin = aiohttp.ClientSession.__init__
    monkeypatch.setattr(
        aiohttp.ClientSession, "__init__", lambda self, **given: clients.append(self) or begin(self, **given)
    )
    async with serving(**{"cat.jpg": giving()}) as service:
        with anyio.CancelScope() as scope:
            async with opened(service.base_url) as transport:
                await transport.fetch(at(service.base_url, "cat.jpg"))
                scope.cancel()
    assert [client.closed for client in clients] == [True, True]
