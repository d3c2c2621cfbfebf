import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

Answer = tuple[int, dict[str, str], bytes]
Ask = Callable[..., Awaitable[Answer]]
Until = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture
async def http(anyio_backend: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=8)) as session:
        yield session


@pytest.fixture
async def ask(http: aiohttp.ClientSession) -> Ask:
    """Posts a prompt as any stranger would; small pictures unless told otherwise, for speed."""

    async def post(base_url: str, prompt: Any = "a quiet lake", **more: Any) -> Answer:
        key = more.pop("key", "sk_test")
        headers = {"Authorization": f"Bearer {key}", **more.pop("headers", {})}
        body = more.pop("body", {"prompt": prompt, "size": "96x64", **more})
        url = f"{base_url}/image/generate"
        async with http.post(url, json=body, headers=headers, allow_redirects=False) as reply:
            return reply.status, dict(reply.headers), await reply.read()

    return post


@pytest.fixture
def until() -> Until:
    """Waits, two seconds at most, for a counter of the emulator to say so."""

    async def wait(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(2):
            while not holds():  # the counters are plain numbers, read from outside
                await asyncio.sleep(0.01)

    return wait
