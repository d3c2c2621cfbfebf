"""Faults carried out: closed lines, cut bodies, silence, nonsense."""

import asyncio
import json
from typing import Final

from aiohttp import web

from . import replies
from .knobs import Fault, Knobs

BEFORE_WORK: Final = frozenset(
    {"error", "drop-before", "stall", "garbage", "no-image", "endless", "redirect"}
)
_CHUNK = b"A" * 2**16


async def before_work(request: web.Request, fault: Fault, knobs: Knobs) -> web.StreamResponse:
    """The faults that cost nobody anything: nothing has been drawn."""
    match fault.kind:
        case "drop-before":
            return _hang_up(request)
        case "stall":
            await asyncio.Event().wait()
        case "endless":
            return await _endless(request)
        case "garbage":
            return web.Response(body=b"\x00\xffnot JSON at all", content_type="application/json")
        case "no-image":
            return web.json_response({"status": 0, "message": fault.message})
        case "redirect":
            return web.Response(status=307, headers={"Location": fault.location})
    return _error(fault, knobs)


async def after_work(request: web.Request, fault: Fault, body: bytes) -> web.StreamResponse:
    """The faults that come when the picture has been made, and billed."""
    if fault.kind == "drop-after":
        return _hang_up(request)
    if fault.kind == "cut-body":
        return await _cut(request, body)
    # bad-base64: no decoder takes these letters, wherever the base64 stands in the reply.
    broken = json.dumps({"data": [{"b64_json": "/9j/4AAQ*** not base64 ***"}]}).encode()
    return web.Response(body=broken, content_type="application/json")


def _error(fault: Fault, knobs: Knobs) -> web.Response:
    body, kind = replies.error_body(fault)
    response = web.Response(status=fault.status, body=body, content_type=kind)
    if fault.retry_after is not None:
        style = knobs.retry_after or "seconds"
        response.headers.update(replies.retry_header(style, fault.retry_after))
    return response


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.close()
    # Nobody is there to read it; aiohttp wants a response to end the handler with.
    return web.Response()


async def _cut(request: web.Request, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    try:
        await response.write(b'{"data":[{"b64_json":"')
        while True:
            await response.write(_CHUNK)
            # A reader that keeps up must not keep the rest of the service waiting.
            await asyncio.sleep(0)
    except ConnectionError:
        return response
