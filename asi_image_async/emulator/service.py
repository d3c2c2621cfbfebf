"""The service itself: one endpoint, the files that its links lead to, and its counters."""

import asyncio
import json
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web

from . import breakage, replies
from .drawing import draw
from .knobs import Knobs
from .ledger import KEPT, Ledger, Received
from .limits import FaultPlan, Limits
from .orders import Order, Refused, read_order

_QUOTA = "You exceeded your current quota, please check your plan and billing details"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Service:
    """Handlers over one set of knobs and one ledger."""

    def __init__(self, knobs: Knobs, ledger: Ledger) -> None:
        self._knobs, self._ledger = knobs, ledger
        self._limits = Limits(knobs)
        self._faults = FaultPlan(knobs.faults, knobs.seed)
        self._chance = random.Random(f"{knobs.seed}/latency")  # not a secret
        # Drawing takes tens of milliseconds of CPU: never in the loop, never on every core.
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="asi-emulator")
        self._files: OrderedDict[str, tuple[Order, int]] = OrderedDict()
        self._canned: bytes | None = None

    def application(self) -> web.Application:
        """The routes, ready to be run."""
        app = web.Application(middlewares=[_documented_errors], client_max_size=2**20)
        app.router.add_post("/v1/image/generate", self.generate)
        app.router.add_get("/files/{name}", self.file)
        app.router.add_get("/_emulator/stats", self.stats)
        return app

    async def open(self) -> None:
        """Draw what is drawn only once, before anyone can ask for it."""
        if self._knobs.canned is not None and not replies.has_links(self._knobs.shape):
            order = Order("canned", 1024, 1024, "asi1-mini", 1)
            loop = asyncio.get_running_loop()
            self._canned = await loop.run_in_executor(self._pool, self._drawn_reply, order, 1)

    async def close(self) -> None:
        """Wait for the threads; drawings that have not begun are dropped."""
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/image/generate."""
        received = await _receive(request)
        self._ledger.arrive(received)
        try:
            response = await self._answer(request, received)
            received.status = response.status
            return response
        finally:
            self._ledger.leave()

    async def _answer(self, request: web.Request, received: Received) -> web.StreamResponse:
        if not self._accepts(request.headers.get("Authorization", "")):
            return web.json_response({"message": "failed to authenticate user"}, status=401)
        try:
            order = read_order(received.body, honour_n=self._knobs.honour_n)
        except Refused as refused:
            return _error(400, str(refused))
        refusal = self._refusal()
        if refusal is not None:
            return refusal
        fault = self._faults.strike(order.prompt)
        if fault is not None and fault.kind in breakage.BEFORE_WORK:
            return await breakage.before_work(request, fault, self._knobs)
        # Billed from here on: the work has begun, whether or not anyone waits for it.
        self._ledger.bill(received)
        await asyncio.sleep(self._chance.uniform(*self._knobs.latency_range()))
        body = await self._work(request, order, self._ledger.billed)
        if fault is not None:
            return await breakage.after_work(request, fault, body)
        return web.Response(body=body, content_type="application/json")

    def _accepts(self, authorization: str) -> bool:
        scheme, _, key = authorization.partition(" ")
        wanted = self._knobs.api_key
        return scheme.lower() == "bearer" and (bool(key.strip()) if wanted is None else key == wanted)

    def _refusal(self) -> web.Response | None:
        """A spent quota, or a rate limit."""
        if self._knobs.quota is not None and self._ledger.billed >= self._knobs.quota:
            status = self._knobs.quota_status
            self._ledger.refused_429 += status == 429
            return _error(status, _QUOTA, "insufficient_quota")
        wait = self._limits.admit(asyncio.get_running_loop().time())
        if wait <= 0:
            return None
        self._ledger.refused_429 += 1
        response = _error(429, "Rate limit exceeded, please slow down")
        response.headers.update(replies.retry_header(self._knobs.retry_after, wait))
        return response

    async def _work(self, request: web.Request, order: Order, number: int) -> bytes:
        if replies.has_links(self._knobs.shape):
            links = [f"http://{request.host}{self._keep(order, v, number)}" for v in range(order.n)]
            return replies.picture_reply(self._knobs, links, order.prompt, number)
        if self._canned is not None:
            return self._canned
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._drawn_reply, order, number)

    def _drawn_reply(self, order: Order, number: int) -> bytes:
        pictures = (self._picture(order, variant) for variant in range(order.n))
        items = [replies.encode(picture, self._knobs.encoding) for picture in pictures]
        return replies.picture_reply(self._knobs, items, order.prompt, number)

    def _picture(self, order: Order, variant: int) -> bytes:
        kind, padded = self._knobs.format, self._knobs.canned
        if padded is None:
            return draw(order.prompt, order.width, order.height, variant=variant, format=kind)
        drawn = (draw("canned", side, side, format=kind) for side in (1024, 512, 128, 32))
        fitting = next((picture for picture in drawn if len(picture) <= padded), None)
        picture = fitting if fitting is not None else draw("canned", 8, 8, format=kind)
        # Readers of pictures stop at the end mark; what follows only makes the reply heavier.
        return picture.ljust(padded, b"\0")

    def _keep(self, order: Order, variant: int, number: int) -> str:
        """Remember what a link stands for; it is drawn when somebody follows it."""
        name = f"{number:08d}-{variant}.{self._knobs.format.lower()}"
        self._files[name] = (order, variant)
        if len(self._files) > KEPT:
            self._files.popitem(last=False)
        return f"/files/{name}"

    async def file(self, request: web.Request) -> web.StreamResponse:
        """GET /files/<name>: a picture that a reply linked to; needs no key."""
        self._ledger.files_asked_with_key += "Authorization" in request.headers
        kept = self._files.get(request.match_info["name"])
        if kept is None:
            return _error(404, "No such file")
        loop = asyncio.get_running_loop()
        picture = await loop.run_in_executor(self._pool, self._picture, *kept)
        self._ledger.files_served += 1
        return web.Response(body=picture, content_type=f"image/{self._knobs.format.lower()}")

    async def stats(self, request: web.Request) -> web.StreamResponse:
        """GET /_emulator/stats: the counters."""
        return web.json_response(self._ledger.stats())


async def _receive(request: web.Request) -> Received:
    try:
        body: Any = json.loads(await request.read())
    except (ValueError, RecursionError):
        body = None
    headers = {k: v for k, v in request.headers.items() if k.lower() != "authorization"}
    prompt = body.get("prompt") if isinstance(body, dict) else None
    return Received(
        prompt=prompt if isinstance(prompt, str) else None,
        idempotency_key=request.headers.get("Idempotency-Key"),
        headers=headers,
        body=body if isinstance(body, dict) else {},
        at=asyncio.get_running_loop().time(),
    )


def _error(status: int, message: str, kind: str | None = None) -> web.Response:
    return web.json_response(replies.documented(status, message, kind), status=status)


@web.middleware
async def _documented_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Unknown paths, wrong methods and oversized bodies get a documented error, not a text."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _error(error.status, error.reason)
