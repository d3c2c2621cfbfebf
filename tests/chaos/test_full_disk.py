"""A disk that fills up at any moment: the run stops by name, nothing is half, and with room it goes on.

"Full" is a limit on the size of a file, which anyone may set, and where a file system may be mounted also
one that is really too small.
"""

from __future__ import annotations

import asyncio
import base64
import io
import random
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from chaos.batch import Batch, everything_agrees, nothing_is_half, whole_pictures
from chaos.here import run_here
from chaos.scale import Figures, scaled
from chaos.small_disk import may_mount, small_disk
from PIL import Image
from service import Service, reply

from asi_image_async import DiskSink, Failed, ImageSession, RunReport
from asi_image_async.core.naming import file_stem
from asi_image_async.errors import JournalError, SinkError

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits"),
]
mounts = pytest.mark.skipif(not may_mount(), reason="only root may mount a disk, on Linux")

WIDTH = 4
KB = 1024


def noise(width: int, height: int) -> bytes:
    """A picture that is about as large as its pixels are many."""
    file = io.BytesIO()
    Image.frombytes("L", (width, height), random.Random(1).randbytes(width * height)).save(file, "PNG")
    return file.getvalue()


SMALL, LARGE, PICTURE = noise(32, 32), noise(320, 320), noise(100, 100)  # the last is three pages


def seeded() -> random.Random:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


def drawing(service: Service, data: bytes) -> None:
    body = {"created": 1, "data": [{"b64_json": base64.b64encode(data).decode()}]}

    async def draw(number: int, request: web.Request) -> web.Response:
        await asyncio.sleep(0.002)
        return reply(body)

    service.answer = draw


@pytest.mark.parametrize(
    ("length", "data", "limit", "error", "said"),
    [
        pytest.param(20, LARGE, 60 * KB, "SinkError", "could not be stored", id="a picture"),
        pytest.param(20_000, SMALL, 150 * KB, "SinkError", "could not be stored", id="a line"),
        pytest.param(20, SMALL, 40 * KB, "JournalError", "journal", id="the journal"),
        pytest.param(20, SMALL, 0, "JournalError", "journal", id="anything at all"),
    ],
)
async def test_where_a_file_may_not_grow_the_run_stops_by_name_and_goes_on_once_it_may(
    service: Service, tmp_path: Path, length: int, data: bytes, limit: int, error: str, said: str
) -> None:
    out = tmp_path / "out"
    prompts = [f"{n} ".ljust(length, "x") for n in range(40)]
    drawing(service, data)
    full = Batch(service.base_url, out, prompts, width=WIDTH, limits={"RLIMIT_FSIZE": limit})
    stopped = await full.finish()
    assert (stopped["ok"], stopped["stopped_by"]) == (False, error), stopped
    assert said in stopped["said"]
    nothing_is_half(out)
    assert len(service.bodies) < len(prompts)

    report = await run_here(service.base_url, out, prompts)
    assert report.ok, report
    await everything_agrees(out, prompts)
    assert len(service.bodies) <= len(prompts) + WIDTH


# Lines that seldom end where a page does, so that they too find the disk full in their middle.
PROMPTS = [f"{n} ".ljust(1000, "x") for n in range(12)]
ENOUGH = 1000  # pages


@dataclass
class Costs:
    """What one disk after the other, or one that grew, has come to."""

    stops: int = 0
    before_any: int = 0  # stops with nothing asked for
    left: int = 0  # pictures that were bought and could not be stored or written down, and told so
    again: int = 0
    delivered: int = 0
    wanted: int = 0

    def tell(self, fault: str) -> None:
        Figures(
            fault=f"{fault} ({self.again} were bought and had no room)",
            tries=self.stops,
            delivered=self.delivered,
            lost=self.wanted - self.delivered,
            billed_twice=max(0, self.again - self.left),
        ).tell()


@dataclass
class Runs:
    """Runs into one folder, in this process, so that there can be hundreds."""

    service: Service
    out: Path
    costs: Costs

    async def stops(self) -> bool:
        """One run. It is complete, or it was stopped by name and tells of everything that it bought."""
        before = len(self.service.bodies)
        report = await self.report()
        asked = self.service.prompts[before:]
        nothing_is_half(self.out)
        assert (report.requests, report.unknown) == (len(asked), 0)
        left = [failure for failure in report.failures if failure.request.prompt in asked]
        assert report.succeeded + len(left) == len(asked)
        assert len(left) <= WIDTH
        for failure in left:
            self.can_be_saved(failure)
        self.costs.left += len(left)
        if report.ok:
            return False
        assert isinstance(report.stopped_by, JournalError | SinkError)
        assert re.search("full|No space|disk I/O", str(report.stopped_by))
        self.costs.stops += 1
        self.costs.before_any += not asked
        return True

    async def report(self) -> RunReport:
        try:
            return await run_here(self.service.base_url, self.out, PROMPTS, width=WIDTH)
        except (JournalError, SinkError) as error:  # it could not be opened, or so it says
            return RunReport(stopped_by=error)

    def can_be_saved(self, failure: Failed) -> None:
        """A bought picture is with its error, or in the folder and only not written down."""
        if isinstance(failure.error, SinkError):
            assert failure.error.generation.image.data == PICTURE
        else:
            assert isinstance(failure.error, JournalError)
            assert (self.out / f"{file_stem(failure.request, 0)}.png").read_bytes() == PICTURE

    async def agree(self) -> None:
        """With room all comes to be there, and was bought again only where it had none."""
        assert not await self.stops()
        await everything_agrees(self.out, PROMPTS)
        again = len(self.service.bodies) - len(PROMPTS)
        assert again <= self.costs.left
        self.costs.again += again
        self.costs.wanted += len(PROMPTS)
        self.costs.delivered += len(whole_pictures(self.out))


@mounts
async def test_a_disk_of_any_size_that_is_too_small_stops_the_run_by_name_and_with_room_it_goes_on(
    service: Service, tmp_path: Path
) -> None:
    drawing(service, PICTURE)
    chance = seeded()
    costs, pages, full = Costs(), chance.randint(1, scaled(5, 1)), True
    while full:
        assert pages < ENOUGH
        service.bodies.clear()
        with small_disk(tmp_path / "disk", pages) as disk:
            runs = Runs(service, disk.place / "out", costs)
            full = await runs.stops()
            disk.pages(ENOUGH)
            await runs.agree()
        pages += scaled(6, 1)
    assert costs.before_any > 0
    assert costs.again > 0
    costs.tell("a full disk, of every size that is too small")


@mounts
async def test_a_disk_that_grows_bit_by_bit_stops_each_run_by_name_until_all_are_there(
    service: Service, tmp_path: Path
) -> None:
    drawing(service, PICTURE)
    chance = seeded()
    costs, pages = Costs(), 1
    with small_disk(tmp_path / "disk", pages) as disk:
        runs = Runs(service, disk.place / "out", costs)
        while await runs.stops():
            pages += chance.randint(4, 12)  # what an opening takes, and a little more
            assert pages < ENOUGH
            disk.pages(pages)
        disk.pages(ENOUGH)
        await runs.agree()
    assert costs.stops > costs.before_any + 2
    costs.tell("a full disk that grows bit by bit")


@mounts
async def test_what_is_in_flight_when_the_journals_own_disk_is_full_is_written_down_all_the_same(
    service: Service, tmp_path: Path
) -> None:
    drawing(service, SMALL)
    prompts = [f"{n} ".ljust(1000, "x") for n in range(2000)]
    costs, chance, stops = Costs(), seeded(), 0
    with small_disk(tmp_path / "disk", chance.randint(260, 300)) as disk:
        journal, sink = disk.place / "journal.sqlite", DiskSink(tmp_path / "out")
        async with ImageSession("sk_test_key", base_url=service.base_url, max_concurrency=WIDTH) as session:
            while not (report := await session.run(prompts, sink, journal=journal)).ok:
                assert isinstance(report.stopped_by, JournalError)
                assert report.failures == ()
                assert report.succeeded > 0
                stops += 1
                disk.pages(300 + 150 * stops)
    assert stops > 2
    assert len(service.bodies) == len(prompts)
    costs.stops, costs.wanted, costs.delivered = stops, len(prompts), len(whole_pictures(tmp_path / "out"))
    costs.tell("a full disk that has the journal alone")
