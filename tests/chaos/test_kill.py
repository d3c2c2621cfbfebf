"""`kill -9` at any moment: what was finished stays, what was in flight is asked again, nothing is half."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from chaos.batch import Batch, Forked, Forking, everything_agrees, journal_of, whole_pictures
from chaos.scale import Figures, scaled
from service import JPEG, Service, reply

from asi_image_async import ImageSession, MemorySink
from asi_image_async.core.naming import digest
from asi_image_async.errors import BudgetExceededError
from asi_image_async.models import ImageRequest
from asi_image_async.runtime.journal import Journal, State
from asi_image_async.runtime.journal.summary import read_states, read_summary

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9"),
]

KILLS = scaled(10, 200)
MIDDLE = KILLS * 9 // 10  # the others come when all is there
PROMPTS = [f"picture number {n}, of many" for n in range(scaled(100, 2000))]
WIDTH = 8


@dataclass
class Killer:
    """A batch that is started and killed again and again, and what that has cost so far."""

    service: Service
    batch: Batch
    forking: Forking
    chance: random.Random
    kills: int = 0
    done: int = 0
    bought_again: int = 0  # what an earlier run had written down, or twice in one run: never to be
    most_in_flight: int = 0

    async def kill(self, moment: Callable[[Forked], Awaitable[None]]) -> None:
        """One start and a kill at that moment, then a look at what is left."""
        before = len(self.service.bodies)
        process = await self.forking.start(self.batch)
        async with asyncio.timeout(20):
            await moment(process)
        if process.returncode is None:
            process.kill()
        await process.wait()
        self.kills += process.returncode == -signal.SIGKILL
        async with asyncio.timeout(5):
            while self.service.in_flight:  # what the dead process sent is read to its end
                await asyncio.sleep(0.001)
        self.look(self.service.prompts[before:])

    def look(self, asked: list[str]) -> None:
        """What has a final name is whole, and what the journal knew it has not forgotten."""
        journal = journal_of(self.batch.out)
        if not journal.exists():
            assert asked == []
            return
        summary = read_summary(journal)
        done = summary.done + summary.earlier
        pictures = [path.read_bytes() for path in self.batch.out.glob("*.*g")]
        assert set(pictures) <= {JPEG}
        assert self.done <= done <= len(pictures) <= done + WIDTH
        different = set(asked)
        digests = [digest(ImageRequest(prompt=prompt)) for prompt in different]
        finished = Counter(read_states(journal, digests))[State.DONE]
        self.bought_again += len(asked) - len(different) + finished - (done - self.done)
        self.most_in_flight = max(self.most_in_flight, len(different) - finished)
        self.done = done

    async def while_it_begins(self, process: Forked) -> None:
        """Before its first line, or up to its first requests."""
        await asyncio.sleep(self.chance.uniform(0, 0.1))

    async def while_it_makes_its_files(self, process: Forked, longest: float = 0.02) -> None:
        """Just after it took the lock: it makes or opens its journal, then the sink."""
        lock = Path(f"{journal_of(self.batch.out)}.lock")
        lock.unlink(missing_ok=True)
        while not lock.exists() and process.returncode is None:
            await asyncio.sleep(0.001)
        await asyncio.sleep(self.chance.uniform(0, longest))

    async def while_it_works(self, process: Forked) -> None:
        """After some requests, with others in every state from asked for to written down."""
        share = 2 * (len(PROMPTS) - self.done) // max(1, MIDDLE - self.kills)
        goal = len(self.service.bodies) + self.chance.randint(1, max(1, share))
        while len(self.service.bodies) < goal and process.returncode is None:
            await asyncio.sleep(0.001)
        await asyncio.sleep(self.chance.uniform(0, 0.02))

    async def while_it_ends(self, process: Forked) -> None:
        """With all there already: it tidies up after the last kill, passes all over, and closes."""
        await self.while_it_makes_its_files(process, longest=0.15)


async def kill_at_all_moments(killer: Killer) -> None:
    for _ in range(KILLS // 20):  # with no journal there yet, for as long as none is made
        await killer.kill(killer.while_it_makes_its_files)
    moments = [killer.while_it_begins, killer.while_it_makes_its_files, *[killer.while_it_works] * 8]
    while killer.kills < MIDDLE:
        await killer.kill(killer.chance.choice(moments))
    assert (await killer.batch.finish())["ok"]
    killer.done = len(PROMPTS)
    for _ in range(15 * (KILLS - MIDDLE)):  # many come too late
        if killer.kills < KILLS:
            await killer.kill(killer.while_it_ends)


@pytest.mark.timeout(scaled(60, 400))
async def test_kill_9_at_any_moment_loses_nothing_that_was_finished(service: Service, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)

    async def draw(number: int, request: web.Request) -> web.Response:
        await asyncio.sleep(chance.uniform(0.005, 0.02))
        return reply()

    service.answer = draw
    out = tmp_path / "out"
    async with Forking() as forking:
        killer = Killer(service, Batch(service.base_url, out, PROMPTS, width=WIDTH), forking, chance)
        await kill_at_all_moments(killer)
    assert killer.kills == KILLS
    assert killer.bought_again == 0
    assert killer.most_in_flight <= WIDTH

    last = await killer.batch.finish()
    assert (last["ok"], last["requests"], last["skipped"]) == (True, 0, len(PROMPTS)), last
    await everything_agrees(out, PROMPTS)
    again = len(service.bodies) - len(PROMPTS)
    assert again <= KILLS * WIDTH
    Figures(
        fault=f"kill -9 at any moment ({again} in flight then were bought again)",
        tries=KILLS,
        delivered=len(whole_pictures(out)),
        lost=len(PROMPTS) - len(whole_pictures(out)),
        billed_twice=killer.bought_again,
        peak_mb=last["peak_mb"],
    ).tell()


async def test_what_was_in_flight_at_a_kill_is_left_alone_where_that_was_said_and_is_spent(
    service: Service, tmp_path: Path
) -> None:
    async def draw(number: int, request: web.Request) -> web.Response:
        if not killed:
            await asyncio.sleep(30)
        return reply()

    killed, prompts = False, PROMPTS[:20]
    service.answer = draw
    batch = Batch(service.base_url, tmp_path / "out", prompts, width=WIDTH)
    process = await batch.start()
    async with asyncio.timeout(20):
        while len(service.bodies) < WIDTH:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.5)
    process.kill()
    await process.communicate()
    killed, in_flight = True, set(service.prompts)

    journal = journal_of(tmp_path / "out")
    async with ImageSession("sk_chaos_0123456789abcdef", base_url=service.base_url) as session:
        few = await session.run(prompts, MemorySink(), journal=journal, max_images=WIDTH)
        assert (few.succeeded, type(few.stopped_by)) == (0, BudgetExceededError)
        book = Journal(journal, ask_unknown_again=False)
        rest = await session.run(prompts, MemorySink(), journal=book)
    assert len(in_flight) == rest.unknown == WIDTH
    assert sorted(service.prompts) == sorted(prompts)  # each once
