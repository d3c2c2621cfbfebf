"""A list of prompts into a sink: each picture stored, each outcome in the journal, the sums in a report."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sized

import anyio

from .batch import Batch
from .brake import Stopped
from .core.naming import idempotency_key
from .core.usage import Usage, images_asked
from .errors import APIError, AsiImageError, BudgetExceededError, ConfigurationError, JournalError, SinkError
from .events import Event, ImageNotStored, ImageStored, OutcomeReady
from .exchange import Item
from .ledger import Ledger
from .models import Generation, ImageRequest, Receipt
from .outcomes import Done, Failed, Outcome, RunReport
from .protocols import Prompts, Sink
from .resume import Asked, Resume
from .runtime.journal import Claim, Journal, State
from .runtime.pump import is_own_cancellation, pump

__all__ = ["Run"]

# How long a cancelled run may take to store what it has already bought, in seconds.
_GRACE = 10.0
_LAST_GRACE = 2.0  # and to close its journal, though a sink was stuck
_FAILURES_KEPT = 100


class Run:
    """One run: the journal and the sink round a batch."""

    def __init__(
        self,
        batch: Batch,
        sink: Sink,
        journal: Journal,
        ledger: Ledger,
        *,
        usage: Usage,
        fail_fast: bool,
        tell: Callable[[Event], None],
    ) -> None:
        self._batch = batch
        self._sink = sink
        self._journal = journal
        self._ledger = ledger
        self._usage = usage
        self._fail_fast = fail_fast
        self._tell = tell
        self._counts = dict.fromkeys(("total", "succeeded", "failed", "unknown", "skipped"), 0)
        self._bytes_written = 0
        self._failures: list[Failed] = []
        self._resume: Resume
        self._shields: set[anyio.CancelScope] = set()
        self._deadline = math.inf

    async def finish(self, prompts: Prompts, width: int) -> RunReport:
        """Work through the prompts; whatever ends it, the sink and the journal are closed in order."""
        # In a task of its own: there a cancellation of asyncio, which no shield stops, comes as one of anyio.
        async with pump(lambda _, given: self._finish(given, width), [prompts], width=1) as reports:
            try:
                return await anext(reports)
            except anyio.get_cancelled_exc_class():
                self._hurry()
                raise

    async def _finish(self, prompts: Prompts, width: int) -> RunReport:
        started = anyio.current_time()
        try:
            await self._work(prompts, width)
        except asyncio.CancelledError as error:
            # By what the sink holds, such as a task group, which says why when it is closed.
            if is_own_cancellation(error) or self._batch.stopped_by is None:
                raise
        return self._report(anyio.current_time() - started, total_is_known=isinstance(prompts, Sized))

    async def _work(self, prompts: Prompts, width: int) -> None:
        async with contextlib.AsyncExitStack() as stack:
            await self._journal.__aenter__()
            stack.push_async_callback(self._close_journal)
            await self._ledger.open()
            # Round all that the sink holds from its opening to its closing, which may be scopes too.
            scope = stack.enter_context(anyio.CancelScope())
            await self._open_sink()
            stack.push_async_callback(self._close_sink, scope)
            if isinstance(prompts, Sized):
                self._counts["total"] = len(prompts)
                await self._journal.note("total", len(prompts))
            self._resume = Resume(prompts, self._journal, self._count)
            async with pump(self._settle, self._resume, width=width, brake=self._batch.intake) as outcomes:
                async for outcome in outcomes:
                    if outcome is not None:
                        self._count(outcome)
            try:
                if self._resume.ended or not self._batch.intake.pulled:
                    await self._journal.note("total", max(self._counts["total"], self._resume.read))
                await self._ledger.keep_pace()
            except JournalError as error:  # a report is due all the same
                self._batch.stop(error)

    def _report(self, elapsed: float, *, total_is_known: bool) -> RunReport:
        settled = sum(self._counts.values()) - self._counts["total"]
        # What was read ahead counts, though nobody has pulled it.
        due = self._counts["total"] if total_is_known else self._resume.read
        complete = settled == due and (total_is_known or self._resume.ended)
        stopped = self._batch.stopped_by
        # The session was left, or its client closed, when all had been asked for: nothing is missing.
        if complete and isinstance(stopped, ConfigurationError):
            stopped = None
        return RunReport(
            **(self._usage.sums() | self._counts),
            bytes_written=self._bytes_written,
            elapsed=elapsed,
            stopped_by=stopped,
            drained=stopped is None and not complete,
            failures=tuple(self._failures),
        )

    async def _settle(self, _: int, asked: Asked | Failed) -> Outcome | None:
        """Bring one prompt to its outcome: asked for, stored, and written down, in this order.

        It is counted here, as to hand it over takes two turns of the loop; but where nothing had to be waited
        for it is handed over, so that the loop has them.
        """
        if isinstance(asked, Failed):
            self._stop_if_failed(asked)
            return asked
        self._counts["total"] = max(self._counts["total"], asked.index + 1)
        try:
            claim = await self._resume.claim(asked)
            if not isinstance(claim, Claim):
                return claim
            self._stop_in_trouble()
            outcome = await self._make(asked.index, asked.request, claim)
            self._count(outcome)
            self._stop_if_failed(outcome)
            self._stop_in_trouble()
            return None
        except JournalError as error:
            self._batch.stop(error)
            return Failed(asked.index, asked.request, error)

    def _stop_if_failed(self, outcome: Outcome) -> None:
        """Of this run: what an earlier one left unknown would stop every later one too."""
        if self._fail_fast and not outcome.ok:
            self._batch.stop(outcome.error)

    def _stop_in_trouble(self) -> None:
        if self._journal.trouble is not None:
            self._batch.stop(self._journal.trouble)

    async def _make(self, index: int, request: ImageRequest, claim: Claim) -> Outcome:
        key = idempotency_key(claim.key, self._journal.salt)
        item = Item(request, key, claim.occurrence, claim.key)
        await self._ledger.keep_pace()  # not between the buying of a picture and its storing
        try:
            generation = await self._batch.ask(item)
        except BudgetExceededError as error:
            self._batch.close(error)  # the others have their share of it
            raise Stopped from error
        except APIError as error:
            if claim.state is State.UNKNOWN:  # of an earlier run, and still so
                error.maybe_billed = True
            await self._not_made(item, claim, str(error))
            return Failed(index, request, error)
        except anyio.get_cancelled_exc_class():
            if item.in_flight or item.unknown:
                with self._shielded():
                    await self._not_made(item, claim, "cancelled when it may have been billed")
            raise
        return await self._store(index, item, generation, claim)

    async def _not_made(self, item: Item, claim: Claim, detail: str) -> None:
        unknown = item.in_flight or item.unknown or claim.state is State.UNKNOWN
        state = State.UNKNOWN if unknown else State.FAILED
        images = images_asked(item.request) if item.in_flight else 0
        spent = self._ledger.settle(item, images)
        await self._journal.record(claim.key, state, detail, item.request.prompt, spent=spent)

    async def _store(self, index: int, item: Item, generation: Generation, claim: Claim) -> Outcome:
        """Give bought pictures to the sink and write that down; a cancelled run does it too, soon."""
        stored: list[Receipt] = []
        with self._shielded() as shield:
            try:
                return await self._keep(index, item, generation, claim, stored)
            except anyio.get_cancelled_exc_class():
                if not shield.cancel_called:
                    # By asyncio, as where its run() ends: no shield stops that. Again, under the same name.
                    await self._keep(index, item, generation, claim, stored)
                raise
        if stored:  # the journal has the row, and writes it as soon as it can: nobody is to say otherwise
            return Done(index, generation.request, generation, stored[0])
        late = TimeoutError(f"it took more than {_GRACE:g} s after the run was cancelled")
        return await self._not_stored(index, item, generation, claim, late)

    async def _keep(
        self, index: int, item: Item, generation: Generation, claim: Claim, stored: list[Receipt]
    ) -> Outcome:
        """`stored` gets the receipt as soon as it is there."""
        try:
            receipt: object = await self._sink.write(generation)
            if not isinstance(receipt, Receipt):
                raise TypeError(f"its write() gave {type(receipt).__name__}, not a Receipt")
            # A line each, wherever they are: a folder's name may have a line break in it.
            places = "\n".join(os.fspath(place).replace("\n", "\\n") for place in receipt.locations)
            self._bytes_written += receipt.bytes_written
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # some modules' own are no Exception, as the panics of those in Rust
            if is_own_cancellation(error):
                raise
            return await self._not_stored(index, item, generation, claim, error)
        stored.append(receipt)
        self._tell(ImageStored(generation.request, receipt))
        spent = self._ledger.settle(item, _pictures(generation))
        await self._journal.record(claim.key, State.DONE, places, spent=spent)
        return Done(index, generation.request, generation, receipt)

    async def _not_stored(
        self, index: int, item: Item, generation: Generation, claim: Claim, cause: BaseException
    ) -> Failed:
        """A sink that cannot write ends the run; the pictures stay with the error."""
        error = _sink_error("a picture could not be stored", cause)
        error.generation = generation
        self._batch.stop(error)
        self._tell(ImageNotStored(generation.request, error))
        prompt = generation.request.prompt
        spent = self._ledger.settle(item, _pictures(generation))
        with contextlib.suppress(JournalError):  # it is likely on the same full disk
            await self._journal.record(claim.key, State.FAILED, str(error), prompt, spent=spent)
        return Failed(index, generation.request, error)

    @contextlib.contextmanager
    def _shielded(self, least: float = 0.0) -> Iterator[anyio.CancelScope]:
        """Around what a cancelled run finishes too, soon: it has `least` seconds, however late it is."""
        deadline = max(self._deadline, anyio.current_time() + least) if least else self._deadline
        with anyio.CancelScope(shield=True, deadline=deadline) as shield:
            self._shields.add(shield)
            try:
                yield shield
            finally:
                self._shields.discard(shield)

    def _hurry(self) -> None:
        self._deadline = anyio.current_time() + _GRACE
        for shield in self._shields:
            shield.deadline = self._deadline

    async def _open_sink(self) -> None:
        try:
            await self._sink.open()
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, AsiImageError) or is_own_cancellation(error):
                raise
            raise _sink_error("the sink cannot be opened", error) from error

    async def _close_journal(self) -> None:
        with self._shielded(_LAST_GRACE):  # whoever comes next is not to find it held
            await self._journal.__aexit__()

    async def _close_sink(self, scope: anyio.CancelScope) -> None:
        """A report is due all the same where that fails, of all that was bought."""
        scope.shield, scope.deadline = True, self._deadline
        self._shields.add(scope)
        try:
            await self._sink.close()
        except (Exception, asyncio.CancelledError) as error:
            if is_own_cancellation(error):
                raise
            self._batch.stop(_sink_error("the sink could not be closed", error))
        finally:
            self._shields.discard(scope)

    def _count(self, outcome: Outcome) -> None:
        self._counts["total"] = max(self._counts["total"], outcome.index + 1)
        if isinstance(outcome, Done):
            self._counts["skipped" if outcome.skipped else "succeeded"] += 1
        else:
            self._counts["unknown" if outcome.unknown else "failed"] += 1
            # What was bought and could not be stored is nowhere else; it is as much as was in flight at most.
            if len(self._failures) < _FAILURES_KEPT or isinstance(outcome.error, SinkError):
                self._failures.append(outcome)
        self._tell(OutcomeReady(outcome))


def _pictures(generation: Generation) -> int:
    return len(generation.images) + len(generation.left_out)


def _sink_error(what: str, cause: BaseException) -> SinkError:
    hint = cause.hint if isinstance(cause, SinkError) else None
    said = str(cause) or type(cause).__name__
    if not isinstance(cause, SinkError | OSError):
        hint = "The sink raised this: mend its code, then run the same again."
        said = f"{type(cause).__name__}: {cause}"
    error = SinkError(f"{what}: {said}", hint=hint)
    error.__cause__ = cause
    return error
