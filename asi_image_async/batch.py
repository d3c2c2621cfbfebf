"""Prompts asked together: each an outcome, and an early end, by name, where all would fail alike."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence, Sized
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel

from .brake import Brake, Stopped
from .core.backoff import brings_nothing, stops_all
from .core.usage import Usage
from .errors import APIError, AsiImageError, ConfigurationError
from .exchange import Exchange, Item
from .models import Generation, ImageRequest, Prompt
from .outcomes import Done, Failed, Outcome
from .policies import RetryPolicy
from .protocols import Prompts
from .runtime.pump import Source, each

__all__ = [
    "Batch",
    "UntilStopped",
    "Watched",
    "check_beside",
    "check_prompts",
    "in_places",
    "read_all",
    "session_left",
    "to_request",
    "to_requests",
]

# Of a list, so many are made requests in one step: the loop is the app's.
_IN_ONE_STEP = 128


class Batch:
    """The prompts of one `gather`, `stream` or `run`: they share two brakes, and what stopped them.

    `intake` stops the pulling of prompts, `brake` what was pulled and has not been sent. `ends_at_first`: the
    first error ends everything, so none is kept back until what is in flight has come.
    """

    def __init__(
        self, exchange: Exchange, policy: RetryPolicy, usage: Usage, *, ends_at_first: bool = False
    ) -> None:
        self.intake = Brake()
        self.brake = Brake()
        self.stopped_by: AsiImageError | None = None
        self._exchange = exchange
        self._policy = policy
        self._usage = usage
        self._ends_at_first = ends_at_first
        self._unreached = self._for_nothing = 0  # prompts in a row
        self._id = secrets.token_hex(8)

    def drain(self) -> None:
        """Ask for nothing more; what is in flight is finished."""
        self.intake.pull()
        self.brake.pull()

    def stop(self, error: AsiImageError) -> None:
        """Ask for nothing more, because of `error`; what is in flight is finished."""
        self.close(error)
        self.drain()

    def close(self, error: AsiImageError) -> None:
        """Pull no more prompts, because of `error`; those that were pulled go their way."""
        if self.stopped_by is None:
            self.stopped_by = error
        self.intake.pull()

    async def ask(self, item: Item) -> Generation:
        """Raises APIError where this item failed, Stopped where all would (the batch is then stopped)."""
        try:
            return await self._exchange.ask(item, self.brake)
        except ConfigurationError as error:  # the user's own http session cannot be used, or no longer
            self.stop(error)
            raise Stopped from error
        except APIError as error:
            if self._ends_at_first:
                raise
            succeeded = self._usage.images > 0
            self._unreached = 0 if self._exchange.has_left else self._unreached + 1
            self._for_nothing = self._for_nothing + 1 if brings_nothing(error) else 0
            if stops_all(
                error,
                anything_succeeded=succeeded,
                policy=self._policy,
                unreached=self._unreached,
                for_nothing=self._for_nothing,
            ):
                self.stop(error)
                raise (item.unknown[-1] if item.unknown else Stopped) from error
            raise

    async def outcome(self, index: int, prompt: Prompt) -> Outcome:
        """What becomes of one prompt."""
        request = to_request(index, prompt)
        if isinstance(request, Failed):
            return request
        try:
            item = Item(request, idempotency_key=f"{self._id}{index:016x}")
            return Done(index, request, await self.ask(item))
        except APIError as error:
            return Failed(index, request, error)


def to_request(index: int, prompt: Prompt) -> ImageRequest | Failed:
    """The request that a prompt stands for, or the outcome of one that stands for none."""
    try:
        return ImageRequest.of(prompt)
    except ConfigurationError as error:
        own = dict(prompt) if isinstance(prompt, Mapping) else {"prompt": prompt}
        said = ImageRequest.model_construct(
            prompt=str(own.get("prompt", prompt)),
            id=own.get("id"),  # by these its owner knows it
            metadata=own["metadata"] if isinstance(own.get("metadata"), Mapping) else {},
        )
        placed = ConfigurationError(f"prompts[{index}]: {error}", hint=error.hint)
        return Failed(index, said, placed)


async def to_requests(prompts: Sequence[Prompt]) -> list[ImageRequest]:
    """The requests that a list of prompts stands for. Raises ConfigurationError where one stands for none."""
    requests: list[ImageRequest] = []
    for index, prompt in enumerate(prompts):
        request = to_request(index, prompt)
        if isinstance(request, Failed):
            raise request.error
        requests.append(request)
        if len(requests) % _IN_ONE_STEP == 0:
            await anyio.lowlevel.checkpoint()
    return requests


def session_left() -> ConfigurationError:
    """What becomes of what waits for its turn when its session is left."""
    return ConfigurationError(
        "the session was left before this was asked for",
        hint="Leave `async with` when what was asked for has come.",
    )


async def in_places(
    outcomes: AsyncIterator[Outcome], batch: Batch, prompts: Prompts, *, return_exceptions: bool
) -> list[Generation | AsiImageError]:
    """What came of the prompts of a gather, each in its place; raises the first error, or has it there."""
    found: dict[int, Generation | AsiImageError] = {}
    async for outcome in outcomes:
        if not outcome.ok and not return_exceptions:
            raise outcome.error
        found[outcome.index] = outcome.generation if outcome.ok else outcome.error
    if batch.intake.pulled:
        early = batch.stopped_by or AsiImageError(
            "drained before all had been asked for",
            hint="With return_exceptions=True what was done is given too.",
        )
        length = len(prompts) if isinstance(prompts, Sized) else max(found, default=-1) + 1
        missing = range(length) - found.keys()
        cut_short = isinstance(prompts, Watched) and not prompts.ended
        if not return_exceptions and (missing or cut_short):
            raise early
        found |= dict.fromkeys(missing, early)
    return [found[index] for index in sorted(found)]


class UntilStopped(AsyncIterator[Outcome]):
    """The outcomes, and after the last of them what stopped the batch."""

    def __init__(self, outcomes: AsyncIterator[Outcome], batch: Batch) -> None:
        self._outcomes = outcomes
        self._batch = batch

    async def __anext__(self) -> Outcome:
        try:
            return await anext(self._outcomes)
        except StopAsyncIteration:
            if self._batch.stopped_by is not None:
                raise self._batch.stopped_by from None
            raise


class Watched(AsyncIterator[Prompt]):
    """Prompts of which nobody knows how many they are; `ended`: the last has been pulled."""

    def __init__(self, prompts: Prompts) -> None:
        self._prompts = each(prompts)
        self.ended = False

    async def __anext__(self) -> Prompt:
        try:
            return await anext(self._prompts)
        except StopAsyncIteration:
            self.ended = True
            raise

    @property
    def athrow(self) -> Any:
        """That of the prompts, where they have one."""
        return self._prompts.athrow  # type: ignore[attr-defined]  # where not, this has none either


async def read_all(prompts: Prompts, brake: Brake) -> list[Prompt]:
    """All prompts, or those that came before the brake was pulled."""
    found: list[Prompt] = []
    source = Source[Prompt](prompts, brake)
    async with source.asking():
        with suppress(Stopped, StopAsyncIteration):
            while True:
                found.append(await source.next())
                if len(found) % _IN_ONE_STEP == 0:
                    await anyio.lowlevel.checkpoint()
    if source.is_cut_short:
        raise asyncio.CancelledError("the source cancelled its own task")
    if source.error is not None:
        raise source.error
    return found


def check_beside(prompt: Prompt, **fields: object) -> None:
    """An ImageRequest says all of it: nothing beside it may say something else than what is usual."""
    if isinstance(prompt, ImageRequest):
        usual = {"size": "1024x1024", "model": "asi1-mini"}
        if given := [name for name, value in fields.items() if value != usual.get(name)]:
            raise ConfigurationError(
                f"{', '.join(given)} beside an ImageRequest", hint="Say it in the ImageRequest."
            )


def check_prompts(prompts: Prompts) -> Prompts:
    """The prompts, if they are many: a text or a mapping is iterable too, and never meant to be."""
    if isinstance(prompts, str | bytes | Mapping | ImageRequest) or not isinstance(
        prompts, Iterable | AsyncIterable
    ):
        raise ConfigurationError(
            f"prompts must be an iterable or async iterable of prompts, not {type(prompts).__name__}",
            hint="For a single prompt use generate(), or put it into a list.",
        )
    return prompts
