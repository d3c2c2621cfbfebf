"""`kill -9` at any moment: what was finished stays, what was in flight is asked again, nothing is half.

ASI_CHAOS=long gives a hundred kills.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from PIL import Image
from service import Service, reply

from asi_image_async.core.naming import digest
from asi_image_async.models import ImageRequest
from asi_image_async.runtime.journal import Journal, State, read_summary

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9"),
]

CHILD = Path(__file__).parent / "child.py"
LONG = os.environ.get("ASI_CHAOS") == "long"
KILLS = 100 if LONG else 8
PROMPTS = [f"picture number {n}, of many" for n in range(1500 if LONG else 150)]
WIDTH = 8


async def start(service: Service, out: Path) -> Process:
    options = {"base_url": service.base_url, "out": str(out), "prompts": PROMPTS, "width": WIDTH}
    process = await asyncio.create_subprocess_exec(sys.executable, CHILD, stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    process.stdin.write(json.dumps(options).encode())
    process.stdin.close()
    return process


async def finish(service: Service, out: Path) -> dict[str, Any]:
    process = await start(service, out)
    said, _ = await process.communicate()
    assert process.returncode == 0
    report: dict[str, Any] = json.loads(said)
    return report


async def kill_it_somewhere(service: Service, process: Process, chance: random.Random) -> None:
    """After some requests of its own and a moment more; at times before the first."""
    more = chance.randint(0, 2 * len(PROMPTS) // KILLS)
    goal = len(service.bodies) + more
    async with asyncio.timeout(20):
        while len(service.bodies) < goal and process.returncode is None:
            await asyncio.sleep(0.001)
        await asyncio.sleep(chance.uniform(0, 0.03 if more else 0.5))
    if process.returncode is None:
        process.send_signal(signal.SIGKILL)
    await process.wait()
    await process.communicate()


def whole_pictures(out: Path) -> dict[str, bytes]:
    found = {}
    for path in out.glob("*.jpg"):
        found[path.name] = data = path.read_bytes()
        Image.open(io.BytesIO(data)).load()
    return found


@pytest.mark.timeout(900 if LONG else 60)
async def test_kill_9_at_any_moment_loses_nothing_that_was_finished(service: Service, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    out = tmp_path / "out"

    async def draw(number: int, request: web.Request) -> web.Response:
        await asyncio.sleep(chance.uniform(0.005, 0.015))
        return reply()

    service.answer = draw
    finished = 0
    for _ in range(KILLS):
        await kill_it_somewhere(service, await start(service, out), chance)
        pictures = whole_pictures(out)
        if (out / ".asi-image" / "journal.sqlite").exists():
            done = read_summary(out / ".asi-image" / "journal.sqlite").done
            assert finished <= done <= len(pictures) <= done + WIDTH
            finished = done

    last = await finish(service, out)
    assert last["ok"], last
    assert last["succeeded"] + last["skipped"] == len(PROMPTS)
    assert len(service.bodies) <= len(PROMPTS) + KILLS * WIDTH

    again = await finish(service, out)
    assert (again["ok"], again["requests"], again["skipped"]) == (True, 0, len(PROMPTS))
    await everything_agrees(out)


async def everything_agrees(out: Path) -> None:
    pictures = whole_pictures(out)
    assert len(pictures) == len(PROMPTS)
    assert list((out / ".asi-image" / "tmp").iterdir()) == []
    assert {path.name for path in out.iterdir()} == {*pictures, "metadata.jsonl", ".asi-image"}
    lines = [json.loads(line) for line in (out / "metadata.jsonl").read_bytes().splitlines()]
    assert sorted(line["prompt"] for line in lines) == sorted(PROMPTS)
    assert sorted(line["file_name"] for line in lines) == sorted(pictures)
    named = {line["prompt"]: line["file_name"] for line in lines}
    summary = read_summary(out / ".asi-image" / "journal.sqlite")
    assert (summary.total, summary.done, summary.left) == (len(PROMPTS), len(PROMPTS), 0)
    async with Journal(out / ".asi-image" / "journal.sqlite") as journal:
        for prompt in PROMPTS:
            claim = await journal.claim(digest(ImageRequest(prompt=prompt)))
            assert claim.state is State.DONE
            assert Path(claim.detail) == out / named[prompt]
