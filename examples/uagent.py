"""An agent that answers a chat message with a picture.

    pip install asi_image_async uagents
    ASI_ONE_API_KEY=sk_... python uagent.py

It speaks the ecosystem's chat protocol: a message is acknowledged, drawn, and answered with words and a
link to the picture. While one is drawn others are heard; each sender has a limit; what goes wrong is told.
Links lead to a small server of its own here: in earnest `upload` puts the picture where your readers can
reach it.
"""

import asyncio
import os
import secrets
import time
from collections import OrderedDict, deque
from uuid import uuid4

from aiohttp import web
from uagents import Agent, Context, Protocol
from uagents_core.contrib.protocols.chat import (
    ChatAcknowledgement,
    ChatMessage,
    EndSessionContent,
    Resource,
    ResourceContent,
    TextContent,
    chat_protocol_spec,
)

from asi_image_async import CallbackSink, Generation, ImageSession, Receipt
from asi_image_async.errors import AsiImageError

PICTURES_PER_MINUTE = 3  # for each sender
MOST_SENDERS, MOST_PICTURES = 10_000, 100  # that are remembered


class Uploads:
    """The last pictures, served on this machine; `upload` is the function of a CallbackSink."""

    def __init__(self) -> None:
        self._pictures: OrderedDict[str, Generation] = OrderedDict()
        self._runner = web.AppRunner(self._app(), access_log=None)
        self._address = ""

    def _app(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/{name}", self._show)])
        return app

    async def open(self, port: int = 0) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self._address = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        await self._runner.cleanup()

    async def upload(self, generation: Generation) -> Receipt:
        name = secrets.token_urlsafe(12) + generation.image.suffix
        self._pictures[name] = generation
        if len(self._pictures) > MOST_PICTURES:
            self._pictures.popitem(last=False)
        return Receipt((f"{self._address}/{name}",), len(generation.image.data))

    async def _show(self, request: web.Request) -> web.Response:
        generation = self._pictures.get(request.match_info["name"])
        if generation is None:
            raise web.HTTPNotFound
        return web.Response(body=generation.image.data, content_type=generation.image.mime_type)


class Senders:
    """How often each sender has asked within the last minute."""

    def __init__(self) -> None:
        self._asked: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, sender: str) -> float:
        """Seconds until this sender may ask again; 0 is now, and counts."""
        asked, now = self._asked.setdefault(sender, deque()), time.monotonic()
        self._asked.move_to_end(sender)
        if len(self._asked) > MOST_SENDERS:
            self._asked.popitem(last=False)
        while asked and asked[0] <= now - 60:
            asked.popleft()
        if len(asked) >= PICTURES_PER_MINUTE:
            return asked[0] + 60 - now
        asked.append(now)
        return 0.0


class Painter:
    """From the words of a message to the answer."""

    def __init__(self, session: ImageSession) -> None:
        self.ready = asyncio.Event()  # the first messages may come before the agent has started
        self._session = session
        self.uploads = Uploads()
        self._sink = CallbackSink(self.uploads.upload)
        self._senders = Senders()

    async def answer(self, sender: str, words: str) -> ChatMessage:
        if not words.strip():
            return said("Tell me what the picture is to show.")
        wait = self._senders.wait(sender)
        if wait:
            return said(f"That was a lot: ask me again in {wait:.0f} s.")
        await self.ready.wait()
        try:
            generation = await self._session.generate(words)
            receipt = await self._sink.write(generation)
        except AsiImageError as error:
            return said(f"There is no picture: {error}. {error.hint}")
        kind = {"mime_type": generation.image.mime_type, "role": "image"}
        resource = Resource(uri=receipt.locations[0], metadata=kind)
        return said("Here it is.", ResourceContent(resource_id=uuid4(), resource=resource))


def said(words: str, *more: ResourceContent) -> ChatMessage:
    return ChatMessage([TextContent(words), *more, EndSessionContent()])


def make_agent(session: ImageSession, **settings: object) -> Agent:
    agent = Agent(handle_messages_concurrently=True, **settings)
    chat = Protocol(spec=chat_protocol_spec)
    painter = Painter(session)

    @agent.on_event("startup")
    async def start(ctx: Context) -> None:
        try:
            await session.__aenter__()
            await painter.uploads.open()
        finally:  # without a key too, whoever asks is told
            painter.ready.set()

    @agent.on_event("shutdown")
    async def stop(ctx: Context) -> None:
        await painter.uploads.close()
        await session.__aexit__(None, None, None)

    @chat.on_message(ChatMessage)
    async def hear(ctx: Context, sender: str, message: ChatMessage) -> None:
        await ctx.send(sender, ChatAcknowledgement(acknowledged_msg_id=message.msg_id))
        await ctx.send(sender, await painter.answer(sender, message.text()))

    @chat.on_message(ChatAcknowledgement)
    async def acknowledged(ctx: Context, sender: str, message: ChatAcknowledgement) -> None:
        pass

    agent.include(chat, publish_manifest=True)
    return agent


if __name__ == "__main__":
    asyncio.set_event_loop(asyncio.new_event_loop())  # which an agent looks for
    seed = os.environ.get("AGENT_SEED")
    make_agent(ImageSession(rate_limit="3/min"), name="painter", seed=seed, port=8001, mailbox=True).run()
