"""What comes back, read as it comes and within bounds."""

from __future__ import annotations

import math

import aiohttp

from ...errors import InvalidResponseError
from .direct import Feed, Memory, read_directly

__all__ = ["UNTIMED", "read_some", "read_within"]

UNTIMED = aiohttp.ClientTimeout()  # `deadline.Deadlines` sees to it
_ERROR_BODY_BYTES = 64 * 2**10


async def read_within(
    max_bytes: int,
    response: aiohttp.ClientResponse,
    feed: Feed,
    memory: Memory,
    room: float = math.inf,
) -> None:
    """Feed the body, at once or piece by piece, each with how many of its bytes count.

    Raises InvalidResponseError where it is larger than `max_bytes`, or than what is left of some `room`, as
    soon as that is known.
    """
    bound = min(max_bytes, room)
    size, expected = 0, response.content_length or 0
    if expected > bound:
        response.close()
        raise _too_large(bound)
    while piece := await response.content.readany():
        if not size and await read_directly(response, piece, expected, memory, feed):
            return
        size += len(piece)
        if size > bound:
            response.close()
            raise _too_large(bound)
        feed(piece, len(piece))
    if not size and (piece := await response.read()):  # a trace or middleware of the user's has read it
        if len(piece) > bound:
            raise _too_large(bound)
        feed(piece, len(piece))


async def read_some(response: aiohttp.ClientResponse, said: bytearray) -> None:
    """The beginning of an error's body, which may be cut at any moment."""
    while chunk := await response.content.readany():
        said += chunk
        if len(said) > _ERROR_BODY_BYTES:
            response.close()
            return
    if not said:  # a trace or middleware of the user's has read it
        said += (await response.read())[:_ERROR_BODY_BYTES]


def _too_large(bound: float) -> InvalidResponseError:
    return InvalidResponseError(
        f"the reply is larger than {bound:.0f} bytes",
        hint="Raise max_response_bytes if such large pictures are meant.",
        maybe_billed=True,
    )
