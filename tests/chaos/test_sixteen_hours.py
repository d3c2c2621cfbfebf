"""Sixteen hours at three a minute, on a fake clock: the machine sleeps for one, the time of day is set."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from aiohttp import web
from chaos.batch import everything_agrees
from chaos.scale import Figures, scaled
from clock import Threads, on_a_fake_clock
from service import reply, serving

from asi_image_async import DiskSink, ImageSession, RunReport
from asi_image_async.group_thread import GroupThread

HOUR = 3600.0
HOURS = scaled(2, 16)
COUNT = HOURS * 180
LATENCY = 20.0
DAYLIGHT = 1_800_000_000.0  # some moment, in seconds since the epoch


@dataclass
class World:
    """What the machine does not see: the service's time, which goes on while the machine sleeps."""

    slept: float = 0.0
    set_by: float = 0.0  # by how much the time of day was set
    passed: deque[float] = field(default_factory=deque)
    sent: list[float] = field(default_factory=list)
    refused: int = 0
    billed: dict[str, int] = field(default_factory=dict)
    lines: set[asyncio.BaseTransport] = field(default_factory=set)

    def time_of_day(self) -> float:
        try:
            now = asyncio.get_running_loop().time()
        except RuntimeError:  # the journal's thread, whose stamps are for people
            return DAYLIGHT
        return DAYLIGHT + now + self.slept + self.set_by

    def sleep_for(self, seconds: float) -> None:
        """The machine's own clock stands still, and no line outlives it."""
        self.slept += seconds
        for line in self.lines:
            line.close()

    async def answer(self, number: int, request: web.Request) -> web.StreamResponse:
        """Three in any minute; a picture takes twenty seconds."""
        now = asyncio.get_running_loop().time()
        self.sent.append(now)
        while self.passed and self.passed[0] <= now + self.slept - 60:
            self.passed.popleft()
        if len(self.passed) >= 3:
            self.refused += 1
            return reply({"message": "too many requests"}, 429)
        self.passed.append(now + self.slept)
        prompt = (await request.json())["prompt"]
        self.billed[prompt] = self.billed.get(prompt, 0) + 1
        assert request.transport is not None
        self.lines.add(request.transport)
        await asyncio.sleep(LATENCY)
        self.lines.discard(request.transport)
        return reply()


async def happen(world: World) -> None:
    """What happens to a machine in such a time, in order."""
    happenings: list[tuple[float, Callable[[], None]]] = [
        (0.2, lambda: world.sleep_for(HOUR)),
        (0.4, lambda: setattr(world, "set_by", 2 * HOUR)),
        (0.6, lambda: setattr(world, "set_by", -5 * HOUR)),
    ]
    for when, happening in happenings:
        await asyncio.sleep(when * HOURS * HOUR - asyncio.get_running_loop().time())
        while not world.lines:  # it is to befall pictures on their way
            await asyncio.sleep(1)
        happening()


async def work(
    base_url: str, out: Path, prompts: list[str], rate: str, until: float | None = None
) -> RunReport:
    """One run, drained at a moment where one is given; then another may carry on."""
    loop = asyncio.get_running_loop()
    async with ImageSession("sk_chaos_0123456789", base_url=base_url, rate_limit=rate) as session:
        if until is not None:
            loop.call_at(until, session.drain)
        return await session.run(prompts, DiskSink(out), journal=out / ".asi-image" / "journal.sqlite")


async def sixteen_hours(world: World, out: Path, rate: str) -> list[RunReport]:
    prompts = [f"picture number {number}" for number in range(COUNT)]
    async with serving() as service:
        service.answer = world.answer
        happenings = asyncio.create_task(happen(world))
        # Begun anew in the middle of a minute, when the time of day has just been set back.
        first = await work(service.base_url, out, prompts, rate, until=0.7 * HOURS * HOUR + 30)
        world.set_by -= HOUR
        rest = await work(service.base_url, out, prompts, rate)
        last = await work(service.base_url, out, prompts, rate)  # asks again for what the sleep had cut off
        await happenings
    await everything_agrees(out, prompts)
    return [first, rest, last]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("rate", "refusals", "longer"), [("3/min", 0, 1.05), ("auto", 6 + HOURS * 6, 1.15)])
def test_three_a_minute_for_sixteen_hours_are_kept_and_used_whatever_the_clocks_do(
    rate: str, refusals: int, longer: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    threads = Threads()
    monkeypatch.setattr(time, "time", world.time_of_day)
    monkeypatch.setattr(anyio.to_thread, "run_sync", threads.counted(anyio.to_thread.run_sync))
    for name in ("open", "do", "close"):
        monkeypatch.setattr(GroupThread, name, threads.counted(getattr(GroupThread, name)))
    first, rest, last = on_a_fake_clock(sixteen_hours(world, tmp_path / "out", rate), threads)
    assert world.refused <= refusals
    assert first.succeeded + rest.succeeded + last.succeeded == COUNT
    cut_off = first.unknown + rest.unknown
    assert 1 <= cut_off <= 3
    assert last.succeeded == rest.unknown
    assert sum(world.billed.values()) == COUNT + cut_off
    assert max(later - earlier for earlier, later in pairwise(world.sent)) < 150
    assert world.sent[-1] < longer * HOURS * HOUR
    Figures(
        fault=f"{HOURS} hours at 3 a minute ({rate}), one of them asleep, the time of day set thrice",
        tries=len(world.sent),
        delivered=COUNT,
        lost=0,
        billed_twice=sum(world.billed.values()) - COUNT - cut_off,
        longest_hang=max(later - earlier for earlier, later in pairwise(world.sent)),
    ).tell()
