"""What comes back, read as it comes and within bounds."""

from __future__ import annotations

import math
from collections.abc import Callable

import aiohttp

from ...errors import InvalidResponseError

__all__ = ["UNTIMED", "read_some", "read_within"]

UNTIMED = aiohttp.ClientTimeout()  # `deadline.Deadlines` sees to it
_ERROR_BODY_BYTES = 64 * 2**10


async def read_within(
    max_bytes: int,
    response: aiohttp.ClientResponse,
    feed: Callable[[bytes, int], object],
    room: float = math.inf,
) -> None:
    """Feed the body piece by piece, with how many bytes it will be in all (0: that is not said).

    Raises InvalidResponseError where it is larger than `max_bytes`, or than what is left of some `room`, as
    soon as that is known.
    """
    bound = min(max_bytes, room)
    size, expected = 0, response.content_length or 0
    if expected > bound:
        response.close()
        raise _too_large(max_bytes)
    while chunk := await response.content.readany():
        size += len(chunk)
        if size > bound:
            response.close()
            raise _too_large(max_bytes)
        feed(chunk, expected)


async def read_some(response: aiohttp.ClientResponse, said: bytearray) -> None:
    """The beginning of an error's body, which may be cut at any moment."""
    while chunk := await response.content.readany():
        said += chunk
        if len(said) > _ERROR_BODY_BYTES:
            response.close()
            return


def _too_large(max_bytes: int) -> InvalidResponseError:
    return InvalidResponseError(
        f"the reply is larger than {max_bytes} bytes",
        hint="Raise max_response_bytes if such large pictures are meant.",
        maybe_billed=True,
    )
