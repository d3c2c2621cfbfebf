"""A picture that a reply links to: where one may be followed to, and by whom."""

from __future__ import annotations

from urllib.parse import urljoin

import aiohttp
from yarl import URL

from ...core.key import Key
from ...core.links import as_written, check_link, refused_link
from ...errors import APIConnectionError, InvalidResponseError
from .direct import Memory
from .pool import PublicResolver, pool, user_agent
from .reading import UNTIMED, read_within

__all__ = ["Links"]

_MOST_HOPS = 5


class Links:
    """Follows links without the key: `endpoint` is the service's, `given` a session of the user's."""

    def __init__(
        self,
        endpoint: URL,
        key: Key,
        max_bytes: int,
        memory: Memory,
        given: aiohttp.ClientSession | None,
    ) -> None:
        self._endpoint = endpoint
        self._key = key
        self._max_bytes = max_bytes
        self._memory = memory
        self._given = given
        self._own: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def close(self) -> None:
        self._is_closed = True
        if self._own is not None:
            await self._own.close()

    async def follow(self, url: str, room: float) -> bytes:
        """What is at the end of a link, and of the redirects that it leads to, each checked again.

        Raises InvalidResponseError for a link that is refused or leads to more than there is `room` for,
        APIConnectionError where it is not answered with a picture, and whatever aiohttp raises.
        """
        link = url
        for _ in range(_MOST_HOPS):
            if self._key.hide(link) != link:
                raise refused_link(self._key.hide(link), "it has the key in it")
            target = as_written(link)
            check_link(target, self._endpoint)
            async with self._client_for(target).get(
                target, timeout=UNTIMED, allow_redirects=False, raise_for_status=False
            ) as response:
                if response.status == 200:
                    return await self._read(response, room)
                location = response.headers.get("Location")
                if not 300 <= response.status < 400 or location is None:
                    raise APIConnectionError(
                        f"the picture's link answered {response.status}: {target}", maybe_billed=True
                    )
                link = urljoin(link, location)
        raise InvalidResponseError(f"the picture's link redirects too often: {url}", maybe_billed=True)

    def _client_for(self, target: URL) -> aiohttp.ClientSession:
        if self._is_closed or (self._given is not None and self._given.closed):
            raise APIConnectionError(
                f"the session was left before the picture's link was followed: {target}", maybe_billed=True
            )
        # The service's own origin is reached as the service is: by a user's proxy, connector and CA.
        if self._given is not None and target.origin() == self._endpoint.origin():
            return self._given
        # Else by a client of its own: no key, no cookies, none of a user's headers, and every name it
        # resolves is checked where the connection is made, so that it cannot change in between.
        if self._own is None:
            resolver = PublicResolver(allowed_host=self._endpoint.raw_host or "")
            self._own = aiohttp.ClientSession(
                connector=pool(resolver),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": user_agent()},
            )
        return self._own

    async def _read(self, response: aiohttp.ClientResponse, room: float) -> bytes:
        pieces: list[bytes] = []

        def feed(piece: bytes | bytearray, size: int) -> None:
            pieces.append(bytes(memoryview(piece)[:size]))

        try:
            await read_within(self._max_bytes, response, feed, self._memory, room)
        except InvalidResponseError as error:
            place = f" (the picture's link: {response.url})"
            raise InvalidResponseError(f"{error}{place}", hint=error.hint, maybe_billed=True) from None
        return b"".join(pieces)
