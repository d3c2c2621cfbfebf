"""`asi-image batch`: a prompt file becomes a folder of pictures."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import anyio.to_thread

from ..errors import AsiImageError, BudgetExceededError, ConfigurationError, JournalError, SinkError
from ..events import Event, ImageNotStored, WaitStarted
from ..ledger import budget
from ..outcomes import RunReport
from ..policies import parse_rate_limits
from ..progress import Progress
from ..progress.spans import span
from ..runtime.journal import Journal
from ..runtime.journal.summary import read_sends
from ..session import ImageSession
from .destination import Destination, Missing, look_for_missing
from .display import BatchView, Display
from .exits import PATIENCE, ExitStatus, status_of_report
from .gallery import gallery_after_batch
from .interrupts import Interrupts
from .loop import run_loop
from .plan import make_plan, tell_plan
from .service import ServiceOptions, open_session
from .sources import FirstFew, find_requests
from .spare import Spare, save_all_elsewhere
from .speech import Voice, print_json, visible
from .summary import as_json, summarize

__all__ = ["BatchOptions", "batch"]

_MANY = 100_000  # prompts; to look at so many takes some seconds
_LARGE = 5_000_000  # bytes of a prompt file; so it is with these


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """The command's options, as given."""

    prompts: str | None
    template: str | None
    sets: tuple[str, ...]
    out: str
    size: str
    model: str
    service: ServiceOptions
    limit: int | None
    max_cost: float | None
    price: float | None
    stop_on_quota: bool
    ask_unknown_again: bool
    dry_run: bool
    fail_fast: bool
    gallery: bool
    recipe: str
    json: bool
    quiet: bool


def batch(options: BatchOptions) -> int:
    """Run the command; returns the exit status. Raises AsiImageError for what is wrong beforehand."""
    voice = Voice()
    voice.say_if_typed(options.prompts)
    if options.prompts and not options.quiet and _size(options.prompts) > _LARGE:
        voice.say(f"checking {visible(options.prompts)}")
    requests = find_requests(
        options.prompts, options.template, options.sets, size=options.size, model=options.model
    )
    prompts = FirstFew(requests, options.limit)
    options.service.session()  # a wrong option is told before anything else is done
    if options.max_cost is not None and not options.price:
        raise ConfigurationError(
            "--max-cost needs a --price above 0", hint="Say what one image costs, in the same money."
        )
    affordable = budget(None, options.max_cost, options.price)
    destination = Destination(options.out, emulate=options.service.emulate, recipe=options.recipe)
    destination.check()
    if options.dry_run:
        _warn(voice, destination)
        if len(prompts) >= _MANY:
            voice.say(f"looking at {len(prompts):,} prompts")
        limits = parse_rate_limits(options.service.rate_limit) or ()
        plan = make_plan(
            prompts,
            destination,
            limits,
            again=options.ask_unknown_again,
            affordable=affordable,
            price=options.price,
        )
        tell_plan(plan, options.service, json=options.json)
        return 0
    status = run_loop(_Run(options, prompts, destination, voice).finish())
    if options.gallery and status in (ExitStatus.DONE, ExitStatus.FAILED, ExitStatus.COME_BACK):
        gallery_after_batch(voice, destination.folder, quiet=options.quiet)
    return status


class _Run:
    """One run of the command."""

    def __init__(
        self, options: BatchOptions, prompts: FirstFew, destination: Destination, voice: Voice
    ) -> None:
        self._options = options
        self._prompts = prompts
        self._destination = destination
        self._voice = voice
        service = options.service
        self._progress = Progress(
            len(prompts),
            limits=parse_rate_limits(service.rate_limit) or (),
            concurrency=service.concurrency,
            price=options.price,
        )
        self._session: ImageSession
        self._run: asyncio.Future[RunReport]
        self._stopped: AsiImageError | None = None
        self._not_stored: list[SinkError] = []
        self._display = Display(voice, BatchView(self._progress), quiet=options.quiet)

    async def finish(self) -> int:
        """Ask for what is missing, and tell what it came to."""
        async with open_session(self._options.service, self._hear) as self._session:
            await self._destination.make_ready()
            self._progress.recall(time.time() - at for at in read_sends(self._destination.journal))
            self._announce()
            _warn(self._voice, self._destination)
            with self._display:
                report, spare, missing, interrupted = await self._work()
        stopped = self._stopped or report.stopped_by or next(iter(self._not_stored), None)
        report = replace(report, stopped_by=stopped)
        place, total, quiet = self._destination.name, len(self._prompts), self._options.quiet
        again = self._options.ask_unknown_again
        summarize(self._voice, report, missing, spare, place=place, total=total, again=again, quiet=quiet)
        if self._options.json:
            print_json(as_json(report, missing, spare, interrupted=interrupted is not None))
        return interrupted or status_of_report(report, fail_fast=self._options.fail_fast)

    async def _look_for_missing(self) -> Missing:
        try:
            return await anyio.to_thread.run_sync(look_for_missing, self._destination.folder)
        except (JournalError, SinkError):  # what has ended the run
            return Missing()

    def _hear(self, event: Event) -> None:
        self._progress(event)
        if isinstance(event, ImageNotStored):
            self._not_stored.append(event.error)
        if self._options.stop_on_quota and isinstance(event, WaitStarted) and event.seconds > PATIENCE:
            self._stopped = BudgetExceededError(
                f"the rate limit leaves nothing to ask for{_until(event.seconds)}",
                hint="Run the same line again then.",
            )
            self._session.drain()

    def _announce(self) -> None:
        if self._options.quiet:
            return
        service = self._options.service
        if service.emulate:
            self._voice.say(
                "these are drawings by the emulator on this machine, not pictures of the service", "magenta"
            )
        told = [f"at most {service.concurrency} at once"]
        if isinstance(service.rate_limit, list):
            told += map(visible, service.rate_limit)
        elif service.rate_limit is None:
            told.append("no rate limit")
        if self._options.prompts == "-":  # what was meant as a table may not look like one
            told.append(f"read as {self._prompts.form}")
        count = len(self._prompts)
        noun = "picture" if count == 1 else "pictures"
        self._voice.say(f"{count} {noun} into {visible(self._destination.name)}, {', '.join(told)}")

    async def _work(self) -> tuple[RunReport, Spare, Missing, int | None]:
        """The run under Ctrl-C: what it came to, and the exit status where it was interrupted."""
        options = self._options
        self._run = asyncio.ensure_future(
            self._session.run(
                self._prompts,
                self._destination.sink,
                journal=Journal(self._destination.journal, ask_unknown_again=options.ask_unknown_again),
                fail_fast=options.fail_fast,
                max_cost=options.max_cost,
                price_per_image=options.price,
            )
        )
        with Interrupts(self._drain, self._cancel) as interrupts:
            try:
                report = await self._run
            except asyncio.CancelledError:
                if not interrupts.twice:
                    raise
                report = self._progress.report()
            # Still under it: what was bought is not lost to a Ctrl-C that comes while it is kept elsewhere.
            spare = await save_all_elsewhere([error.generation for error in self._not_stored])
            return report, spare, await self._look_for_missing(), interrupts.status

    def _drain(self) -> None:
        self._session.drain()
        self._progress.drain()
        if self._run.done():
            self._display.say("stopping: what was bought is being kept and counted")
            return
        flying = self._progress.in_flight
        what = f"{flying} in flight {'is' if flying == 1 else 'are'} being finished"
        what = what if flying else "nothing is in flight"
        self._display.say(f"stopping: {what}; Ctrl-C again to stop now")

    def _cancel(self) -> None:
        if self._run.done():
            return
        self._display.say("stopping now: what is in flight is given up")
        self._display.stop()
        self._run.cancel()


def _warn(voice: Voice, destination: Destination) -> None:
    if destination.has_forgotten():
        said = "has pictures and no journal of them: those of the list are paid for again"
        voice.label("warning", f"{visible(destination.name)} {said}", "yellow")


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.isfile(path) else 0


def _until(seconds: float) -> str:
    try:
        return f" until {datetime.now().astimezone() + timedelta(seconds=seconds):%Y-%m-%d %H:%M}"
    except OverflowError:  # it is beyond the year 9999
        return f", for {span(seconds)}"
