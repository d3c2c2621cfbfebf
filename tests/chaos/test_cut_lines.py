"""A line that breaks anywhere, on the way up or down: what was billed is delivered or told, and paid once.

ASI_CHAOS=long breaks it for hundreds of requests at each place.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from chaos.batch import (
    Batch,
    Report,
    everything_agrees,
    journal_of,
    nothing_is_half,
)
from chaos.line import WAY_UP, Act, Framing, Line, Passage, Place, in_front, prompt_of, whole
from chaos.programs import free_port
from chaos.scale import SLACK, Figures, scaled
from conftest import KEY

from asi_image_async import ImageSession
from asi_image_async.core.naming import digest
from asi_image_async.emulator import emulator
from asi_image_async.models import ImageRequest
from asi_image_async.runtime.journal import Journal, State

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

PROMPTS = [f"picture number {number}" for number in range(scaled(36, 300))]
WIDTH = 32
TIMEOUT = 1.0
DOWN = (Place.BEFORE_HEADERS, Place.WITHIN_HEADERS, Place.WITHIN_PICTURE, Place.BEFORE_LAST_BYTE)
BREAKS = (Act.CUT, Act.RESET, Act.STALL)


@dataclass
class Strikes:
    """Every so-many-th request passes in one of these ways, in turn; `struck`: their prompts."""

    passages: Sequence[Passage]
    every: int = 3
    struck: dict[str, Passage] = field(default_factory=dict)

    def __call__(self, number: int, request: bytes) -> Passage:
        turn, rest = divmod(number, self.every)
        if rest:
            return Passage(framing=list(Framing)[turn % len(Framing)])
        return self.struck.setdefault(prompt_of(request), self.passages[turn % len(self.passages)])


def breaking(places: Sequence[Place], acts: Sequence[Act] = BREAKS) -> list[Passage]:
    """Every act at every place in a reply of every framing, in a mixed order."""
    chance = random.Random(1)
    ways = [
        Passage(act, place, framing, depth=chance.random())
        for act, place, framing in itertools.product(acts, places, Framing)
    ]
    chance.shuffle(ways)
    return ways


@dataclass
class Story:
    """What became of a batch on a line that breaks, and of the same batch on a good line after that."""

    first: Report
    again: Report
    told: dict[str, State | None]
    bought: Counter[str]
    bought_in_all: Counter[str]
    struck: dict[str, Passage]

    def having(self, state: State) -> set[str]:
        return {prompt for prompt, said in self.told.items() if said is state}

    @property
    def done(self) -> set[str]:
        return self.having(State.DONE)

    @property
    def unknown(self) -> set[str]:
        return self.having(State.UNKNOWN)

    def holds(self) -> None:
        """What no broken line may change."""
        assert (self.first["stopped_by"], self.first["failed"]) == (None, 0), self.first
        assert self.done | self.unknown == set(PROMPTS)
        assert self.first["unknown"] == len(self.unknown)
        assert self.bought.keys() >= self.done
        assert set(self.bought.values()) == {1}
        assert self.again["ok"], self.again
        assert (self.again["requests"], self.again["skipped"]) == (len(self.unknown), len(self.done))
        assert self.first["longest"] < TIMEOUT + SLACK

    def figures(self, fault: str, *, tries: int) -> Figures:
        """Bought again beyond the user's word: more often than once, and once more where it was unknown."""
        lost = [prompt for prompt in self.bought if prompt not in self.done | self.unknown]
        beyond = sum(self.bought_in_all.values()) - len(PROMPTS) - len(self.unknown & self.bought.keys())
        return Figures(
            fault=fault,
            tries=tries,
            delivered=self.again["skipped"] + self.again["succeeded"],
            lost=len(lost),
            billed_twice=beyond,
            longest_hang=self.first["longest"],
            peak_mb=self.first["peak_mb"],
        )


async def told(out: Path) -> dict[str, State | None]:
    """What the journal says of each prompt."""
    async with Journal(journal_of(out)) as journal:
        return {
            prompt: (await journal.claim(digest(ImageRequest(prompt=prompt)))).state for prompt in PROMPTS
        }


async def nothing(line: Line) -> None:
    """What is done meanwhile in most stories."""


def sizes(chance: random.Random) -> list[int]:
    return [chance.randint(1, 200) for _ in range(20)]


async def unbroken() -> bytes:
    """The picture, with no line in between."""
    async with emulator(canned=1) as base_url, ImageSession(KEY, base_url=base_url) as session:
        return (await session.generate("a cat")).image.data


async def a_story(
    out: Path, strikes: Strikes, meanwhile: Callable[[Line], Awaitable[None]] = nothing
) -> Story:
    async with in_front(strikes, latency=0.002, port=free_port()) as (service, line):
        batch = Batch(
            line.base_url,
            out,
            PROMPTS,
            width=WIDTH,
            timeout=TIMEOUT,
            retry={"backoff": 0.05, "max_backoff": 0.2, "max_attempts": 50},
        )
        async with asyncio.timeout(60), asyncio.TaskGroup() as both:
            finish = both.create_task(batch.finish())
            both.create_task(meanwhile(line))
        first = finish.result()
        nothing_is_half(out)
        bought, said = service.billed_by_prompt, await told(out)
        line.decide = whole
        again = await batch.finish()
    await everything_agrees(out, PROMPTS)
    return Story(first, again, said, bought, service.billed_by_prompt, strikes.struck)


@pytest.mark.parametrize(
    ("where", "places"),
    scaled(
        [("anywhere", (*WAY_UP, *DOWN))],
        [("under the request", WAY_UP), *((place.value, [place]) for place in DOWN)],
    ),
)
async def test_a_line_that_breaks_is_unknown_and_nothing_is_paid_for_twice(
    tmp_path: Path, where: str, places: Sequence[Place]
) -> None:
    story = await a_story(tmp_path / "out", Strikes(breaking(places)))
    story.holds()
    # Nobody on this side can see that a request did not arrive.
    assert story.unknown == story.struck.keys()
    not_arrived = {prompt for prompt, passage in story.struck.items() if passage.place in WAY_UP}
    assert story.bought.keys() == set(PROMPTS) - not_arrived
    story.figures(f"line broken {where}", tries=len(story.struck)).tell()


async def test_a_line_cut_after_the_end_of_a_reply_loses_nothing(tmp_path: Path) -> None:
    ways = breaking([Place.AFTER_END], [Act.CUT, Act.RESET])
    # At once, and a little later: idle, or under the next request, which is never billed then.
    ways += [replace(way, wait=0.001 * number) for number, way in enumerate(ways)]
    story = await a_story(tmp_path / "out", Strikes(ways))
    story.holds()
    assert story.struck.keys() <= story.done == story.bought.keys()
    story.figures("line cut after the reply", tries=len(story.struck)).tell()


async def test_a_reply_in_pieces_or_late_is_the_same_picture(tmp_path: Path) -> None:
    chance = random.Random(2)
    ways = [
        Passage(Act.DELAY, place, framing, wait=0.02, chunks=sizes(chance), pieces=sizes(chance))
        for place, framing in itertools.product(Place, Framing)
    ]
    story = await a_story(tmp_path / "out", Strikes(ways, every=1))
    story.holds()
    assert story.done == set(PROMPTS)
    assert story.first["requests"] == len(PROMPTS)
    digests = {hashlib.sha256(path.read_bytes()).digest() for path in (tmp_path / "out").glob("*.jpg")}
    assert digests == {hashlib.sha256(await unbroken()).digest()}
    story.figures("reply in pieces and late", tries=len(story.struck)).tell()


async def test_while_the_line_is_down_nothing_is_given_up_but_what_was_in_flight(tmp_path: Path) -> None:
    downs = scaled(1, 4)

    async def meanwhile(line: Line) -> None:
        for down in range(1, downs + 1):
            while line.requests < len(PROMPTS) * down // (downs + 1):
                await asyncio.sleep(0.001)
            await line.down()
            await asyncio.sleep(0.3)
            await line.up()

    story = await a_story(tmp_path / "out", Strikes([Passage()]), meanwhile)
    story.holds()
    assert len(story.unknown) <= downs * WIDTH
    assert story.first["requests"] > len(PROMPTS)  # some were refused, and tried again
    story.figures("line down", tries=downs).tell()
