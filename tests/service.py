"""A little service whose every answer a test decides; it keeps what it was asked."""

from __future__ import annotations

import asyncio
import base64
import io
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from PIL import Image

Answer = Callable[[int, web.Request], Awaitable[web.StreamResponse]]


def picture(kind: str = "JPEG", size: tuple[int, int] = (16, 12)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, kind)
    return file.getvalue()


JPEG = picture()
GOOD = {"created": 1_753_792_957, "data": [{"b64_json": base64.b64encode(JPEG).decode()}]}


def reply(body: Any = GOOD, status: int = 200, **headers: str) -> web.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.json_response(body, status=status, headers=named)


@dataclass
class Service:
    """`answer(number, request)` makes the reply to request `number` (from 0)."""

    base_url: str = ""
    answer: Answer | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    in_flight: int = 0
    peak: int = 0

    @property
    def prompts(self) -> list[str]:
        return [body["prompt"] for body in self.bodies]

    def says(self, *replies: Callable[[], web.Response]) -> None:
        """Give these replies in turn; the last one for ever."""

        async def answer(number: int, _: web.Request) -> web.Response:
            return replies[min(number, len(replies) - 1)]()

        self.answer = answer

    async def handle(self, request: web.Request) -> web.StreamResponse:
        number = len(self.bodies)
        self.bodies.append(await request.json())
        self.headers.append(dict(request.headers))
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            if self.answer is None:
                return reply()
            return await self.answer(number, request)
        finally:
            self.in_flight -= 1


@asynccontextmanager
async def serving(**routes: Any) -> AsyncIterator[Service]:
    """A service on loopback; more routes as path=handler."""
    service = Service()
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/v1/image/generate", service.handle)
    for path, handler in routes.items():
        app.router.add_route("*", f"/{path}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    service.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield service
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_serving(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """A server of bare bytes: `handle` reads and writes what it likes; gives the base URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1"
    finally:
        server.close()


def send_reset(writer: asyncio.StreamWriter) -> None:
    """End the connection without a word: the other side gets a reset."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """The head and the body of one request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    return head + await reader.readexactly(length)
