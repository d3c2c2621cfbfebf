"""Pictures handed to a function."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
from collections.abc import Callable

from ..errors import ConfigurationError
from ..models import Generation, Receipt

__all__ = ["CallbackSink"]


class CallbackSink:
    """Calls `function(generation)` for each generation and waits for what it gives, where that can be done.

    The picture counts as stored when the function has returned, so a slow one slows the sending. A sync
    function runs in the event loop: one that blocks should be async and use a thread. What it raises
    stops the run. A Receipt that it returns is kept, anything else is not. Raises ConfigurationError for
    what cannot be called so.
    """

    def __init__(self, function: Callable[[Generation], object]) -> None:
        if not callable(function):
            raise ConfigurationError(
                f"a sink is a Sink or a function, not {type(function).__name__}",
                hint="Give a DiskSink, a MemorySink, or a function that takes a Generation.",
            )
        _check(function)
        self._function = function

    async def open(self) -> None:
        """Nothing to make ready."""

    async def write(self, generation: Generation) -> Receipt:
        """Call the function."""
        result = self._function(generation)
        if inspect.isgenerator(result) or inspect.isasyncgen(result):
            raise TypeError("it gave a generator, which nobody runs")
        if isinstance(result, concurrent.futures.Future):  # as an executor's submit() gives it
            result = asyncio.wrap_future(result)
        if inspect.isawaitable(result):
            result = await result
        if isinstance(result, Receipt):
            return result
        return Receipt(bytes_written=sum(len(image.data) for image in generation.images))

    async def close(self) -> None:
        """Nothing to finish."""


def _check(function: Callable[..., object]) -> None:
    try:
        signature = inspect.signature(function, follow_wrapped=False)
        is_generator = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    except (TypeError, ValueError):  # one of C's, or a stand-in in a test, cannot be looked at
        return
    if is_generator:
        raise ConfigurationError(
            "the function of a sink is a generator, which would never run", hint="Leave out its yield."
        )
    try:
        signature.bind(None)
    except TypeError as error:
        raise ConfigurationError(
            f"the function of a sink cannot be called with a Generation: {error}",
            hint="Give it one parameter, the Generation.",
        ) from None
