"""A request on its way and back, within a time and a size."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from pydantic import SecretStr
from yarl import URL

from ...core.key import Key
from ...core.links import refused_link
from ...deadline import Deadlines
from ...errors import APIConnectionError, AsiImageError, ConfigurationError
from .broken import OF_THE_LINE, as_api_error, forget_key
from .direct import Feed, Memory
from .links import Links
from .pool import pool, user_agent
from .reading import UNTIMED, read_some, read_within

__all__ = ["Response", "Transport"]

# To take a block of this size and give it back, untouched, tells glibc's malloc that such sizes come and go
# (mallopt(3), "dynamic mmap threshold"): without it, the memory of each reply goes back to the system, and is
# taken from it for the next one page by page, which costs more than the decoding.
_KEPT_BY_MALLOC = 8 * 2**20


class Response(NamedTuple):
    """The end of a reply: its headers are looked up without regard to case, `body` is that of an error."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class _Body(aiohttp.BytesPayload):
    """A request body that tells when it leaves this machine, and remembers whether any of it may have."""

    sent = False

    def __init__(self, body: bytes, leaves: Callable[[], None]) -> None:
        # Not as BytesPayload does it: that warns of a large one, whoever can do nothing about it.
        aiohttp.Payload.__init__(self, body, content_type="application/json")
        self._size = len(body)
        self._leaves = leaves

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        line = writer.transport if isinstance(writer, StreamWriter) else None
        # On a line that is gone already aiohttp writes nothing, neither the headers nor this.
        if not isinstance(writer, StreamWriter) or (line and not line.is_closing()):
            self._leave()
        try:
            await super().write_with_length(writer, content_length)
        except asyncio.CancelledError:
            if line:  # closed as it is by aiohttp, the line would stay until all the rest has gone out
                line.abort()
            raise

    async def close(self) -> None:
        # Before it was sent, and not for an error: a middleware of the user's puts another there.
        if not self.sent and sys.exc_info()[0] is None:
            self._leave()
        await super().close()

    def _leave(self) -> None:
        self.sent = True
        self._leaves()


class Transport:
    """Sends requests to one base URL; a key goes to no other origin."""

    def __init__(
        self,
        *,
        base_url: str,
        api_key: SecretStr,
        timeout: float,
        max_response_bytes: int,
        http: aiohttp.ClientSession | None,
    ) -> None:
        self._endpoint = URL(base_url) / "image" / "generate"
        self.key = Key(api_key)
        self._timeout = timeout
        self._deadlines = Deadlines(timeout)
        self.max_bytes = max_response_bytes
        self._given = http
        self._own: aiohttp.ClientSession | None = None
        self._memory = Memory()
        self._links = Links(self._endpoint, self.key, max_response_bytes, self._memory, http)
        self.is_closed = False

    @property
    def endpoint(self) -> str:
        """The URL that requests go to."""
        return str(self._endpoint)

    async def open(self) -> None:
        """Raises ConfigurationError for a client of the user's that belongs to another event loop."""
        loop = getattr(self._given, "_loop", None)  # it has no public name
        if isinstance(loop, asyncio.AbstractEventLoop) and loop is not asyncio.get_running_loop():
            raise ConfigurationError(
                "the http session was made in another event loop", hint="Make it where it is used."
            )
        bytearray(_KEPT_BY_MALLOC)
        user_agent()  # which is in a file, as long as there is one to be opened
        if self._given is None:
            # It has no proxy: aiohttp would send these headers, and the key with them, to that one too.
            self._own = aiohttp.ClientSession(
                connector=pool(), cookie_jar=aiohttp.DummyCookieJar(), headers=self._usual_headers()
            )

    async def close(self) -> None:
        """Also where this is cancelled all is closed, and who waits for a reply waits no longer."""
        self.is_closed = True
        try:
            try:
                if self._own is not None:
                    await self._own.close()
            finally:
                await self._links.close()
            if self._own is not None:
                await asyncio.sleep(0)
                await self._memory.turns.take(0)  # who has all of a reply takes it first
        finally:
            if self._own is not None:
                self._deadlines.expire()  # who has a part would wait for the rest, which nobody brings now

    def check(self) -> aiohttp.ClientSession:
        """The client that requests go through; raises ConfigurationError where it is closed."""
        client = self._given or self._own
        if client is None or client.closed:
            raise ConfigurationError(
                "the session is not open",
                hint="Ask inside `async with`, and keep an http session of yours open.",
            )
        return client

    async def post(
        self,
        body: bytes,
        idempotency_key: str,
        feed: Feed,
        leaves: Callable[[], None] = lambda: None,
    ) -> Response:
        """Send one request, read the whole reply, and let go of the connection.

        `feed` is called with the body of a reply below 300, at once or piece by piece, each with how many of
        its bytes count; `leaves` when a connection is there and the request goes out on it.
        Raises APITimeoutError, APIConnectionError and InvalidResponseError (a reply over the bound);
        `maybe_billed` is true on them once any of the body may have left this machine. Raises
        ConfigurationError where the client cannot send it.
        """
        client = self.check()
        deadline = self._deadlines.one()

        def goes() -> None:
            if self._given is not None:  # in whose pool, or middleware, it may have waited for a place
                deadline.begin_again()
            leaves()

        payload = _Body(body, goes)
        response: aiohttp.ClientResponse | None = None
        said = bytearray()
        try:
            with deadline:
                async with client.post(
                    self._endpoint,
                    data=payload,
                    headers=self._headers(idempotency_key),
                    timeout=UNTIMED,
                    allow_redirects=False,
                    raise_for_status=False,
                ) as response:
                    if response.status < 300:
                        await read_within(self.max_bytes, response, feed, self._memory)
                        return Response(response.status, response.headers)
                    await read_some(response, said)
        except AsiImageError:
            raise
        except Exception as error:
            if not self._is_told(error):
                raise
            if response is None or response.status < 300:
                raise self._translate(error, maybe_billed=payload.sent) from error
        # The status counts even where the body is cut, too long or late. The key goes before an error is cut
        # short, or half of it could be left; a reply that may hold a picture is never touched.
        return Response(response.status, response.headers, self.key.hide(bytes(said)))

    def _headers(self, idempotency_key: str) -> dict[str, str]:
        own = {"Idempotency-Key": idempotency_key}
        return own if self._given is None else self._usual_headers() | own

    def _usual_headers(self) -> dict[str, str]:
        return {
            "Authorization": self.key.authorization,
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": user_agent(),
        }

    async def fetch(self, url: str, room: float = math.inf) -> bytes:
        """Get a picture that a reply links to, without the key, within a reply's bound and within `room`.

        Only over https or from the base URL's own origin, and never from a private address, unless the
        base URL's host is the same; every redirect is checked again. Raises InvalidResponseError for a
        link that is refused, APIConnectionError where it cannot be read.
        """
        try:
            with self._deadlines.one():
                return await self._links.follow(url, room)
        except AsiImageError:
            raise
        except Exception as error:
            if isinstance(error, ValueError) and not isinstance(error, OSError):  # a bad certificate is both
                raise refused_link(url, "it is not a web address") from error
            if not self._is_told(error):
                raise
            failed = as_api_error(error, self._timeout, maybe_billed=True)
            raise type(failed)(f"{failed} (the picture's link: {url})", maybe_billed=True) from error

    def _is_told(self, error: Exception) -> bool:
        """Whether it is what becomes of a request; from a client of ours, anything else is ours to mend.

        Where that is closed meanwhile, a reader of it raises whatever aiohttp has for that.
        """
        return isinstance(error, OF_THE_LINE) or self._given is not None or self.is_closed

    def _translate(self, error: Exception, *, maybe_billed: bool) -> AsiImageError:
        forget_key(error)
        client = self._given or self._own
        if client is None or client.closed:
            return APIConnectionError(
                "the session was left before the reply was there",
                hint="Leave `async with` when what was asked for has come.",
                maybe_billed=maybe_billed,
            )
        if isinstance(error, ValueError) and "AUTH" in str(error):  # the client's, or .netrc's, meets the key
            return ConfigurationError(
                f"the http session cannot send this: {error}",
                hint="Give one without an auth of its own: the key goes into the Authorization header.",
            )
        return as_api_error(error, self._timeout, maybe_billed=maybe_billed)
