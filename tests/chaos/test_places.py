"""A folder that changes under a run: it may not be written any more, or it or the journal is taken away."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from aiohttp import web
from chaos.batch import Batch, Report, everything_agrees, journal_of, nothing_is_half, whole_pictures
from chaos.here import run_here
from chaos.scale import Figures, scaled
from service import Service, reply

from asi_image_async.runtime.journal.summary import read_summary

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows takes nothing away that is in use"),
]

PROMPTS = [f"picture number {n}, of many" for n in range(40)]
WIDTH = 8
STORED = 16  # before it happens; the next ones are in flight then
# Root may write anywhere, but for a root that has laid that right down.
AS_ANYBODY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


@dataclass
class Trials:
    """Batches to whose folders something happens with `WIDTH` in flight, and which are then given again.

    `gone`: how many stored pictures the user took all trace of each time, whose buying again is meant.
    """

    service: Service
    folder: Path
    gone: int = 0
    again: list[int] = field(default_factory=list)
    delivered: int = 0
    longest: float = 0.0
    peak_mb: float = 0.0

    @property
    def out(self) -> Path:
        """Where the pictures of this trial go."""
        return self.folder / str(len(self.again))

    async def stopped(self, by: Callable[[], object], before: Sequence[str] = ()) -> Report:
        """What a run says to whose folder it happened; it has bought nothing after that."""
        happens = asyncio.Event()

        async def draw(number: int, request: web.Request) -> web.Response:
            if number >= STORED:
                await happens.wait()
            return reply()

        self.service.answer = draw
        self.service.bodies.clear()
        batch = Batch(self.service.base_url, self.out, PROMPTS, width=WIDTH, rate_limit=None, before=before)
        running = asyncio.create_task(batch.finish())
        async with asyncio.timeout(20):
            while self.service.in_flight < WIDTH or read_summary(journal_of(self.out)).done < STORED:
                await asyncio.sleep(0.005)
        by()
        happens.set()
        report = await running
        assert (report["ok"], report["raised"]) == (False, False)
        assert report["requests"] == STORED + WIDTH
        self.longest, self.peak_mb = (
            max(self.longest, report["longest"]),
            max(self.peak_mb, report["peak_mb"]),
        )
        return report

    async def given_again(self) -> None:
        """Once it is mended all comes to be there."""
        report = await run_here(self.service.base_url, self.out, PROMPTS)
        assert report.ok, report
        await everything_agrees(self.out, PROMPTS)
        again = len(self.service.bodies) - len(PROMPTS)
        assert again <= WIDTH + self.gone
        self.delivered += len(whole_pictures(self.out))
        self.again.append(again)

    def tell(self, fault: str) -> None:
        tries = len(self.again)
        meant = f", {tries * self.gone} of them taken away by hand" if self.gone else ""
        Figures(
            fault=f"{fault} ({sum(self.again)} bought again{meant})",
            tries=tries,
            delivered=self.delivered,
            lost=tries * len(PROMPTS) - self.delivered,
            billed_twice=sum(max(0, again - WIDTH - self.gone) for again in self.again),
            longest_hang=self.longest,
            peak_mb=self.peak_mb,
        ).tell()


@pytest.fixture
def trials(service: Service, tmp_path: Path) -> Trials:
    return Trials(service, tmp_path)


@pytest.mark.skipif(
    bool(AS_ANYBODY) and shutil.which("setpriv") is None, reason="root may write anywhere, without setpriv"
)
async def test_a_folder_made_read_only_stops_the_run_by_name_and_is_filled_once_it_may_be(
    trials: Trials,
) -> None:
    parts = ["", ".asi-image", ".asi-image/tmp"]
    for which in scaled([parts], [[""], [".asi-image/tmp"], parts]):
        folders = [trials.out / part for part in which]
        stopped = await trials.stopped(lambda f=folders: [each.chmod(0o555) for each in f], AS_ANYBODY)
        assert stopped["stopped_by"] == "SinkError"
        assert "Permission denied" in stopped["said"]
        assert len(whole_pictures(trials.out)) == STORED
        nothing_is_half(trials.out)
        assert read_summary(journal_of(trials.out)).done == STORED
        for each in folders:
            each.chmod(0o755)
        await trials.given_again()
    trials.tell("a folder made read-only")


async def test_a_folder_that_was_deleted_stops_the_run_by_name_at_once(trials: Trials) -> None:
    trials.gone = STORED
    stopped = await trials.stopped(lambda: shutil.rmtree(trials.out))
    assert stopped["stopped_by"] in ("SinkError", "JournalError")
    assert "cannot write to" in stopped["said"] or "moved, removed or replaced" in stopped["said"]
    assert not trials.out.exists()
    await trials.given_again()
    trials.tell("a folder deleted")


async def test_a_journal_that_was_moved_stops_the_run_by_name_and_brought_back_it_knows_all(
    trials: Trials, tmp_path: Path
) -> None:
    elsewhere, journal = tmp_path / "elsewhere", journal_of(trials.out)
    stopped = await trials.stopped(lambda: journal.rename(elsewhere))
    assert stopped["stopped_by"] == "JournalError"
    assert "moved, removed or replaced" in stopped["said"]
    assert not journal.exists()
    nothing_is_half(trials.out)
    elsewhere.rename(journal)
    await trials.given_again()
    trials.tell("the journal moved, and brought back")


async def test_a_journal_that_was_deleted_stops_the_run_by_name_and_what_it_knew_is_bought_again(
    trials: Trials,
) -> None:
    trials.gone = STORED
    for names in scaled(["journal.sqlite*"], ["journal.sqlite", "journal.sqlite*"]):
        state = trials.out / ".asi-image"
        stopped = await trials.stopped(lambda n=names, s=state: [each.unlink() for each in s.glob(n)])
        assert stopped["stopped_by"] == "JournalError"
        assert "moved, removed or replaced" in stopped["said"]
        assert len(whole_pictures(trials.out)) == STORED + WIDTH  # what was in flight too
        nothing_is_half(trials.out)
        await trials.given_again()
    trials.tell("the journal deleted")


async def test_with_too_few_open_files_the_run_stops_by_name_and_with_enough_it_goes_on(
    service: Service, tmp_path: Path
) -> None:
    async def draw(number: int, request: web.Request) -> web.Response:
        await asyncio.sleep(0.01)
        return reply()

    service.answer = draw
    delivered = bought = stops = 0
    limits = scaled([18], range(8, 32, 2))
    for number in limits:
        out = tmp_path / str(number)
        batch = Batch(service.base_url, out, PROMPTS, width=WIDTH, retry={"backoff": 0.01})
        before = len(service.bodies)
        report = await replace(batch, limits={"RLIMIT_NOFILE": number}).finish()
        if not report["ok"]:
            stops += 1
            assert report["stopped_by"] in ("JournalError", "SinkError", "APIConnectionError"), report
            assert "open" in report["said"], report
            nothing_is_half(out)
            assert (await run_here(service.base_url, out, PROMPTS)).ok
        assert len(service.bodies) - before <= len(PROMPTS) + WIDTH
        await everything_agrees(out, PROMPTS)
        delivered += len(whole_pictures(out))
        bought += len(service.bodies) - before
    wanted = len(limits) * len(PROMPTS)
    assert stops > 0
    Figures(
        fault=f"too many open files ({bought - wanted} bought had none left)",
        tries=len(limits),
        delivered=delivered,
        lost=wanted - delivered,
        billed_twice=max(0, bought - wanted - stops * WIDTH),
    ).tell()
