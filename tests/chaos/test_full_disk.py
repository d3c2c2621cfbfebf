"""A disk that fills up at any moment: the run stops by name, nothing is half, and with room it goes on.

"Full" is a limit on the size of a file, which anyone may set, and where a file system may be mounted also
one that is really too small.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import random
import subprocess
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from PIL import Image
from service import Service, reply

from asi_image_async.runtime.journal import read_summary

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits"),
]

CHILD = Path(__file__).parent / "child.py"
WIDTH = 4
KB = 1024


def noise(width: int, height: int) -> bytes:
    """A picture that is about as large as its pixels are many."""
    file = io.BytesIO()
    Image.frombytes("L", (width, height), random.Random(1).randbytes(width * height)).save(file, "PNG")
    return file.getvalue()


SMALL, LARGE = noise(32, 32), noise(320, 320)


async def drawing(service: Service, data: bytes) -> None:
    body = {"created": 1, "data": [{"b64_json": base64.b64encode(data).decode()}]}

    async def draw(number: int, request: web.Request) -> web.Response:
        await asyncio.sleep(0.002)
        return reply(body)

    service.answer = draw


async def run(
    service: Service, out: Path, prompts: list[str], largest_file: int | None = None
) -> dict[str, Any]:
    options = {
        "base_url": service.base_url,
        "out": str(out),
        "prompts": prompts,
        "width": WIDTH,
        "largest_file": largest_file,
    }
    process = await asyncio.create_subprocess_exec(sys.executable, CHILD, stdin=PIPE, stdout=PIPE)
    async with asyncio.timeout(30):
        said, _ = await process.communicate(json.dumps(options).encode())
    assert process.returncode == 0
    report: dict[str, Any] = json.loads(said)
    return report


def nothing_is_half(out: Path, data: bytes) -> None:
    """Whether it has stopped or is complete."""
    for path in out.glob("*.png"):
        assert path.read_bytes() == data
    if (out / "metadata.jsonl").exists():
        text = (out / "metadata.jsonl").read_bytes()
        assert text == b"" or text.endswith(b"\n")
        names = [json.loads(line)["file_name"] for line in text.splitlines()]
        assert all((out / name).exists() for name in names)
    if (out / ".asi-image" / "tmp").exists():
        assert list((out / ".asi-image" / "tmp").iterdir()) == []


def everything_is_there(out: Path, prompts: list[str], data: bytes) -> None:
    nothing_is_half(out, data)
    assert len(list(out.glob("*.png"))) == len(prompts)
    lines = [json.loads(line) for line in (out / "metadata.jsonl").read_bytes().splitlines()]
    assert sorted(line["prompt"] for line in lines) == sorted(prompts)
    assert read_summary(out / ".asi-image" / "journal.sqlite").done == len(prompts)


@pytest.mark.parametrize(
    ("what", "length", "data", "limit", "error", "said"),
    [
        ("a picture", 20, LARGE, 60 * KB, "SinkError", "could not be stored"),
        ("a line", 20_000, SMALL, 150 * KB, "SinkError", "could not be stored"),
        ("the journal", 20, SMALL, 40 * KB, "JournalError", "journal"),
        ("anything at all", 20, SMALL, 0, "JournalError", "journal"),
    ],
)
async def test_where_a_file_may_not_grow_the_run_stops_by_name_and_goes_on_once_it_may(
    service: Service,
    tmp_path: Path,
    what: str,
    length: int,
    data: bytes,
    limit: int,
    error: str,
    said: str,
) -> None:
    out = tmp_path / "out"
    prompts = [f"{n} ".ljust(length, "x") for n in range(40)]
    await drawing(service, data)
    stopped = await run(service, out, prompts, limit)
    assert (stopped["ok"], stopped["stopped_by"]) == (False, error), stopped
    assert said in stopped["said"]
    nothing_is_half(out, data)
    assert len(service.bodies) < len(prompts)

    report = await run(service, out, prompts)
    assert report["ok"], report
    everything_is_there(out, prompts, data)
    assert len(service.bodies) <= len(prompts) + WIDTH


class SmallDisk:
    """A file system in memory whose size can be changed while it is in use."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def size(self, kilobytes: int, *, grow: bool = True) -> None:
        options = f"{'remount,' if grow else ''}size={kilobytes}k"
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.place)], check=True, capture_output=True
        )


@contextlib.contextmanager
def mounted(place: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(place)
    disk.size(64, grow=False)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _may_mount() -> bool:
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as place:
        try:
            with mounted(Path(place)):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


if _may_mount():

    async def test_a_disk_that_grows_bit_by_bit_stops_each_run_by_name_until_all_are_there(
        service: Service, tmp_path: Path
    ) -> None:
        data = noise(64, 64)
        place = tmp_path / "disk"
        place.mkdir()
        out = place / "out"
        prompts = [f"picture number {n}" for n in range(40)]
        await drawing(service, data)
        with mounted(place) as disk:
            await grow_until_done(service, disk, out, prompts, data)
            everything_is_there(out, prompts, data)


async def grow_until_done(
    service: Service, disk: SmallDisk, out: Path, prompts: list[str], data: bytes
) -> None:
    # Each is full at another moment: before the journal is there, in it, in a picture, in a line.
    sizes = [24, 60, 130, 230]
    stops = 0
    for size in [*sizes, 4096]:
        disk.size(size)
        report = await run(service, out, prompts)
        nothing_is_half(out, data)
        if report["ok"]:
            break
        stops += 1
        assert report["stopped_by"] in ("SinkError", "JournalError"), report
    assert report["ok"], report
    assert stops >= 3
    assert len(service.bodies) <= len(prompts) + stops * WIDTH
