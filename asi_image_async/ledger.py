"""What a run may still spend, when it sent, and how fast the service lets it: kept in its journal."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from functools import cache

import anyio
from pydantic import TypeAdapter, ValidationError

from .core.usage import images_asked
from .errors import APIError, BudgetExceededError, ConfigurationError, JournalError
from .exchange import Item
from .policies import RateLimit
from .runtime.gate import Gate
from .runtime.journal import Journal

__all__ = ["Ledger", "budget"]

# A run takes longer than this to begin again, so stamps for shorter windows would serve nobody.
_SHORTEST_STAMPED = 5.0
_SOON = 0.01  # seconds; what leaves in this time needs no other stamp


class Ledger:
    """The books of one run. `max_images` None is no budget."""

    def __init__(
        self,
        journal: Journal,
        gate: Gate,
        limits: Sequence[RateLimit],
        session: bytes,
        max_images: int | None,
    ) -> None:
        self._journal = journal
        self._gate = gate
        self._window = max((limit.per for limit in limits), default=0.0)
        self._session = session
        self._max_images = max_images
        self._learnt: tuple[float, float] | None = None
        self._spent = 0  # images, with those that have a share of the budget and wait for their turn
        self._sharing = 0  # attempts under way
        self._settled = anyio.Event()  # the next of them is over
        self._written: set[Item] = set()  # whose share the journal has
        self._stamps: dict[Item, int] = {}  # of those about to go out

    async def open(self) -> None:
        """Bring what earlier runs sent, and what they learnt, to the gate."""
        now, here = time.time(), anyio.current_time()
        if self._window:
            stamps = await self._journal.sends(now, self._window, self._session)
            self._gate.pace.recall_turns(stamps, now - here, here)
        if self._max_images is not None:
            self._spent = await self._journal.recall("spent") or 0
        if known := await self._journal.recall("learnt"):
            with suppress(ValidationError):
                self._gate.pace.recall(_learnt().validate_json(known), here)

    def attempt(self, item: Item) -> AbstractAsyncContextManager[None]:
        """Around one attempt: sets its images aside, and gives them back where it was surely not billed.

        Raises BudgetExceededError before anything is sent.
        """
        return nullcontext() if self._max_images is None else self._reserving(item, self._max_images)

    @asynccontextmanager
    async def _reserving(self, item: Item, limit: int) -> AsyncIterator[None]:
        images = images_asked(item.request)
        await self._reserve(images, limit)
        billed = False
        try:
            yield
            billed = True
        except APIError as error:
            billed = error.maybe_billed
            raise
        finally:
            try:
                if not billed and not item.in_flight:
                    await self._give_back(item, images)
            finally:
                self._written.discard(item)
                self._sharing -= 1
                self._settled.set()
                self._settled = anyio.Event()

    async def _reserve(self, images: int, limit: int) -> None:
        """Set images aside; what others have may come back, so that is waited for.

        They are written down when the request goes out (`stamp`): a process that is killed while it waits for
        its turn has spent nothing.
        """
        while self._spent + images > limit:
            if not self._sharing:
                raise _beyond(limit, images)
            await self._settled.wait()
        self._spent += images
        self._sharing += 1

    async def _give_back(self, item: Item, images: int) -> None:
        self._spent -= images
        if item in self._written:
            with anyio.CancelScope(shield=True):
                await self._journal.spend(-images)

    async def stamp(self, item: Item) -> Callable[[], None]:
        """A request is about to go out: count its images, and stamp it for the windows of later processes.

        What is given is called when it leaves, which may be later: first it may need a connection. From then
        on it may be billed, whatever becomes of this process.
        """
        if self._max_images is not None:
            await self._spend(item, images_asked(item.request), self._max_images)
        images = images_asked(item.request) * (1 + len(item.unknown)) if self._max_images is None else 0
        flight = item.row, item.request.prompt, images
        if not self._journal.ask_unknown_again:  # where it may have been billed it is never asked for again
            await self._journal.departs(*flight)
        at = time.time()
        if self._window >= _SHORTEST_STAMPED:
            self._stamps[item] = await self._journal.stamp(at, self._session)

        def leaves() -> None:
            number = self._stamps.pop(item, None)
            if number is not None and (now := time.time()) - at > _SOON:
                self._journal.restamp(number, now)
            if self._journal.ask_unknown_again:
                self._journal.departed(*flight)

        return leaves

    async def _spend(self, item: Item, images: int, limit: int) -> None:
        # Replies had more pictures than were asked for. Others may give back what they have, but to wait for
        # that here would hold a place that they may need.
        if self._spent > limit:
            raise _beyond(limit, images)
        self._written.add(item)  # also where the waiting is cancelled: the journal does it all the same
        try:
            with anyio.CancelScope(shield=True):
                await self._journal.spend(images)
        except JournalError:
            self._written.discard(item)
            raise

    def never_left(self, item: Item) -> None:
        """It counts in no window."""
        number = self._stamps.pop(item, None)
        if number is not None:
            self._journal.unstamp(number)

    def landed(self, item: Item) -> None:
        """It was surely not billed, nor was any attempt before it."""
        self._journal.landed(item.row)

    def settle(self, item: Item, images: int) -> int:
        """How many of the images that were billed for an item are still to be written down as spent.

        `images`: of its last attempt; those before it that are unknown count too. Asked again, it is none.
        """
        if item.settled:
            return 0
        item.settled = True
        asked = images_asked(item.request)
        if self._max_images is None:
            return images + asked * len(item.unknown)
        more = max(0, images - asked)
        self._spent += more
        return more

    async def keep_pace(self) -> None:
        """Keep what was learnt of the limit, where that is new."""
        learnt = self._gate.pace.learnt
        if learnt is not None and learnt != self._learnt:
            self._learnt = learnt
            await self._journal.note("learnt", _learnt().dump_json(learnt).decode())


def _beyond(limit: int, images: int) -> BudgetExceededError:
    left = "is spent" if images == 1 and limit else f"has no room for {images}"
    return BudgetExceededError(f"the budget of {limit} {'image' if limit == 1 else 'images'} {left}")


@cache
def _learnt() -> TypeAdapter[tuple[float, float]]:
    return TypeAdapter(tuple[float, float])  # not made at the import: most have learnt nothing


def budget(max_images: int | None, max_cost: float | None, price_per_image: float | None) -> int | None:
    """How many images may be bought in all, or None. Raises ConfigurationError for a wrong number."""
    for name, value in (
        ("max_images", max_images),
        ("max_cost", max_cost),
        ("price_per_image", price_per_image),
    ):
        wrong = isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf")
        if value is not None and wrong:
            raise ConfigurationError(f"{name} must be a number that is not negative, not {value!r}")
    if max_images is not None and not isinstance(max_images, int):
        raise ConfigurationError(f"max_images must be a whole number, not {max_images!r}")
    if max_cost is None:
        return max_images
    if not price_per_image:
        raise ConfigurationError(
            "max_cost needs a price_per_image above 0", hint="Say what one image costs, in the same money."
        )
    try:
        affordable = int(max_cost / price_per_image + 1e-9)  # 0.3 / 0.1 is 2.999...
    except OverflowError:
        raise ConfigurationError(
            "max_cost and price_per_image are too far apart",
            hint="Say what one image costs, in the same money.",
        ) from None
    return affordable if max_images is None else min(max_images, affordable)
