"""A line that breaks on command: a proxy on loopback that cuts, resets, stalls, delays and splits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from service import read_request, send_reset
from yarl import URL

from asi_image_async.emulator import Emulator, emulator

Sizes = Iterable[int]
_ENOUGH = 20.0  # seconds: no test waits for a line as long


class Place(Enum):
    """Where something is done: on the request's way up, or on the reply's way down."""

    BEFORE_REQUEST = "before the request is passed on"
    WITHIN_REQUEST = "within the request"
    BEFORE_HEADERS = "before the headers"
    WITHIN_HEADERS = "within the headers"
    WITHIN_PICTURE = "within the picture"
    BEFORE_LAST_BYTE = "one byte before the end"
    AFTER_END = "after the end"


WAY_UP = (Place.BEFORE_REQUEST, Place.WITHIN_REQUEST)


class Act(Enum):
    """What is done there. After a delay all goes on; nothing goes on after the others."""

    CUT = auto()
    RESET = auto()
    STALL = auto()
    DELAY = auto()


class Framing(Enum):
    """How the client can tell that the reply is whole; the proxy rewrites it."""

    MEASURED = auto()
    CHUNKED = auto()
    CLOSED = auto()


@dataclass(frozen=True)
class Passage:
    """How one request and its reply pass.

    `act` is done at `place`, `wait` seconds after the line got there, and after the event `until`; None is
    nothing. `depth`: how deep within the body of the request, the headers or the picture, from 0 to 1.
    `chunks`: the sizes of a chunked reply's chunks. `pieces`: the sizes of what the client can read at once,
    each `pause` seconds after the one before. What such sizes leave over is the last chunk or piece.
    """

    act: Act | None = None
    place: Place = Place.AFTER_END
    framing: Framing = Framing.MEASURED
    wait: float = 0.0
    until: asyncio.Event | None = None
    depth: float = 0.5
    chunks: Sizes = ()
    pieces: Sizes = ()
    pause: float = 0.0


Decide = Callable[[int, bytes], Passage]
WHOLE = Passage()


def whole(number: int, request: bytes) -> Passage:
    """A good line."""
    return WHOLE


def prompt_of(request: bytes) -> str:
    prompt: str = json.loads(request.partition(b"\r\n\r\n")[2])["prompt"]
    return prompt


def cut_up(data: bytes, sizes: Sizes) -> Iterator[bytes]:
    """Pieces of these sizes, none of them empty; the last is what is left over."""
    start = 0
    for size in sizes:
        if start >= len(data):
            return
        yield data[start : start + size]
        start += size
    if start < len(data):
        yield data[start:]


class Line:
    """The proxy: `decide(number, request)` says how request `number` (from 0) passes.

    `busy`: connections that are open. `requests`: those that it has read whole. `reply`: its last.
    """

    def __init__(self, service: str, decide: Decide = whole, *, port: int = 0) -> None:
        self.decide = decide
        self.requests = 0
        self.reply = b""
        self.base_url = ""
        self._service = URL(service)
        self._door: socket.socket
        self._passing: set[asyncio.Task[None]] = set()
        self._port = port

    @property
    def busy(self) -> int:
        return len(self._passing)

    async def __aenter__(self) -> Line:
        await self.up()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.down()

    async def up(self) -> None:
        """Take connections: again at the same port, where it was down."""
        self._door = socket.create_server(("127.0.0.1", self._port), backlog=1024)
        self._door.setblocking(False)
        self._port = self._door.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self._port}{self._service.path}"
        # By hand: a server of asyncio that is closed leaves behind whom it has half accepted.
        asyncio.get_running_loop().add_reader(self._door, self._accept)

    async def down(self) -> None:
        """Cut all that is open; who comes is refused."""
        asyncio.get_running_loop().remove_reader(self._door)
        self._door.close()
        await asyncio.sleep(0)  # what has not begun could not close its connection
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):  # who knocked has gone again
            task = asyncio.create_task(self._pass(self._door.accept()[0]))
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)

    async def _pass(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # pieces are not to wait for others
        reader, writer = await asyncio.open_connection(sock=connection)
        # Whatever is drained has left: a reset would take the rest with it.
        writer.transport.set_write_buffer_limits(high=0)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            writer.close()

    async def _one(self, reader: StreamReader, writer: StreamWriter) -> bool:
        """Pass a request and its reply; whether the line is good for another."""
        request = await read_request(reader)
        passage = self.decide(self.requests, request)
        self.requests += 1
        if passage.place is Place.BEFORE_REQUEST and not await _act(passage, reader, writer):
            return False
        reply = await self._ask(request, passage, reader, writer)
        if reply is None:
            return False
        data, at = _framed(*reply, passage)
        self.reply = data
        await _write(writer, data[:at], passage)
        if passage.place not in WAY_UP and not await _act(passage, reader, writer):
            return False
        await _write(writer, data[at:], passage)
        return passage.framing is not Framing.CLOSED

    async def _ask(
        self, request: bytes, passage: Passage, reader: StreamReader, writer: StreamWriter
    ) -> tuple[bytes, bytes] | None:
        """The service's reply, head and body; None where the line breaks within the request."""
        from_service, to_service = await asyncio.open_connection(self._service.host, self._service.port)
        try:
            if passage.place is Place.WITHIN_REQUEST:
                body = request.index(b"\r\n\r\n") + 4
                at = body + int(passage.depth * (len(request) - body - 1))
                to_service.write(request[:at])
                if not await _act(passage, reader, writer):
                    return None
                request = request[at:]
            to_service.write(request)
            return await _read_reply(from_service)
        finally:
            to_service.close()


@contextlib.asynccontextmanager
async def in_front(
    decide: Decide = whole, *, latency: float = 0.0, port: int = 0
) -> AsyncIterator[tuple[Emulator, Line]]:
    """The emulator, with pictures as small as can be, and a line before it."""
    service = emulator(canned=1, latency=latency)
    async with service as base_url, Line(base_url, decide, port=port) as line:
        yield service, line


async def _read_reply(reader: StreamReader) -> tuple[bytes, bytes]:
    async with asyncio.timeout(_ENOUGH):
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
        return head, await reader.readexactly(length)


def _framed(head: bytes, body: bytes, passage: Passage) -> tuple[bytes, int]:
    """The reply as it is sent, and how many of its bytes go before the place."""
    kept = [line for line in head.split(b"\r\n") if line and not line.lower().startswith(b"content-length")]
    match passage.framing:
        case Framing.MEASURED:
            kept.append(b"Content-Length: %d" % len(body))
        case Framing.CHUNKED:
            kept.append(b"Transfer-Encoding: chunked")
            chunks = (b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in cut_up(body, passage.chunks))
            body = b"".join([*chunks, b"0\r\n\r\n"])
        case Framing.CLOSED:
            kept.append(b"Connection: close")
    head = b"\r\n".join([*kept, b"", b""])
    at = {
        Place.BEFORE_HEADERS: 0,
        Place.WITHIN_HEADERS: 1 + int(passage.depth * (len(head) - 2)),
        Place.WITHIN_PICTURE: len(head) + 1 + int(passage.depth * (len(body) - 2)),
        Place.BEFORE_LAST_BYTE: len(head) + len(body) - 1,
    }
    return head + body, at.get(passage.place, len(head) + len(body))


async def _act(passage: Passage, reader: StreamReader, writer: StreamWriter) -> bool:
    """Do what is to be done at the place; whether anything goes on after it."""
    await asyncio.sleep(passage.wait)
    if passage.until is not None:
        await passage.until.wait()
    match passage.act:
        case Act.CUT:
            writer.close()
        case Act.RESET:
            send_reset(writer)
        case Act.STALL:
            async with asyncio.timeout(_ENOUGH):
                await reader.read()  # until the client has enough of it
    return passage.act in (Act.DELAY, None)


async def _write(writer: StreamWriter, data: bytes, passage: Passage) -> None:
    for piece in cut_up(data, passage.pieces):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(passage.pause)
        await asyncio.sleep(0)  # a client in the same loop reads each piece by itself
