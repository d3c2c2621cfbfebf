"""A web page that draws: the visitor types, the server asks, and the key never leaves it.

    pip install asi_image_async
    ASI_ONE_API_KEY=sk_... python app.py --rate 3/min

Without a key, beside `asi-image emulate` and with the two lines that it prints. What it shows:

- one `ImageSession` for the whole app, so that all visitors together keep to the plan's limit;
- a limit of its own for each visitor, who is told when to come back;
- a visitor who leaves is not drawn for any longer: the request is cancelled, and nothing waits in vain;
- errors in the service's own words, with what to do;
- Ctrl-C or SIGTERM: no new visitors, the pictures under way are finished.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from asi_image_async import ImageSession
from asi_image_async.errors import APIError, ConfigurationError

PAGE = Path(__file__).with_name("page.html")
PICTURES_PER_MINUTE = 5  # for each visitor
MOST_VISITORS = 10_000  # that are remembered
LONGEST_PROMPT = 2_000

SESSION = web.AppKey("session", ImageSession)


class Visitors:
    """How often each visitor has asked within the last minute."""

    def __init__(self) -> None:
        self._asked: dict[str, deque[float]] = {}

    def wait(self, visitor: str) -> float:
        """Seconds until this visitor may ask again; 0 is now, and counts."""
        now = time.monotonic()
        asked = self._asked.pop(visitor, deque())
        self._asked[visitor] = asked  # the last to come is the last to be forgotten
        while len(self._asked) > MOST_VISITORS:
            del self._asked[next(iter(self._asked))]
        while asked and asked[0] <= now - 60:
            asked.popleft()
        if len(asked) >= PICTURES_PER_MINUTE:
            return asked[0] + 60 - now
        asked.append(now)
        return 0.0


VISITORS = web.AppKey("visitors", Visitors)


def refusal(status: int, message: str, hint: str = "", *, retry_after: str | None = None) -> web.Response:
    headers = {"Retry-After": retry_after} if retry_after else None
    return web.json_response({"error": message, "hint": hint}, status=status, headers=headers)


async def index(request: web.Request) -> web.FileResponse:
    return web.FileResponse(PAGE)


async def generate_image(request: web.Request) -> web.Response:
    """`{"prompt": ...}` in, the picture itself out, or an error in words."""
    try:
        prompt = (await request.json())["prompt"]
        if not isinstance(prompt, str):
            raise TypeError
    except (ValueError, LookupError, TypeError):
        return refusal(400, 'Send {"prompt": "..."} as JSON.')
    if len(prompt) > LONGEST_PROMPT:
        return refusal(400, f"The prompt is longer than {LONGEST_PROMPT} characters.")
    wait = request.app[VISITORS].wait(request.remote or "")
    if wait:
        seconds = str(math.ceil(wait))
        return refusal(429, f"That was a lot: come back in {seconds} s.", retry_after=seconds)
    try:
        # A visitor who leaves cancels this, and the request to the service with it.
        generation = await request.app[SESSION].generate(prompt)
    except ConfigurationError as error:  # an empty prompt, say
        return refusal(400, str(error), error.hint)
    except APIError as error:
        return refusal(502, str(error), error.hint)
    return web.Response(body=generation.image.data, content_type=generation.image.mime_type)


def make_app(session: ImageSession) -> web.Application:
    async def opened(app: web.Application) -> AsyncIterator[None]:
        async with session:
            yield

    app = web.Application(client_max_size=64 * 1024)
    app[SESSION] = session
    app[VISITORS] = Visitors()
    app.cleanup_ctx.append(opened)
    app.add_routes([web.get("/", index), web.post("/api/generate-image", generate_image)])
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description="A web page that draws.")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--rate", action="append", help="your plan's limit, such as 3/min")
    options = parser.parse_args()
    web.run_app(
        make_app(ImageSession(rate_limit=options.rate or "auto")),
        host="127.0.0.1",
        port=options.port,
        handler_cancellation=True,  # aiohttp's default is to finish for nobody
        shutdown_timeout=120.0,
    )


if __name__ == "__main__":
    main()
