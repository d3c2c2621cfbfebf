"""What of a list is still to be asked for: what an earlier run finished is passed over, many at a time."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sized
from dataclasses import dataclass

from .batch import to_request
from .core.naming import digest
from .errors import APIError, JournalError
from .models import Generation, ImageRequest, Prompt, Receipt
from .outcomes import Done, Failed, Outcome
from .protocols import Prompts
from .runtime.journal import Claim, Journal, State
from .runtime.pump import Several, each

__all__ = ["Asked", "Resume"]

# To look finished prompts up one by one takes five times as long. To make more requests than these without
# a pause would keep the loop from others for milliseconds.
_MOST_AHEAD = 128
# Of a list that is there already, so many are looked up in one step.
_TOGETHER = 16


@dataclass(frozen=True, eq=False)
class Asked:
    """A prompt in its place in the list, and its claim where it has been looked up already."""

    index: int
    request: ImageRequest
    claim: Claim | None = None


class Resume(AsyncIterator[Several[Asked | Failed]]):
    """The prompts of a run in order, but for those whose outcome stands already: `settled` is told of them.

    Of what has a length some are read ahead. Of what has none, and may be made as it is read, one at a time
    is, and looked up by the slot that takes it (`claim`). Where finished ones are found, the next are read
    ahead, twice as many each time, until one is not. What an async iterable gives may have to be waited for,
    so that is never read ahead. `read` is how many have been read so far.
    """

    def __init__(self, prompts: Prompts, journal: Journal, settled: Callable[[Outcome], None]) -> None:
        self._prompts = each(prompts)
        self._most_ahead = 1 if isinstance(prompts, AsyncIterable) else _MOST_AHEAD
        self._least_ahead = _TOGETHER if self._most_ahead > 1 and isinstance(prompts, Sized) else 1
        self._journal = journal
        self._settled = settled
        self.read = 0
        self._ahead = self._least_ahead
        self._end: Exception | None = None
        self._broken: JournalError | None = None

    async def __anext__(self) -> Several[Asked | Failed]:
        while True:
            read = await self._read()
            if len(read) == 1:
                return read
            ready = await self._look_up(read)
            self._ahead = self._least_ahead if ready else min(2 * self._ahead, self._most_ahead)
            if ready:
                return ready

    async def athrow(self, error: BaseException) -> Several[Asked | Failed]:
        """For the prompts: their own time limit, say, has run out while nothing more of them was wanted."""
        throw = getattr(self._prompts, "athrow", None)
        if throw is None:
            raise error
        try:
            return Several([self._take(await throw(error))])
        except Exception as end:
            self._end = end
            raise

    @property
    def ended(self) -> bool:
        """Whether the last prompt has been read."""
        return isinstance(self._end, StopAsyncIteration)

    async def claim(self, asked: Asked) -> Claim | Outcome:
        """Take a prompt for this run; or its outcome, where that stands already. Raises JournalError."""
        if asked.claim is not None:
            return asked.claim
        if self._broken is not None:
            raise self._broken
        claim = await self._journal.claim(digest(asked.request))
        outcome = self._known(asked, claim)
        if outcome is None:
            return claim
        self._ahead = max(self._ahead, min(2, self._most_ahead))
        return outcome

    async def _read(self) -> Several[Asked | Failed]:
        """As many as are read ahead; the end of the source, and its error, come after what it gave."""
        read: Several[Asked | Failed] = Several()
        try:
            while self._end is None and len(read) < self._ahead:
                read.append(self._take(await anext(self._prompts)))
        except Exception as end:
            self._end = end
        if not read and self._end is not None:
            raise self._end
        return read

    def _take(self, prompt: Prompt) -> Asked | Failed:
        request = to_request(self.read, prompt)
        self.read += 1
        return request if isinstance(request, Failed) else Asked(self.read - 1, request)

    async def _look_up(self, read: Several[Asked | Failed]) -> Several[Asked | Failed]:
        """Those of them that are still to be settled."""
        digests = [digest(asked.request) for asked in read if isinstance(asked, Asked)]
        try:
            claims = iter(await self._journal.claim_all(digests))
        except JournalError as error:
            # The journal may have counted these already. Claimed once more, as where it is well again, each
            # would be the second of its kind, and bought.
            self._broken = error
            return read
        ready: Several[Asked | Failed] = Several()
        for asked in read:
            if isinstance(asked, Failed):
                ready.append(asked)
                continue
            claim = next(claims)
            outcome = self._known(asked, claim)
            if outcome is None:
                ready.append(Asked(asked.index, asked.request, claim))
            else:
                self._settled(outcome)
        return ready

    def _known(self, asked: Asked, claim: Claim) -> Outcome | None:
        """The outcome of an earlier run, where it stands."""
        request = asked.request
        if claim.state is State.DONE:
            receipt = Receipt(locations=tuple(claim.detail.split("\n")) if claim.detail else ())
            generation = Generation(request=request, images=(), occurrence=claim.occurrence)
            return Done(asked.index, request, generation, receipt, skipped=True)
        if claim.state is State.UNKNOWN and not self._journal.ask_unknown_again:
            hint = "It is left alone, as this run was told to; another may ask for it again."
            return Failed(asked.index, request, APIError(claim.detail, hint=hint, maybe_billed=True))
        return None
