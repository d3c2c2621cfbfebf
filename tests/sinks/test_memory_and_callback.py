"""What the two plainest sinks promise: all is kept in order, or handed to the function and waited for."""

from __future__ import annotations

import asyncio
import errno
import functools
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import Mock

import pytest
from service import JPEG

from asi_image_async import CallbackSink, Generation, ImageRequest, MemorySink, Receipt
from asi_image_async.core.decode import to_image
from asi_image_async.errors import ConfigurationError

pytestmark = pytest.mark.anyio


def generation(prompt: str, count: int = 1) -> Generation:
    return Generation(request=ImageRequest(prompt=prompt), images=(to_image(JPEG),) * count)


async def test_memory_keeps_every_generation_in_the_order_of_completion() -> None:
    sink = MemorySink()
    assert repr(sink) == "MemorySink(0 generations)"
    made = [generation("a"), generation("b", 2)]
    await sink.open()
    receipts = [await sink.write(one) for one in made]
    await sink.close()
    assert list(sink) == sink.generations == made
    assert len(sink) == 2
    assert [receipt.bytes_written for receipt in receipts] == [len(JPEG), 2 * len(JPEG)]
    assert receipts[0].locations == ()
    await sink.open()
    assert len(sink) == 2


async def test_a_function_gets_each_generation_and_its_size_is_counted() -> None:
    seen: list[Generation] = []
    sink = CallbackSink(seen.append)
    await sink.open()
    receipt = await sink.write(generation("a", 3))
    await sink.close()
    assert [one.request.prompt for one in seen] == ["a"]
    assert receipt == Receipt(bytes_written=3 * len(JPEG))


async def test_an_async_function_is_waited_for() -> None:
    go_on = asyncio.Event()

    async def wait(_: Generation) -> None:
        await go_on.wait()

    writing = asyncio.create_task(CallbackSink(wait).write(generation("a")))
    await asyncio.sleep(0.01)
    assert not writing.done()
    go_on.set()
    assert (await writing).bytes_written == len(JPEG)


async def test_what_an_executor_is_given_to_do_is_waited_for() -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with ThreadPoolExecutor() as threads:
        with pytest.raises(OSError, match="No space left"):
            await CallbackSink(lambda _: threads.submit(fail)).write(generation("a"))


async def test_a_receipt_that_the_function_returns_is_kept_and_anything_else_is_not() -> None:
    mine = Receipt(("over there",), 5)
    assert await CallbackSink(lambda _: mine).write(generation("a")) is mine
    assert await CallbackSink(lambda _: "stored").write(generation("a")) == Receipt(bytes_written=len(JPEG))


async def test_what_the_function_raises_comes_out() -> None:
    def fail(_: Generation) -> None:
        raise LookupError("no")

    with pytest.raises(LookupError):
        await CallbackSink(fail).write(generation("a"))


@pytest.mark.parametrize("function", [lambda: None, lambda _, more: None])
def test_a_function_that_takes_no_generation_is_refused_before_anything_is_bought(function: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot be called with a Generation"):
        CallbackSink(function)


async def test_a_generator_which_would_never_run_is_no_sink() -> None:
    def plain(_: Generation) -> Iterator[None]:
        yield

    async def awaited(_: Generation) -> AsyncIterator[None]:
        yield

    class Called:
        def __call__(self, _: Generation) -> Iterator[None]:
            yield

    for function in (plain, awaited):
        with pytest.raises(ConfigurationError, match="is a generator"):
            CallbackSink(function)
    for hidden in (Called(), lambda generation: awaited(generation)):
        with pytest.raises(TypeError, match="a generator"):
            await CallbackSink(hidden).write(generation("a"))


async def test_a_function_that_wraps_another_one_is_called_as_it_is_itself() -> None:
    def two(generation: Generation, more: int) -> Receipt:
        return Receipt(bytes_written=more)

    @functools.wraps(two)
    def one(generation: Generation) -> Receipt:
        return two(generation, 5)

    for function in (one, functools.partial(two, more=5)):
        assert (await CallbackSink(function).write(generation("a"))).bytes_written == 5
    CallbackSink(Mock(spec=lambda generation: None))


@pytest.mark.parametrize("nonsense", [None, "out", 3])
def test_what_is_no_function_is_refused_at_once(nonsense: object) -> None:
    with pytest.raises(ConfigurationError, match=f"not {type(nonsense).__name__}"):
        CallbackSink(nonsense)  # type: ignore[arg-type]
