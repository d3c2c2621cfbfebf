"""Who asks for the pictures, each in a process of its own: `python -m benchmarks.speed.contenders`.

A job comes as JSON on standard input. A contender is opened once and asked twice: a few pictures to warm up,
then those that are measured. "Tuned" is what somebody would come to who looks for the time.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .floor import floor

KEY = "sk_benchmark_0123456789"


@dataclass
class Job:
    """So many pictures of `size` bytes from one service, `width` at once."""

    contender: str
    address: str
    size: int
    count: int
    warm: int
    width: int = 16
    probe: bool = False  # measure how late the loop is meanwhile
    folder: str | None = None  # where files go, kept until all is measured: ext4 shuns what was just deleted
    reader: float = 0.0  # seconds that the reader of a stream takes for each
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def base_url(self) -> str:
        return f"{self.address}/v1"

    @property
    def endpoint(self) -> str:
        return f"{self.base_url}/image/generate"


# What is given such a function gets pictures for so many prompts, and gives the number of whole ones.
Work = Callable[[int], Awaitable[int]]


def prompts(count: int) -> list[str]:
    return [f"picture number {number}, of many" for number in range(count)]


def whole(job: Job, data: bytes) -> bool:
    return len(data) == job.size and data.startswith(b"\xff\xd8")


@asynccontextmanager
async def bare_socket(job: Job) -> AsyncIterator[Work]:
    """What nothing in Python can be cheaper than."""

    async def work(count: int) -> int:
        return await asyncio.to_thread(floor, job.address, job.size, count, job.width)

    yield work


@asynccontextmanager
async def aiohttp_alone(job: Job) -> AsyncIterator[Work]:
    """What aiohttp takes for a request and for bringing its reply, of which nothing is read."""
    import aiohttp

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:

        async def ask(prompt: str) -> bool:
            body = {"prompt": prompt, "size": "1024x1024", "model": "asi1-mini"}
            async with session.post(job.endpoint, json=body) as response:
                came = sum([len(chunk) async for chunk in response.content.iter_any()])
                return came > job.size * 4 // 3

        yield partial(_workers, job, ask)


@asynccontextmanager
async def snippet(job: Job) -> AsyncIterator[Work]:
    """The documentation's batch, given `width` prompts at a time: with all at once it stops at the 101st."""
    import aiohttp

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:

        async def work(count: int) -> int:
            delivered = 0
            for start in range(0, count, job.width):
                tasks = [
                    session.post(job.endpoint, json={"prompt": prompt, "size": "1024x1024"})
                    for prompt in prompts(count)[start : start + job.width]
                ]
                for response in await asyncio.gather(*tasks):
                    reply = await response.json()
                    data = base64.b64decode(reply["data"][0]["b64_json"])
                    delivered += whole(job, data)
            return delivered

        yield work


@asynccontextmanager
async def worker_loop(job: Job) -> AsyncIterator[Work]:
    """What a good engineer writes in twenty lines: aiohttp, a semaphore, aiolimiter.

    `options`: "tuned" reads the reply whole, and decodes with pydantic_core and pybase64.
    """
    import aiohttp
    import aiolimiter
    import pybase64
    from pydantic_core import from_json

    places, limiter = asyncio.Semaphore(job.width), aiolimiter.AsyncLimiter(100_000, 1)

    async def plain(response: aiohttp.ClientResponse) -> bytes:
        return base64.b64decode((await response.json())["data"][0]["b64_json"])

    async def tuned(response: aiohttp.ClientResponse) -> bytes:
        text = from_json(await response.read())["data"][0]["b64_json"]
        return pybase64.b64decode(text, validate=True)

    read = tuned if job.options.get("tuned") else plain
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:

        async def ask(prompt: str) -> bool:
            async with places, limiter:
                body = {"prompt": prompt, "size": "1024x1024", "model": "asi1-mini"}
                async with session.post(job.endpoint, json=body) as response:
                    response.raise_for_status()
                    return whole(job, await read(response))

        yield partial(_workers, job, ask)


async def _workers(job: Job, ask: Callable[[str], Awaitable[bool]], count: int) -> int:
    """`width` workers at one list: a task a prompt would be ten thousand tasks."""
    left = iter(prompts(count))

    async def worker() -> int:
        return sum([await ask(prompt) for prompt in left])

    return sum(await asyncio.gather(*(worker() for _ in range(job.width))))


@asynccontextmanager
async def openai_python(job: Job) -> AsyncIterator[Work]:
    """`images.generate`. `options`: "aiohttp" is its other transport; "tuned" decodes the reply's bytes."""
    import openai
    import pybase64
    from pydantic_core import from_json

    http: Any = openai.DefaultAioHttpClient() if job.options.get("aiohttp") else None
    async with openai.AsyncOpenAI(base_url=job.base_url, api_key=KEY, http_client=http) as client:

        async def plain(prompt: str) -> bool:
            reply = await client.images.generate(prompt=prompt, model="asi1-mini", size="1024x1024")
            return whole(job, base64.b64decode(reply.data[0].b64_json))

        async def tuned(prompt: str) -> bool:
            reply = await client.images.with_raw_response.generate(
                prompt=prompt, model="asi1-mini", size="1024x1024"
            )
            text = from_json(reply.content)["data"][0]["b64_json"]
            return whole(job, pybase64.b64decode(text, validate=True))

        yield partial(_workers, job, tuned if job.options.get("tuned") else plain)


@asynccontextmanager
async def litellm_python(job: Job) -> AsyncIterator[Work]:
    """`aimage_generation`. `options`: "tuned" gives it one client of openai, with the aiohttp transport."""
    import litellm
    import openai

    more: dict[str, Any] = {}
    if job.options.get("tuned"):
        http = openai.DefaultAioHttpClient()
        more["client"] = openai.AsyncOpenAI(base_url=job.base_url, api_key=KEY, http_client=http)

    async def ask(prompt: str) -> bool:
        reply = await litellm.aimage_generation(
            prompt=prompt, model="openai/asi1-mini", size="1024x1024",
            api_base=job.base_url, api_key=KEY, **more,
        )  # fmt: skip
        return whole(job, base64.b64decode(reply.data[0].b64_json))

    yield partial(_workers, job, ask)
    if more:
        await more["client"].close()


def _session(job: Job) -> Any:
    from asi_image_async import ImageSession

    return ImageSession(KEY, base_url=job.base_url, max_concurrency=job.width)


@asynccontextmanager
async def generate(job: Job) -> AsyncIterator[Work]:
    async with _session(job) as session:

        async def ask(prompt: str) -> bool:
            return whole(job, (await session.generate(prompt)).image.data)

        yield partial(_workers, job, ask)


@asynccontextmanager
async def stream(job: Job) -> AsyncIterator[Work]:
    async with _session(job) as session:

        async def work(count: int) -> int:
            delivered = 0
            async with session.stream(prompts(count)) as outcomes:
                async for outcome in outcomes:
                    delivered += whole(job, outcome.unwrap().image.data)
                    if job.reader:
                        await asyncio.sleep(job.reader)
            return delivered

        yield work


@asynccontextmanager
async def run_to_memory(job: Job) -> AsyncIterator[Work]:
    from asi_image_async import MemorySink

    async with _session(job) as session:

        async def work(count: int) -> int:
            sink = MemorySink()
            await session.run(prompts(count), sink)
            return sum(whole(job, generation.image.data) for generation in sink)

        yield work


@asynccontextmanager
async def run_to_disk(job: Job) -> AsyncIterator[Work]:
    """With its journal, and everything flushed to the disk."""
    from asi_image_async import DiskSink

    async with _session(job) as session:

        async def work(count: int) -> int:
            folder = Path(tempfile.mkdtemp(dir=job.folder))
            sink = DiskSink(folder / "pictures")
            report = await session.run(prompts(count), sink, journal=folder / "journal.sqlite")
            return report.succeeded if report.bytes_written == report.succeeded * job.size else 0

        yield work


@asynccontextmanager
async def command(job: Job) -> AsyncIterator[Work]:
    """`asi-image batch`, with all that it does: its start counts too, so it is asked for many."""

    async def work(count: int) -> int:
        folder = Path(tempfile.mkdtemp(dir=job.folder))
        listed = folder / "prompts.txt"
        listed.write_text("\n".join(prompts(count)), encoding="utf-8")
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).parent / "asi-image", "batch", listed, "--out", folder / "out",
            "--concurrency", str(job.width), "--base-url", job.base_url, "--json", "--quiet",
            env=os.environ | {"ASI_ONE_API_KEY": KEY}, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await process.communicate()
        return int(json.loads(said)["succeeded"])

    yield work


CONTENDERS: dict[str, Callable[[Job], AbstractAsyncContextManager[Work]]] = {
    "bare socket": bare_socket,
    "aiohttp alone": aiohttp_alone,
    "snippet": snippet,
    "worker loop": worker_loop,
    "openai": openai_python,
    "litellm": litellm_python,
    "generate": generate,
    "stream": stream,
    "run to memory": run_to_memory,
    "run to disk": run_to_disk,
    "command": command,
}


def _cpu() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


async def _late(found: list[float]) -> None:
    """How late the loop comes to what was due, again and again, in milliseconds."""
    while True:
        due = time.perf_counter() + 0.001
        await asyncio.sleep(0.001)
        found.append((time.perf_counter() - due) * 1000)


async def measure(job: Job) -> dict[str, Any]:
    async with CONTENDERS[job.contender](job) as work:
        await work(job.warm)
        late: list[float] = []
        probe = asyncio.create_task(_late(late)) if job.probe else None
        wall, cpu = time.perf_counter(), _cpu()
        delivered = await work(job.count)
        cpu, wall = _cpu() - cpu, time.perf_counter() - wall
        if probe is not None:
            probe.cancel()
    if delivered != job.count:
        raise RuntimeError(f"{job.contender} has {delivered} whole pictures of {job.count}")
    found = {"cpu_ms": cpu / job.count * 1000, "per_second": job.count / wall}
    if late:
        late.sort()
        found |= {"p99_ms": late[int(len(late) * 0.99)], "worst_ms": late[-1]}
    return found


def main() -> None:
    cores = os.sched_getaffinity(0)
    if len(cores) > 1:
        os.sched_setaffinity(0, cores - {min(cores)})  # that one is the service's
    job = Job(**json.load(sys.stdin))
    if job.options.get("uvloop"):
        import uvloop

        found = uvloop.run(measure(job))
    else:
        found = asyncio.run(measure(job))
    whose = resource.RUSAGE_CHILDREN if job.contender == "command" else resource.RUSAGE_SELF
    found["peak_mb"] = resource.getrusage(whose).ru_maxrss / 1024
    print(json.dumps(found))


if __name__ == "__main__":
    main()
