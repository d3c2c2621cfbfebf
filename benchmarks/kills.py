"""`kill -9` of a batch at random moments, each followed by a resume: what is bought again?

More may be bought again than was in flight at the service: a picture that was on its way, or not yet in the
journal, counts too. The bound is the width, for each kill.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any

from .race import Entry, end, service, start_module, stats

KILLS = 5
PROMPTS = 300
WIDTH = 8
_LATENCY = 0.05
_ALLOWED = 60.0  # seconds, for one run of the child
_LOOKS = 5000  # at the counter, until the moment of a kill is near


async def kills(entry: Entry, *, honours_keys: bool, seed: int) -> dict[str, float | None]:
    """Kill and resume five times, then let it finish; the same random moments for everyone."""
    chance = random.Random(seed)
    settings = {"latency": _LATENCY, "honours_keys": honours_keys}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        out.mkdir()
        async with service(settings) as address:
            task = {"who": entry.contender, "base_url": f"{address}/v1", "out": str(out)}
            task |= {"count": PROMPTS, "width": WIDTH}
            cut = 0
            for _ in range(KILLS):
                cut += await _kill(await _start(task), address, chance)
            await _finish(await _start(task))
            return _figures(await stats(address), cut, out)


async def _start(task: dict[str, Any]) -> Process:
    process = await start_module("resumable", task)
    assert process.stdin is not None
    process.stdin.close()
    return process


async def _kill(process: Process, address: str, chance: random.Random) -> int:
    """After some requests of its own and a moment more; returns how many were in flight then."""
    goal = (await stats(address))["paid"] + chance.randint(1, 2 * PROMPTS // (2 * KILLS))
    moment = chance.uniform(0, 2 * _LATENCY)
    try:
        for _ in range(_LOOKS):
            if process.returncode is not None or (await stats(address))["paid"] >= goal:
                break
            await asyncio.sleep(0.002)
        await asyncio.sleep(moment)
        in_flight = (await stats(address))["in_flight"]
    finally:
        await end(process)  # SIGKILL
    await asyncio.sleep(2 * _LATENCY)  # what it had asked for is worked on to the end, and paid for
    return int(in_flight)


async def _finish(process: Process) -> None:
    try:
        async with asyncio.timeout(_ALLOWED):
            await process.communicate()
    finally:
        await end(process)


def _figures(counted: dict[str, Any], cut: int, out: Path) -> dict[str, float | None]:
    pictures = [path.read_bytes() for path in out.glob("*.jpg")]
    whole = sum(data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9") for data in pictures)
    again = counted["paid"] - counted["paid_prompts"]
    return {
        "bought again": again,
        "in flight at kills": cut,
        "kills x width": KILLS * WIDTH,
        "paid": counted["paid"],
        "whole pictures": whole,
        "half pictures": len(pictures) - whole,
    }
