"""The measured service, a process of its own: canned pictures, limits as seen at arrival, lost replies.

Settings come as one line of JSON on standard input, the address goes out as one line; it ends when its
standard input does, so that it never outlives who started it.

Settings: `limit` (see limits.make_limit); `retry_after` (whether a 429 says when to come back); `latency`
(seconds a picture takes); `drop_every` (n: the n-th, 2n-th, ... picture is made and paid for, and the line
is cut instead of the reply); `honours_keys` (a picture that was paid for under an Idempotency-Key is given
again under it, unpaid).
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import math
import sys
from collections import Counter
from typing import Any

from aiohttp import web
from PIL import Image

from .limits import make_limit

# openai-python can ask for images at its own path only; both are one service, under one limit.
PATHS = frozenset({"/v1/image/generate", "/v1/images/generations"})
REFUSAL = {"error": {"message": "Too many requests", "type": "rate_limit_error", "code": 429}}


def canned_replies() -> list[bytes]:
    """Replies with JPEG pictures of 2 to 20 kB, in the shape that the service is known to send."""
    replies = []
    for side in (56, 80, 112, 150, 190):
        file = io.BytesIO()
        Image.effect_noise((side, side), 60).save(file, "JPEG", quality=75)
        item = {"b64_json": base64.b64encode(file.getvalue()).decode()}
        replies.append(json.dumps({"created": 1753792957, "data": [item]}).encode())
    return replies


class Service:
    """One service and what it has counted."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._limit = make_limit(settings.get("limit"))
        self._tells_when = bool(settings.get("retry_after"))
        self._latency = float(settings.get("latency", 0.0))
        self._drop_every = int(settings.get("drop_every", 0))
        self._honours_keys = bool(settings.get("honours_keys"))
        self._replies = canned_replies()
        self._began: float | None = None
        self._made = self._served = self._in_flight = 0
        self._admitted: list[float] = []
        self._refused: list[float] = []
        self._paid: Counter[str] = Counter()
        self._served_prompts: set[str] = set()
        self._keys: set[str] = set()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET":
            return web.json_response(self._stats())
        now = asyncio.get_running_loop().time()  # before the body is read: the arrival is what counts
        if request.path not in PATHS:
            return web.json_response({"message": "no such endpoint"}, status=404)
        self._began = now if self._began is None else self._began
        at = now - self._began
        wait = self._limit.admit(at)
        if wait > 0:
            self._refused.append(at)
            headers = {"Retry-After": str(math.ceil(wait))} if self._tells_when else {}
            return web.json_response(REFUSAL, status=429, headers=headers)
        self._admitted.append(at)
        self._in_flight += 1
        try:
            return await self._make(request)
        finally:
            self._in_flight -= 1

    async def _make(self, request: web.BaseRequest) -> web.StreamResponse:
        prompt = str((await request.json())["prompt"])
        key = request.headers.get("Idempotency-Key")
        again = self._honours_keys and key is not None and key in self._keys
        if not again:  # paid for from here on, whatever becomes of the line
            self._paid[prompt] += 1
            self._keys.add(key or "")
            await asyncio.sleep(self._latency)
        self._made += 1
        if self._drop_every and self._made % self._drop_every == 0 and request.transport is not None:
            request.transport.close()
            return web.Response()  # to nobody: the line is cut
        self._served += 1
        self._served_prompts.add(prompt)
        reply = self._replies[self._made % len(self._replies)]
        return web.Response(body=reply, content_type="application/json")

    def _stats(self) -> dict[str, Any]:
        return {
            "requests": len(self._admitted) + len(self._refused),
            "admitted": self._admitted,
            "refused": self._refused,
            "served": self._served,
            "served_prompts": len(self._served_prompts),
            "in_flight": self._in_flight,
            "paid": self._paid.total(),
            "paid_prompts": len(self._paid),
            "paid_twice": sum(times > 1 for times in self._paid.values()),
        }


async def main() -> None:
    loop = asyncio.get_running_loop()
    settings = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    logging.disable(logging.CRITICAL)
    server = web.Server(Service(settings).answer, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
