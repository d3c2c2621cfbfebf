"""Where connections come from: kept for a while, clean when given, and to public addresses where asked."""

from __future__ import annotations

import socket
from functools import cache
from importlib.metadata import version

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from ...core.links import is_private

__all__ = ["READ_AT_ONCE", "PublicResolver", "pool", "user_agent"]

# Idle connections are dropped before the service would do it (uvicorn and Node.js do it after 5 s): a request
# that crosses the end of its line may have been billed. Beside a picture's time a new connection is nothing.
_KEEP_ALIVE = 4.0
# The loop reads as much as this from every line that has it before it comes round again: half of what is
# usual, so that it is late by half as much, for some hundredths more of CPU time.
READ_AT_ONCE = 128 * 2**10


def pool(resolver: AbstractResolver | None = None) -> aiohttp.TCPConnector:
    """A pool without a bound: the gate bounds what is in flight."""
    return _Connector(limit=0, keepalive_timeout=_KEEP_ALIVE, resolver=resolver)


@cache
def user_agent() -> str:
    """Who asks."""
    return f"asi-image-async/{version('asi_image_async')} aiohttp/{aiohttp.__version__}"


class _Connector(aiohttp.TCPConnector):
    """A pool that gives no line on which a reply lies already: it would be taken for the next request's."""

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        while len((connection := await super().connect(req, traces, timeout)).protocol or ()):
            connection.close()
        transport = connection.transport
        if transport is not None and hasattr(transport, "max_size"):  # asyncio's own, without TLS
            transport.max_size = READ_AT_ONCE
        return connection


class PublicResolver(AbstractResolver):
    """Resolves names to public addresses only, but for one host."""

    def __init__(self, allowed_host: str) -> None:
        self._allowed = allowed_host
        self._resolver = aiohttp.DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        public = [entry for entry in found if not is_private(entry["host"])]
        if public or host == self._allowed:
            return public or found
        raise OSError(None, f"{host} has no public address")

    async def close(self) -> None:
        await self._resolver.close()
