"""One race: a service in one process, a contender in another, and what both say afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import sys
import urllib.request
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .contenders import Job

ROOT = Path(__file__).resolve().parent.parent
# Which module a contender needs, and so what to install where it is missing.
_NEEDS = {"openai": "openai", "aiometer": "aiometer"}


@dataclass(frozen=True)
class Entry:
    """A line of a table: who, with which options."""

    label: str
    contender: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def missing(self) -> str | None:
        """The pip line that brings it, where it is not installed."""
        module = _NEEDS.get(self.contender)
        if module is None or importlib.util.find_spec(module):
            return None
        return f"not installed: pip install {module}"


@dataclass(frozen=True)
class Result:
    """`stats`: what the service counted. `said`: what the contender did, None where its time was up."""

    stats: dict[str, Any]
    said: dict[str, Any] | None
    allowed: float

    @property
    def seconds(self) -> float:
        return self.said["seconds"] if self.said else self.allowed

    @property
    def delivered(self) -> int:
        """Whole pictures in the client's hands; by the service's count where the client was cut off."""
        return self.said["delivered"] if self.said else self.stats["served"]


async def start_module(module: str, settings: object) -> Process:
    """A process of this package, given one line of JSON; its standard input stays open."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"benchmarks.{module}", cwd=ROOT, stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(settings).encode() + b"\n")
    await process.stdin.drain()
    return process


async def end(process: Process) -> None:
    """End a process that we started, however it is; by its own handle only."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


@contextlib.asynccontextmanager
async def service(settings: dict[str, Any]) -> AsyncIterator[str]:
    """A service in a process of its own; gives its address."""
    process = await start_module("service", settings)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            address = (await process.stdout.readline()).decode().strip()
        if not address:
            raise RuntimeError("the service did not start; its words are above")
        yield address
    finally:
        await end(process)


async def stats(address: str) -> dict[str, Any]:
    """What the service has counted so far."""

    def get() -> dict[str, Any]:
        with urllib.request.urlopen(f"{address}/stats", timeout=30) as reply:
            return json.load(reply)

    return await asyncio.to_thread(get)


async def race(entry: Entry, job: dict[str, Any], settings: dict[str, Any], allowed: float) -> Result:
    """One contender at one fresh service, for at most `allowed` seconds."""
    async with service(settings) as address:
        full = Job(entry.contender, address, options=entry.options, **job)
        process = await start_module("contenders", asdict(full))
        assert process.stdin is not None
        process.stdin.close()
        try:
            said: dict[str, Any] | None = None
            async with asyncio.timeout(allowed):
                out, _ = await process.communicate()
                if process.returncode:
                    raise RuntimeError(f"{entry.label} failed with {process.returncode}; its words are above")
                said = json.loads(out)
        except TimeoutError:
            pass
        finally:
            await end(process)
        return Result(await stats(address), said, allowed)


async def races(
    entry: Entry, job: dict[str, Any], settings: dict[str, Any], allowed: float, *, repeat: int, at_once: int
) -> list[Result]:
    """The same race several times.

    Some at once: they mostly wait, and so a contender is disturbed by none but itself.
    """
    places = asyncio.Semaphore(at_once)

    async def one() -> Result:
        async with places:
            return await race(entry, job, settings, allowed)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one()) for _ in range(repeat)]
    return [task.result() for task in tasks]
