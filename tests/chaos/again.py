"""Trouble in the middle of a batch, the same batch again when it is over, and what all runs of it came to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine

from chaos.batch import Batch, Report, everything_agrees, lines_of, nothing_is_half, whole_pictures
from chaos.scale import Figures

Paid = Callable[[], Counter[str]]


async def amid(batch: Batch, trouble: Coroutine[None, None, None]) -> Report:
    """The report of a batch that something happens to meanwhile."""
    async with asyncio.TaskGroup() as both:
        running = both.create_task(batch.finish())
        both.create_task(trouble)
    return running.result()


async def again(batch: Batch, paid: Paid, first: Report, fault: str, *, times: int = 1) -> None:
    """Run the batch again, at most so many times, until all is there. `paid`: how often each prompt was.

    What a run pays for is there or told as unknown, no run pays twice for a prompt, and none for what is
    there. The figures are told.
    """
    runs, bills = [first], [paid()]
    nothing_is_half(batch.out)
    while not runs[-1]["ok"] and len(runs) <= times:
        there = {line["prompt"] for line in lines_of(batch.out)}
        before = paid()
        runs.append(await batch.finish())
        bills.append(paid() - before)
        assert there.isdisjoint(bills[-1])
    lost = [len(bill) - run["succeeded"] - run["unknown"] for run, bill in zip(runs, bills, strict=True)]
    figures = Figures(
        fault=fault,
        tries=sum(run["requests"] for run in runs),
        delivered=len(whole_pictures(batch.out)),
        lost=sum(max(0, each) for each in lost),
        billed_twice=sum(bill.total() - len(bill) for bill in bills),
        longest_hang=max(run["longest"] for run in runs),
        peak_mb=max((run["peak_mb"] for run in runs if run["peak_mb"]), default=None),
    )
    assert (figures.lost, figures.billed_twice) == (0, 0), (figures, runs)
    assert runs[-1]["ok"], runs
    await everything_agrees(batch.out, batch.prompts)
    figures.tell()
