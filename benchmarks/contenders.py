"""Who runs the race, each in a process of its own, with a job as JSON on standard input.

Every rival is used as its own documentation shows, and as kindly as that allows: the same width, and the
true rate where it takes one and the row tells one.
"""

from __future__ import annotations

import asyncio
import base64
import json
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEY = "sk_benchmark_0123456789"


@dataclass
class Job:
    """So many prompts, at one service."""

    contender: str
    address: str
    count: int
    width: int = 32
    rate: str | None = None  # as ours is told it: "20/2s", "auto" or None
    per_second: float | None = None  # the same, for who counts so; None where nothing is told
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def base_url(self) -> str:
        return f"{self.address}/v1"

    @property
    def endpoint(self) -> str:
        return f"{self.base_url}/image/generate"

    @property
    def prompts(self) -> list[str]:
        return [f"picture number {number}, of many" for number in range(self.count)]


@dataclass
class Tally:
    """What the client has in its hands at the end: whole pictures, and the items it calls unknown."""

    delivered: int = 0
    unknown: int = 0


def is_picture(reply: dict[str, Any]) -> bool:
    return "data" in reply and base64.b64decode(reply["data"][0]["b64_json"]).startswith(b"\xff\xd8")


async def ours(job: Job) -> Tally:
    """A stream, as in the README."""
    from asi_image_async import Done, ImageSession

    tally = Tally()
    async with (
        ImageSession(KEY, base_url=job.base_url, max_concurrency=job.width, rate_limit=job.rate) as session,
        session.stream(job.prompts) as outcomes,
    ):
        async for outcome in outcomes:
            if isinstance(outcome, Done):
                tally.delivered += 1
            else:
                tally.unknown += bool(getattr(outcome.error, "maybe_billed", False))
    return tally


async def ours_with_journal(job: Job) -> Tally:
    """Runs with a journal, `options["runs"]` of them: the same batch, given again."""
    from asi_image_async import ImageSession, RetryPolicy

    tally = Tally()
    retry = RetryPolicy(
        resend_unknown=job.options.get("resend_unknown", False),
        max_attempts=job.options.get("max_attempts", 4),
    )
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(job.options.get("runs", 1)):
            async with ImageSession(
                KEY, base_url=job.base_url, max_concurrency=job.width, rate_limit=job.rate, retry=retry
            ) as session:
                report = await session.run(job.prompts, lambda _: None, journal=Path(folder) / "journal")
            tally.delivered += report.succeeded
            tally.unknown = report.unknown
    return tally


async def gather_snippet(job: Job) -> Tally:
    """The documentation's batch: everything at once, no look at the status, nothing released.

    One cut line raises out of it, and all that was paid for is gone; `return_exceptions=True` is kinder.

    With pictures of the real size (165 kB and more) it would hang at the 101st prompt: replies that
    nobody reads keep the pool's 100 connections. Ours here are small enough to spare it that.
    """
    import aiohttp

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
        tasks = [session.post(job.endpoint, json={"prompt": prompt}) for prompt in job.prompts]
        try:
            responses = await asyncio.gather(*tasks, **{"return_exceptions": True, **job.options})
        except aiohttp.ClientError:
            return Tally()
        bodies = [await reply.json() for reply in responses if not isinstance(reply, BaseException)]
    return Tally(delivered=sum(map(is_picture, bodies)))


async def openai_python(job: Job) -> Tally:
    """`images.generate` under a semaphore as wide as ours; `options` are the client's."""
    import openai

    places = asyncio.Semaphore(job.width)
    async with openai.AsyncOpenAI(base_url=job.base_url, api_key=KEY, **job.options) as client:

        async def ask(prompt: str) -> bool:
            async with places:
                try:
                    reply = await client.images.generate(prompt=prompt, model="asi1-mini")
                except openai.APIError:
                    return False
                return is_picture(reply.model_dump())

        return Tally(delivered=sum(await asyncio.gather(*map(ask, job.prompts))))


async def aiometer_aiohttp(job: Job) -> Tally:
    """aiometer.amap over aiohttp; it has no retry, and nothing to find a rate with."""
    import aiohttp
    import aiometer

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:

        async def ask(prompt: str) -> bool:
            try:
                async with session.post(job.endpoint, json={"prompt": prompt}) as reply:
                    return is_picture(await reply.json())
            except aiohttp.ClientError:
                return False

        async with aiometer.amap(
            ask, job.prompts, max_at_once=job.width, max_per_second=job.per_second
        ) as results:
            return Tally(delivered=sum([delivered async for delivered in results]))


CONTENDERS: dict[str, Callable[[Job], Awaitable[Tally]]] = {
    "ours": ours,
    "ours with journal": ours_with_journal,
    "gather snippet": gather_snippet,
    "openai": openai_python,
    "aiometer": aiometer_aiohttp,
}


async def timed(job: Job) -> dict[str, Any]:
    started = time.perf_counter()
    tally = await CONTENDERS[job.contender](job)
    return {"seconds": time.perf_counter() - started, **vars(tally)}


def main() -> None:
    job = Job(**json.load(sys.stdin))
    # Loads the rival's modules before the clock starts: nobody is asked for how long it takes to import.
    for module in {"openai": ["openai"], "aiometer": ["aiometer", "aiohttp"]}.get(
        job.contender, ["asi_image_async"]
    ):
        __import__(module)
    result = asyncio.run(timed(job))
    result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(result))


if __name__ == "__main__":
    main()
