"""What a power cut can leave: a part of the journal's log, files without rows, rows without files."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from chaos.batch import Batch, everything_agrees, journal_of, whole_pictures
from chaos.here import run_here
from chaos.scale import Figures, scaled
from service import JPEG, Service, reply, serving

from asi_image_async import RunReport
from asi_image_async.core.naming import file_stem
from asi_image_async.models import ImageRequest
from asi_image_async.runtime.journal import Journal, State
from asi_image_async.runtime.journal.summary import find_missing, read_summary

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9"),
]

ROWS = 4
DIGESTS = [number.to_bytes(16, "big") for number in range(ROWS + 2)]


@dataclass
class Log:
    """The files of a journal whose run was killed: where in its log each row's commit ended."""

    path: Path
    main: bytes = b""
    log: bytes = b""
    begun: int = 0
    ends: list[int] = field(default_factory=list)

    async def write(self) -> None:
        """Pages of 512 bytes, the smallest there are, so that every byte of the log can be tried."""
        with closing(sqlite3.connect(self.path)) as database:
            database.executescript("PRAGMA page_size = 512; CREATE TABLE a (b); DROP TABLE a;")
        log = Path(f"{self.path}-wal")
        async with Journal(self.path) as journal:
            self.begun = log.stat().st_size
            for digest in DIGESTS[:ROWS]:
                key = (await journal.claim(digest)).key
                await journal.record(key, State.DONE, "out/a-fox.jpg", spent=1)
                self.ends.append(log.stat().st_size)
            self.main, self.log = self.path.read_bytes(), log.read_bytes()  # as kill -9 would leave them

    def whole(self, length: int) -> int:
        """How many rows were written down before the log was so long."""
        return sum(end <= length for end in self.ends)

    async def known(self, left: bytes) -> int:
        """How many rows, the first ones, a run knows with this left of the log; a look says the same."""
        for old in self.path.parent.glob(f"{self.path.name}*"):
            old.unlink()
        self.path.write_bytes(self.main)
        Path(f"{self.path}-wal").write_bytes(left)
        summary = read_summary(self.path)
        async with Journal(self.path) as journal:
            claims = await journal.claim_all(DIGESTS)
            await journal.record(claims[-1].key, State.DONE, "")
        rows = sum(claim.state is State.DONE for claim in claims)
        assert [claim.state for claim in claims] == [State.DONE] * rows + [None] * (len(DIGESTS) - rows)
        assert (summary.done + summary.earlier, summary.spent) == (rows, rows)
        assert read_summary(self.path).done == rows + 1
        return rows


@pytest.fixture
async def log(tmp_path: Path) -> Log:
    log = Log(tmp_path / "journal.sqlite")
    await log.write()
    return log


@pytest.fixture
def chance() -> random.Random:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.mark.timeout(300)  # four thousand cuts, and a journal opened for each
async def test_a_log_cut_at_any_byte_holds_every_row_whose_commit_is_whole_and_no_other(
    log: Log, chance: random.Random
) -> None:
    at_rows = range(log.begun, len(log.log) + 1)
    cuts = {*log.ends, *(end - 1 for end in log.ends), *chance.sample(range(log.begun), scaled(10, 200))}
    cuts |= set(scaled(chance.sample(at_rows, 60), at_rows))
    wrong = {cut: await log.known(log.log[:cut]) - log.whole(cut) for cut in cuts}
    assert set(wrong.values()) == {0}, {cut: rows for cut, rows in wrong.items() if rows}
    Figures(
        fault="power cut: the journal's log ends at any byte",
        tries=len(cuts),
        delivered=await log.known(log.log),
        lost=sum(rows for rows in wrong.values() if rows > 0),  # known as done and never written down
        billed_twice=-sum(rows for rows in wrong.values() if rows < 0),  # forgotten
    ).tell()


@pytest.mark.parametrize("tail", ["zeros", "noise", "an older log"])
async def test_a_log_whose_tail_was_never_written_holds_every_row_before_it(
    log: Log, chance: random.Random, tail: str, tmp_path: Path
) -> None:
    older = Log(tmp_path / "older.sqlite")
    await older.write()
    length = len(log.log)
    instead = {"zeros": bytes(length), "noise": chance.randbytes(length), "an older log": older.log}[tail]
    # A log is told from another by its salts, which end at its 24th byte.
    for cut in [*log.ends[:-1], *chance.sample(range(24, length), scaled(16, 200))]:
        assert await log.known(log.log[:cut] + instead[cut:]) == log.whole(cut), cut


PROMPTS = [f"picture number {n}, of many" for n in range(6)]
STORED, IN_FLIGHT = PROMPTS[:4], PROMPTS[4:]


@dataclass
class Folder:
    """What a batch left that was killed with the first of its prompts stored and the others in flight.

    It can be laid out again as often as one likes, each time to be spoilt in another way.
    """

    service: Service
    out: Path
    kept: Path

    def name(self, prompt: str) -> str:
        return f"{file_stem(ImageRequest(prompt=prompt), 0)}.jpg"

    def lay_out(self) -> None:
        shutil.rmtree(self.out, ignore_errors=True)
        shutil.copytree(self.kept, self.out)
        self.service.bodies.clear()

    def store(self, prompt: str) -> None:
        """As the sink does it first."""
        (self.out / self.name(prompt)).write_bytes(JPEG)

    def line(self, prompt: str) -> bytes:
        return json.dumps({"file_name": self.name(prompt), "prompt": prompt}).encode() + b"\n"

    def append(self, lines: bytes) -> None:
        with (self.out / "metadata.jsonl").open("ab") as metadata:
            metadata.write(lines)

    async def run(self) -> RunReport:
        return await run_here(self.service.base_url, self.out, PROMPTS)

    async def recovers(self) -> None:
        """What was in flight is asked for, once, and then all is there and agrees."""
        report = await self.run()
        assert (report.ok, report.skipped) == (True, len(STORED))
        assert sorted(self.service.prompts) == IN_FLIGHT
        await everything_agrees(self.out, PROMPTS)


async def kill_a_batch(out: Path) -> None:
    async def draw(number: int, request: web.Request) -> web.Response:
        if number >= len(STORED):
            await asyncio.sleep(30)
        return reply()

    async with serving() as service, asyncio.timeout(20):
        service.answer = draw
        process = await Batch(service.base_url, out, PROMPTS, width=len(IN_FLIGHT)).start()
        while len(service.bodies) < len(PROMPTS) or read_summary(journal_of(out)).done < len(STORED):
            await asyncio.sleep(0.005)
        process.kill()
        await process.communicate()


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("killed") / "out"
    asyncio.run(kill_a_batch(out))
    return out.rename(out.with_name("kept"))


@pytest.fixture
def folder(service: Service, killed: Path) -> Folder:
    folder = Folder(service, killed.with_name("out"), killed)  # where it was: the journal names its places
    folder.lay_out()
    return folder


def a_temporary_file(folder: Folder) -> None:
    (folder.out / ".asi-image" / "tmp" / ".half.tmp").write_bytes(JPEG[:100])


def a_picture_without_its_line(folder: Folder) -> None:
    folder.store(IN_FLIGHT[0])


def a_picture_and_its_line(folder: Folder) -> None:
    folder.store(IN_FLIGHT[0])
    folder.append(folder.line(IN_FLIGHT[0]))


def a_line_without_its_picture(folder: Folder) -> None:
    folder.append(folder.line(IN_FLIGHT[0]))


def a_part_of_the_lines_that_was_never_written(folder: Folder) -> None:
    folder.append(bytes(300))


@pytest.mark.parametrize(
    "left",
    [
        a_temporary_file,
        a_picture_without_its_line,
        a_picture_and_its_line,
        a_line_without_its_picture,
        a_part_of_the_lines_that_was_never_written,
    ],
)
async def test_what_is_there_without_its_row_is_bought_once_more_at_most_onto_the_same_name(
    folder: Folder, left: Callable[[Folder], None]
) -> None:
    left(folder)
    await folder.recovers()


async def test_a_line_torn_at_any_byte_is_one_whole_line_in_the_end(
    folder: Folder, chance: random.Random
) -> None:
    line = folder.line(IN_FLIGHT[0])
    cuts = scaled(chance.sample(range(len(line)), 12), range(len(line)))
    for cut in cuts:
        folder.lay_out()
        folder.store(IN_FLIGHT[0])
        folder.append(line[:cut])
        await folder.recovers()
    Figures(
        fault="power cut: a torn line, a picture without its row",
        tries=len(cuts),
        delivered=len(whole_pictures(folder.out)),
        lost=len(PROMPTS) - len(whole_pictures(folder.out)),
        billed_twice=len(folder.service.bodies) - len(IN_FLIGHT),
    ).tell()


@pytest.mark.parametrize("with_line", [True, False])
async def test_a_row_whose_picture_is_gone_is_not_bought_again_unasked_and_is_told(
    folder: Folder, with_line: bool
) -> None:
    gone = folder.out / folder.name(STORED[1])
    gone.unlink()
    if not with_line:
        lines = (folder.out / "metadata.jsonl").read_bytes().splitlines(keepends=True)
        others = [line for line in lines if gone.name.encode() not in line]
        assert len(others) == len(lines) - 1
        (folder.out / "metadata.jsonl").write_bytes(b"".join(others))
    report = await folder.run()
    assert (report.ok, report.skipped) == (True, len(STORED))
    assert sorted(folder.service.prompts) == IN_FLIGHT
    there = whole_pictures(folder.out)
    assert len(there) == len(PROMPTS) - 1
    assert find_missing(journal_of(folder.out), there) == (1, gone.name)
