"""A large reply, read from its line into memory that is used again.

aiohttp makes a block of memory and a copy of each piece that comes, and wakes whoever waits for it; to decode
each and put them together is a copy more. With a picture of 1.5 MB that is a third of all that is done here.
So a body whose length is known is taken from its line as soon as its first piece shows that there is more.
The line itself stays aiohttp's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import aiohttp
from aiohttp.client_proto import ResponseHandler

from .pool import READ_AT_ONCE

__all__ = ["Feed", "Memory", "read_directly"]

# Takes a piece, and how many of its bytes count; its memory is used again.
Feed = Callable[[bytes | bytearray, int], object]

_MOST = 8 * 2**20  # bytes of a body; more comes piece by piece
_MOST_KEPT = 16  # blocks of memory
_STEP = 256 * 2**10  # bytes: pictures of about one size need one size of blocks
_IN_A_TURN = 512 * 2**10  # bytes: all that is there, decoded in one turn of the loop, may be a stall of it


class Memory:
    """Blocks that bodies are read into: to make a new one for each would be to fill it with zeros first.

    `turns`: those in which the bodies are decoded.
    """

    def __init__(self) -> None:
        self._free: list[bytearray] = []
        self.turns = _Turns()

    def take(self, size: int) -> bytearray:
        """A block of at least that size."""
        while self._free:
            if len(block := self._free.pop()) >= size:
                return block
        return bytearray(-(-size // _STEP) * _STEP)

    def give_back(self, block: bytearray) -> None:
        """Say that nobody reads it, and nothing is read into it, any longer."""
        if len(self._free) < _MOST_KEPT:
            self._free.append(block)


class _Turns:
    """When a body is decoded: once a turn of the loop has had enough of them, the others wait for the next.

    So the app is not held up by all of them. And fewer objects are there at a time, so Python looks for
    garbage less often.
    """

    def __init__(self) -> None:
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        """Wait for a turn with room for so many bytes; first come, first served."""
        if self._waiting or self._used >= _IN_A_TURN:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            await turn
        else:
            self._use(size)

    def _use(self, size: int) -> None:
        if not self._used:
            asyncio.get_running_loop().call_soon(self._begin)
        self._used += size

    def _begin(self) -> None:
        self._used = 0
        while self._waiting and self._used < _IN_A_TURN:
            size, turn = self._waiting.popleft()
            if not turn.done():  # else whoever waited has left
                turn.set_result(None)
                self._use(size)


async def read_directly(
    response: aiohttp.ClientResponse,
    first: bytes,
    expected: int,
    memory: Memory,
    feed: Feed,
) -> bool:
    """Feed a body of `expected` bytes at once, if it comes as it is; `first` is what has been read of it.

    Returns whether that was done, and the line is let go of as when aiohttp reads the end. Raises
    aiohttp.ClientPayloadError where the line is lost before that.
    """
    connection, content = response.connection, response.content
    if not len(first) < expected <= _MOST or content.total_bytes > len(first):
        return False
    if connection is None or "Content-Encoding" in response.headers:
        return False
    transport, usual = connection.transport, connection.protocol
    if transport is None or usual is None or transport.is_closing():  # who hears of its end is settled
        return False
    body = memory.take(expected + 1)
    body[: len(first)] = first
    room = memoryview(body)[len(first) : expected + 1]
    # Where this ends in another way, the line may still write into the block.
    await _Rest(transport, usual, content, room).over
    await memory.turns.take(expected)
    feed(body, expected)
    memory.give_back(body)
    return True


class _Rest(asyncio.BufferedProtocol):
    """Stands in for `usual`, aiohttp's protocol, until the rest of a body is there or the line is lost.

    `room` is for the rest and one byte more: what nobody asked for has to be seen before the line is used
    again, or it would be taken for the next reply.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        usual: ResponseHandler,
        content: aiohttp.StreamReader,
        room: memoryview,
    ) -> None:
        self._transport = transport
        self._usual = usual
        self._content = content
        self._room = room
        self._left = len(room) - 1
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        transport.set_protocol(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        # The end is read with what may follow it. Never empty: some loops ask once more after that.
        return self._room[:READ_AT_ONCE] if self._left > READ_AT_ONCE else self._room

    def buffer_updated(self, nbytes: int) -> None:
        if self.over.done():  # who waited has left, or has all of it
            return
        self._left -= nbytes
        if self._left > 0:
            self._room = self._room[nbytes:]
            return
        self._room = memoryview(bytearray(1))
        self._transport.set_protocol(self._usual)
        if self._left < 0:
            self._usual.force_close()
        self._usual.set_response_params()  # the parser that it has waits for more of this body
        self._content.feed_eof()
        self.over.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._room = memoryview(b"")  # aiohttp keeps an error whose traceback comes by here
        self._usual.connection_lost(exc)
        if not self.over.done():
            lost = aiohttp.ClientPayloadError(
                f"the line was cut {self._left} bytes before the end of the reply"
            )
            lost.__cause__ = exc
            self.over.set_exception(lost)

    def pause_writing(self) -> None:
        self._usual.pause_writing()

    def resume_writing(self) -> None:
        self._usual.resume_writing()
