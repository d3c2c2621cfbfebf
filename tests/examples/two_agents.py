"""The painter and somebody who talks to it, in one process, without a network; prints what came as JSON."""

import asyncio
import json
import os
import sys
import urllib.request

import uagents.agent
from uagents import Agent, Bureau, Context, Protocol
from uagents_core.contrib.protocols.chat import (
    ChatAcknowledgement,
    ChatMessage,
    TextContent,
    chat_protocol_spec,
)

sys.path.insert(0, sys.argv[1])
from uagent import make_agent

from asi_image_async import ImageSession

MESSAGES = json.loads(sys.argv[2])
OFFLINE = {"enable_agent_inspector": False, "publish_agent_details": False, "report_events": False,
           "mark_inactive_on_shutdown": False}  # fmt: skip


async def offline(*_: object) -> None:
    """Instead of telling the network that an agent is there, which takes half a minute to fail."""


uagents.agent.update_agent_status = offline
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
painter = make_agent(ImageSession(), name="painter", seed="a painter", **OFFLINE)
visitor = Agent(name="visitor", seed="a visitor", handle_messages_concurrently=True, **OFFLINE)
chat = Protocol(spec=chat_protocol_spec)
heard: list[dict[str, object]] = []
acknowledged: list[float] = []


@visitor.on_event("startup")
async def talk(ctx: Context) -> None:
    for words in MESSAGES:
        await ctx.send(painter.address, ChatMessage([TextContent(words)]))
    ctx.logger.info("all is said")


@chat.on_message(ChatAcknowledgement)
async def was_acknowledged(ctx: Context, sender: str, message: ChatAcknowledgement) -> None:
    acknowledged.append(loop.time())


@chat.on_message(ChatMessage)
async def hear(ctx: Context, sender: str, message: ChatMessage) -> None:
    links = [each.resource.uri for each in message.content if each.type == "resource"]
    heard.append({"words": message.text(), "links": links, "at": loop.time()})
    if len(heard) < len(MESSAGES):
        return
    pictures = [
        (await asyncio.to_thread(lambda link=link: urllib.request.urlopen(link).read())).hex()[:6]
        for each in heard
        for link in each["links"]
    ]
    found = {"heard": heard, "acknowledged": acknowledged, "pictures": pictures}
    print(json.dumps(found), flush=True)
    os._exit(0)  # to end in order it would ask the network, again and again


visitor.include(chat)
bureau = Bureau([painter, visitor], port=int(sys.argv[3]), loop=loop)
loop.run_until_complete(bureau.run_async())
