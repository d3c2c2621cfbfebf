"""The same page while a batch goes on: served on loopback, and pictures appear as they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import web
from pydantic_core import to_json

from ..folder import Tail, is_picture_of
from . import THUMBNAILS, gallery_data, title_of
from .entries import Entry, to_entry
from .page import make_page
from .thumbnails import make_thumbnails

__all__ = ["watching"]

_LOOK_EVERY = 0.5  # seconds
_HOSTS = {"127.0.0.1", "localhost"}


class _Watch:
    """The page, and what comes after it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def page(self, request: web.Request) -> web.Response:
        data = await asyncio.to_thread(gallery_data, self._folder, self._folder)
        data |= {"pictures": "pictures/", "thumbnails": "thumbnails/"}
        return web.Response(text=make_page(title_of(self._folder), data, live=True), content_type="text/html")

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: each picture that has come since; an event's id is the place after its line."""
        since = request.headers.get("Last-Event-ID") or request.query.get("since", "")
        tail = Tail(self._folder, since)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        with suppress(ConnectionResetError):  # the page was closed
            while True:
                for place, entry in await asyncio.to_thread(self._new, tail):
                    data = to_json(entry, inf_nan_mode="null")
                    await response.write(b"id: %b\ndata: %b\n\n" % (place.encode(), data))
                await response.write(b":\n\n")
                await asyncio.sleep(_LOOK_EVERY)
        return response

    def _new(self, tail: Tail) -> list[tuple[str, Entry]]:
        """The lines that have come, each with the place after it."""
        entries = [(tail.place, to_entry(line)) for line in tail]
        names = [entry["file"] for _, entry in entries]
        there = make_thumbnails(self._folder, names, self._folder / THUMBNAILS)
        return [
            (place, entry | ({"thumbnail": f"{entry['file']}.jpg"} if entry["file"] in there else {}))
            for place, entry in entries
        ]

    def files(self, folder: Path) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def file(request: web.Request) -> web.StreamResponse:
            name = request.match_info["name"]
            if not is_picture_of(folder, name):
                raise web.HTTPNotFound
            return web.FileResponse(folder / name)

        return file


@web.middleware
async def _only_here(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """No other site's page reads this through a name of its own that leads here."""
    if request.url.host not in _HOSTS:
        raise web.HTTPForbidden
    return await handler(request)


async def _harden(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(
        {
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-cache",
        }
    )


@asynccontextmanager
async def watching(folder: Path, port: int = 0) -> AsyncIterator[str]:
    """Serve the page of a folder on loopback; gives its address. Raises OSError where the port is taken."""
    watch = _Watch(folder)
    app = web.Application(middlewares=[_only_here])
    app.on_response_prepare.append(_harden)
    app.add_routes(
        [
            web.get("/", watch.page),
            web.get("/events", watch.events),
            web.get("/pictures/{name}", watch.files(folder)),
            web.get("/thumbnails/{name}", watch.files(folder / THUMBNAILS)),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()
