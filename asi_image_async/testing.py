"""For users' own tests: a check that any sink keeps the contract.

The emulator's pytest fixture `asi_emulator` is the other half: it comes with the package.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
import pybase64

from .core.decode import to_image
from .models import Generation, ImageRequest, Receipt
from .protocols import Sink

__all__ = ["check_sink"]

T = TypeVar("T")

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


_PATIENCE = 30.0  # seconds; a sink that never answers is told, not waited for


async def check_sink(factory: Callable[[], Sink]) -> None:
    """Prove that the sinks `factory` makes keep the contract; raises AssertionError saying what they break.

    `factory()` is called several times and must give a new, unopened sink on the same place each time.
    """
    await _opens_and_closes_empty(factory())
    kept = await _keeps_all_that_come_together(factory())
    await _survives_a_cancelled_write(factory())
    for receipt, generation in kept:
        await _receipt_holds(receipt, generation, "still there when another sink has used the place")


async def _opens_and_closes_empty(sink: Sink) -> None:
    _promise(isinstance(sink, Sink), "it has async open(), write(generation) and close()")
    await _ask(sink.open, "open()")
    await _ask(sink.close, "close()")


async def _keeps_all_that_come_together(sink: Sink) -> list[tuple[Receipt, Generation]]:
    generations = [_generation(prompt, number) for number, prompt in enumerate(_PROMPTS)]
    generations.append(_generation(_PROMPTS[0], 0, occurrence=1))
    generations.append(_generation("several pictures", 0, 1, 0))
    kept: list[tuple[Receipt, Generation]] = []

    async def write(generation: Generation) -> None:
        kept.append((await _write(sink, generation), generation))

    await _ask(sink.open, "open()")
    try:
        async with anyio.create_task_group() as group:
            for generation in generations:
                group.start_soon(write, generation)
    except BaseExceptionGroup as raised:
        raise raised.exceptions[0] from None  # one broken promise is enough to read
    finally:
        await _ask(sink.close, "close()")
    seen: set[str] = set()
    for receipt, generation in kept:
        await _receipt_holds(receipt, generation, "still there when close() has returned")
        for location in map(os.fspath, receipt.locations):
            # Compared as macOS and Windows would.
            _promise(location.casefold() not in seen, f"each picture has a place of its own: {location}")
            seen.add(location.casefold())
    return kept


async def _survives_a_cancelled_write(sink: Sink) -> None:
    """And one that comes again, as after a crash: a run repeats what it did not write down."""
    await _ask(sink.open, "open()")
    try:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await _ask(lambda: sink.write(_generation("cancelled", 0)), "a cancelled write()")
        for _ in range(2):
            await _write(sink, _generation("after a cancelled one", 1))
    finally:
        await _ask(sink.close, "close()")


async def _write(sink: Sink, generation: Generation) -> Receipt:
    prompt = generation.request.prompt
    what = f"write() of a picture of {prompt[:40]!r}"
    receipt = await _ask(lambda: sink.write(generation), what)
    if not isinstance(receipt, Receipt):
        raise AssertionError(f"the sink breaks its contract: {what} returns {receipt!r}, not a Receipt")
    await _receipt_holds(receipt, generation, "there, whole, when write() returns")
    return receipt


async def _ask(call: Callable[[], Awaitable[T]], what: str) -> T:
    """Call a method, and say by name what is wrong with it."""
    with anyio.move_on_after(_PATIENCE):
        try:
            awaitable = call()
            if inspect.isawaitable(awaitable):
                return await awaitable
        except Exception as error:
            raise AssertionError(f"the sink breaks its contract: {what} raises {error!r}") from error
        raise AssertionError(f"the sink breaks its contract: {what} is async; it returns {awaitable!r}")
    raise AssertionError(f"the sink breaks its contract: {what} ends within {_PATIENCE:g} s")


async def _receipt_holds(receipt: Receipt, generation: Generation, how: str) -> None:
    size = sum(len(image.data) for image in generation.images)
    _promise(receipt.bytes_written >= size, f"bytes_written counts every image: {receipt} for {size} bytes")
    if receipt.locations:
        count = len(generation.images)
        _promise(len(receipt.locations) == count, f"a location for each image: {receipt} for {count}")
    for place, image in zip(receipt.locations, generation.images, strict=False):
        # What a sink in Python gives may be anything.
        location: object = os.fspath(place) if isinstance(place, os.PathLike) else place
        if not isinstance(location, str):
            raise AssertionError(f"the sink breaks its contract: a location is text or a path, not {place!r}")
        if not re.match(r"[a-z][a-z0-9+.-]+:", location):
            stored = await anyio.to_thread.run_sync(_read, location)
            _promise(_is_in(image.data, stored), f"{location} is {how}")


def _read(location: str) -> bytes:
    path = Path(location)
    return path.read_bytes() if path.is_file() else b""


def _is_in(data: bytes, stored: bytes) -> bool:
    """Whether all of a picture was stored, maybe with something put in, as a recipe is."""
    more = len(stored) - len(data)
    return more >= 0 and any(stored[:at] + stored[at + more :] == data for at in range(len(data) + 1))


def _generation(prompt: str, *kinds: int, occurrence: int = 0) -> Generation:
    images = tuple(to_image((_PNG, _GIF)[kind % 2]) for kind in kinds)
    return Generation(request=ImageRequest(prompt=prompt), images=images, occurrence=occurrence)


def _promise(kept: bool, promise: str) -> None:
    # Raised rather than asserted: it must hold under `python -O` too.
    if not kept:
        raise AssertionError(f"the sink breaks its contract: {promise}")
