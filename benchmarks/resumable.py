"""A batch that will be killed, in a process of its own, with its settings as JSON on standard input.

`ours` is a run to a folder with a journal. The others are what people write instead: openai-python's
pictures saved as they come, and the whole list asked for again; and aiometer over aiohttp with a file for
each prompt, where a file that is there already is not asked for again.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from .contenders import KEY


@dataclass(frozen=True)
class Task:
    """So many prompts into a folder."""

    who: str
    base_url: str
    out: str
    count: int
    width: int

    @property
    def files(self) -> dict[str, Path]:
        """Where the picture of each prompt goes, for those who name their files themselves."""
        return {
            f"picture number {number}, of many": Path(self.out) / f"{number}.jpg"
            for number in range(self.count)
        }


def save(path: Path, picture: str) -> None:
    path.write_bytes(base64.b64decode(picture))


async def ours(task: Task) -> None:
    from asi_image_async import DiskSink, ImageSession

    async with ImageSession(KEY, base_url=task.base_url, max_concurrency=task.width) as session:
        journal = Path(task.out) / ".asi-image" / "journal.sqlite"
        await session.run(list(task.files), DiskSink(task.out), journal=journal)


async def openai_from_the_start(task: Task) -> None:
    import openai

    places = asyncio.Semaphore(task.width)
    async with openai.AsyncOpenAI(base_url=task.base_url, api_key=KEY) as client:

        async def ask(prompt: str, path: Path) -> None:
            async with places:
                reply = await client.images.generate(prompt=prompt, model="asi1-mini")
            save(path, reply.data[0].b64_json)

        await asyncio.gather(*(ask(prompt, path) for prompt, path in task.files.items()))


async def aiometer_a_file_each(task: Task) -> None:
    import aiohttp
    import aiometer

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:

        async def ask(wanted: tuple[str, Path]) -> None:
            prompt, path = wanted
            async with session.post(f"{task.base_url}/image/generate", json={"prompt": prompt}) as reply:
                body = await reply.json()
            save(path, body["data"][0]["b64_json"])

        left = [(prompt, path) for prompt, path in task.files.items() if not path.exists()]
        async with aiometer.amap(ask, left, max_at_once=task.width) as results:
            async for _ in results:
                pass


WHO: dict[str, Callable[[Task], Awaitable[None]]] = {
    "ours": ours,
    "openai": openai_from_the_start,
    "aiometer": aiometer_a_file_each,
}


def main() -> None:
    task = Task(**json.load(sys.stdin))
    asyncio.run(WHO[task.who](task))


if __name__ == "__main__":
    main()
