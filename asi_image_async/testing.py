"""For users' own tests: a check that any sink keeps the contract.

The emulator's pytest fixture `asi_emulator` is the other half: it comes with the package.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import pybase64

from .core.decode import to_image
from .models import Generation, ImageRequest, Receipt
from .protocols import Sink

__all__ = ["check_sink"]

# The smallest PNG, and the smallest GIF: two kinds, so that a sink that assumes one is found out.
_PNG = pybase64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
_GIF = pybase64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_PROMPTS = (
    "a lighthouse at dawn",
    "A Lighthouse At Dawn",
    "../../escape",
    "C:\\con",
    "two\nlines\x00and\x1b[31m red",
    "\u202eright to left, 日本 and an emoji \U0001f3a8",
    "long " * 2000,
    "...",
)


async def check_sink(factory: Callable[[], Sink]) -> None:
    """Prove that the sinks `factory` makes keep the contract; raises AssertionError saying what they break.

    `factory()` is called several times and must give a new, unopened sink on the same place each time.
    """
    sink = factory()
    _promise(isinstance(sink, Sink), "it has async open(), write(generation) and close()")
    await _opens_and_closes_empty(sink)
    await _keeps_all_that_come_together(factory())
    await _survives_a_cancelled_write(factory())


async def _opens_and_closes_empty(sink: Sink) -> None:
    await sink.open()
    await sink.close()


async def _keeps_all_that_come_together(sink: Sink) -> None:
    generations = [_generation(prompt, number) for number, prompt in enumerate(_PROMPTS)]
    generations.append(_generation(_PROMPTS[0], 0, occurrence=1))
    generations.append(_generation("several pictures", 0, 1, 0))
    receipts: dict[int, Receipt] = {}

    async def write(number: int) -> None:
        receipts[number] = await sink.write(generations[number])

    await sink.open()
    try:
        async with anyio.create_task_group() as group:
            for number in range(len(generations)):
                group.start_soon(write, number)
    finally:
        await sink.close()
    seen: set[str] = set()
    for number, generation in enumerate(generations):
        await _receipt_holds(receipts[number], generation)
        for location in receipts[number].locations:
            _promise(location.casefold() not in seen, f"each picture has a place of its own: {location}")
            seen.add(location.casefold())


async def _survives_a_cancelled_write(sink: Sink) -> None:
    await sink.open()
    try:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await sink.write(_generation("cancelled", 0))
        generation = _generation("after a cancelled one", 1)
        await _receipt_holds(await sink.write(generation), generation)
    finally:
        await sink.close()


async def _receipt_holds(receipt: object, generation: Generation) -> None:
    if not isinstance(receipt, Receipt):
        raise AssertionError(f"the sink breaks its contract: write() returns {receipt!r}, not a Receipt")
    size = sum(len(image.data) for image in generation.images)
    _promise(receipt.bytes_written >= size, f"bytes_written counts every image: {receipt} for {size} bytes")
    if receipt.locations:
        count = len(generation.images)
        _promise(len(receipt.locations) == count, f"a location for each image: {receipt} for {count}")
    for location, image in zip(receipt.locations, generation.images, strict=False):
        if not re.match(r"[a-z][a-z0-9+.-]+:", location):
            stored = await anyio.to_thread.run_sync(_read, location)
            _promise(stored == image.data, f"{location} is there, whole, when write() returns")


def _read(location: str) -> bytes | None:
    path = Path(location)
    return path.read_bytes() if path.is_file() else None


def _generation(prompt: str, *kinds: int, occurrence: int = 0) -> Generation:
    images = tuple(to_image((_PNG, _GIF)[kind % 2]) for kind in kinds)
    return Generation(request=ImageRequest(prompt=prompt), images=images, occurrence=occurrence)


def _promise(kept: bool, promise: str) -> None:
    # Raised rather than asserted: it must hold under `python -O` too.
    if not kept:
        raise AssertionError(f"the sink breaks its contract: {promise}")
