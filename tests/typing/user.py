"""A user's code, never run: mypy reads it, so that the public types stay as people use them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import assert_type

from asi_image_async import (
    CallbackSink,
    DiskSink,
    Done,
    Failed,
    Generation,
    ImageRequest,
    ImageSession,
    MemorySink,
    Outcome,
    RateLimit,
    Receipt,
    RetryPolicy,
    RunReport,
    Sink,
    open_sink,
)
from asi_image_async.errors import APIStatusError, AsiImageError


class MySink:
    async def open(self) -> None: ...
    async def write(self, generation: Generation) -> Receipt:
        return Receipt()

    async def close(self) -> None: ...


async def endless() -> AsyncIterator[str | ImageRequest]:
    while True:
        yield "a cat"
        yield ImageRequest(prompt="a cat", seed=7)


def show(generation: Generation) -> None: ...


async def main() -> None:
    async with ImageSession("key", rate_limit=["3/min", RateLimit(500, per=86400)], retry=3) as session:
        generation = await session.generate("a cat", size="square", seed=7)
        assert_type(await generation.image.save("cat"), Path)
        assert_type(await session.gather(["a", {"prompt": "b"}]), list[Generation])
        both = await session.gather(["a"], return_exceptions=True)
        assert_type(both, list[Generation | AsiImageError])
        async with session.stream(endless(), ordered=True) as outcomes:
            async for outcome in outcomes:
                assert_type(outcome, Outcome)
                match outcome:
                    case Done(index, request, generation):
                        assert_type((index, request, generation), tuple[int, ImageRequest, Generation])
                    case Failed(error=APIStatusError() as error):
                        print(error.status, error.hint)
                if outcome.ok:
                    assert_type(outcome, Done)
                assert_type(outcome.unwrap(), Generation)
        sinks: list[Sink] = [DiskSink("out"), MemorySink(), CallbackSink(show), MySink(), open_sink("out/")]
        report = await session.run(["a"], sinks[0], journal="out/journal.sqlite")
        assert_type(report, RunReport)
        await session.run(["a"], show)
        await session.run(("a", "b"), lambda generation: generation.image.save("x"))
    ImageSession(retry=RetryPolicy(max_attempts=2), rate_limit=None)
