"""A run that is cancelled at any of its awaits stores what it has bought, and notes what it may have bought.

ASI_CHAOS=long strikes at each of them, the everyday form at every so-many-th.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from chaos.awaits import Strike, Task, moments, nothing_is_left, open_session, serving, waking
from chaos.batch import everything_agrees, journal_of
from chaos.scale import Figures

from asi_image_async import DiskSink, ImageRequest, RetryPolicy
from asi_image_async.core.naming import digest
from asi_image_async.emulator import Emulator, Fault
from asi_image_async.events import Event, RequestSucceeded
from asi_image_async.runtime.journal import Journal, State
from asi_image_async.runtime.journal.summary import read_summary

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

WIDTH = 2
PROMPTS = [f"prompt {number}" for number in range(5)]


@dataclass(frozen=True)
class Case:
    """A run, and what makes it await in other places: the service's knobs, the session's settings, its own.

    `learnt`: what an earlier run knew of the rate.
    """

    knobs: dict[str, Any] = field(default_factory=dict)
    session: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    learnt: str | None = None


# Awaits of a run that have to be struck: on a busy machine more is done in one turn of the loop.
FEWEST = 20
PEACE = Case()
CASES = {
    "with a budget, stamps and refusals": Case(
        {"faults": [Fault("error", status=503, every=4)]}, {"rate_limit": "1000/6s"}, {"max_images": 50}
    ),
    "with a pace that was learnt": Case(session={"rate_limit": "auto"}, learnt="[2000.0, 1.0]"),
    "with replies that are cut and asked for again": Case(
        {"faults": [Fault("cut-body", every=2)]},
        {"retry": RetryPolicy(backoff=0.001, max_attempts=20, resend_unknown=True)},
    ),
}


@dataclass
class Struck:
    """Runs that were struck, one after another, each with a folder of its own, and what came of them."""

    case: Case
    service: Emulator
    folder: Path
    tries: int = 0
    lost: int = 0
    billed_twice: int = 0
    longest: float = 0.0

    async def run(self, strike: Strike, limit: asyncio.Timeout | None = None) -> bool:
        """Whether it was struck; then what is stored and noted is all there is to account for."""
        out = self.folder / str(strike.at)
        self.service.received.clear()
        await self._teach(out)
        bought: set[str] = set()
        watch = partial(note, bought)
        width = WIDTH
        async with open_session(self.service.base_url, width, observer=watch, **self.case.session) as session:
            before = asyncio.all_tasks()
            run = partial(session.run, PROMPTS, journal=journal_of(out), **self.case.run)
            call = await strike.on(within(limit or asyncio.timeout(None), run(DiskSink(out))))
            if not strike.times or (limit is not None and not limit.expired()):
                return False  # it had ended before
            assert ended_with(call, asyncio.CancelledError if limit is None else TimeoutError), strike
            nothing_is_left(session, before, WIDTH)
            done, unknown = await noted(out)
            assert bought <= done, strike
            self.lost += len(set(self.service.billed_by_prompt) - done - unknown)
            if self.case.run:
                assert read_summary(journal_of(out)).spent == len(done | unknown), strike

            report = await run(DiskSink(out))
            assert (report.ok, report.skipped) == (True, len(done)), strike
        await everything_agrees(out, PROMPTS)
        self._count(strike, unknown)
        return True

    async def _teach(self, out: Path) -> None:
        if self.case.learnt is not None:
            async with Journal(journal_of(out)) as journal:
                await journal.note("learnt", self.case.learnt)

    def _count(self, strike: Strike, unknown: set[str]) -> None:
        self.tries += 1
        self.longest = max(self.longest, strike.took)
        if "retry" not in self.case.session:  # there each is sent again by the user's word
            for prompt, times in self.service.billed_by_prompt.items():
                self.billed_twice += max(0, times - 1 - (prompt in unknown))

    def tell(self, fault: str) -> None:
        delivered = self.tries * len(PROMPTS)
        Figures(
            fault=fault,
            tries=self.tries,
            delivered=delivered,
            lost=self.lost,
            billed_twice=self.billed_twice,
            longest_hang=self.longest,
        ).tell()


async def within(limit: asyncio.Timeout, call: Awaitable[Any]) -> None:
    async with limit:
        await call


def ended_with(call: Task, error: type[BaseException]) -> bool:
    return call.cancelled() if error is asyncio.CancelledError else isinstance(call.exception(), error)


def note(bought: set[str], event: Event) -> None:
    if isinstance(event, RequestSucceeded):
        bought.add(event.request.prompt)


async def noted(out: Path) -> tuple[set[str], set[str]]:
    """Which prompts are done and which unknown, by the journal, which is free at once."""
    states: dict[State | None, set[str]] = defaultdict(set)
    if journal_of(out).exists():
        async with Journal(journal_of(out)) as journal:
            for prompt in PROMPTS:
                claim = await journal.claim(digest(ImageRequest(prompt=prompt)))
                states[claim.state].add(prompt)
    return states[State.DONE], states[State.UNKNOWN]


@waking
async def test_a_run_cancelled_at_any_await_stores_what_it_bought_and_notes_what_it_may_have(
    waking: bool, tmp_path: Path
) -> None:
    with serving() as service:
        runs = Struck(PEACE, service, tmp_path)
        for at in moments(9):
            if not await runs.run(Strike(at, waking=waking)):
                break
    assert at > FEWEST
    assert (runs.lost, runs.billed_twice) == (0, 0)
    if not waking:
        runs.tell("a run cancelled at each of its awaits")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_so_does_a_run_that_has_more_to_wait_for(case: Case, tmp_path: Path) -> None:
    with serving(**case.knobs) as service:
        runs = Struck(case, service, tmp_path)
        for at in moments(9):
            if not await runs.run(Strike(at, waking=random.random() < 0.5)):
                break
    assert at > FEWEST
    assert (runs.lost, runs.billed_twice) == (0, 0)


async def test_a_run_cancelled_twice_in_a_row_does_so_too(tmp_path: Path) -> None:
    with serving() as service:
        runs = Struck(PEACE, service, tmp_path)
        for at in moments(7):
            if not await runs.run(Strike(at, waking=at % 3 == 0, again=1 + at % 5)):
                break
    assert at > FEWEST
    assert (runs.lost, runs.billed_twice) == (0, 0)
    runs.tell("a run cancelled twice in a row")


async def test_a_run_whose_time_is_over_at_any_await_does_so_too(tmp_path: Path) -> None:
    with serving() as service:
        runs = Struck(PEACE, service, tmp_path)
        for at in moments(7):
            limit = asyncio.timeout(None)
            strike = Strike(at, waking=at % 2 == 0, act=lambda _, limit=limit: limit.reschedule(0.0))
            if not await runs.run(strike, limit):
                break
    assert at > FEWEST
    assert (runs.lost, runs.billed_twice) == (0, 0)
