"""`--dry-run`: what a batch would ask for, told without sending or writing anything."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import anyio.to_thread

from ..core.naming import digest
from ..errors import JournalError
from ..models import ImageRequest
from ..policies import RateLimit
from ..runtime.journal import Journal, State
from .destination import Destination
from .forecast import seconds_at_least
from .service import ServiceOptions
from .speech import print_json, print_line, shortened, span, visible

__all__ = ["Plan", "make_plan", "tell_plan"]

_KINDS = 50  # of sizes, models and columns: a list that has more is cut
_CHUNK = 500
_COPIES = 3


class Requests(Protocol):
    """As many requests as its length says, as often as it is asked."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[ImageRequest]: ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would be asked. `sent` and `kept`: the columns that go to the service, and that do not."""

    destination: str
    prompts: int
    done: int
    to_ask: int
    maybe_billed: int
    sizes: dict[str, int]
    models: dict[str, int]
    sent: tuple[str, ...]
    kept: tuple[str, ...]
    seconds_at_least: float


async def make_plan(
    prompts: Requests, destination: Destination, limits: Sequence[RateLimit], *, again: bool
) -> Plan:
    """Look at every request and at the journal, without holding it. Raises JournalError."""
    states = await _states(prompts, destination.journal)
    done, unknown = states[State.DONE], states[State.UNKNOWN]
    to_ask = len(prompts) - done - (0 if again else unknown)
    sizes, models, sent, kept = await anyio.to_thread.run_sync(_kinds, prompts)
    return Plan(
        destination=destination.name,
        prompts=len(prompts),
        done=done,
        to_ask=to_ask,
        maybe_billed=unknown,
        sizes=dict(sizes.most_common(_KINDS)),
        models=dict(models.most_common(_KINDS)),
        sent=tuple(sent),
        kept=tuple(kept),
        seconds_at_least=seconds_at_least(to_ask, limits),
    )


def _kinds(requests: Iterable[ImageRequest]) -> tuple[Counter[str], Counter[str], list[str], list[str]]:
    sizes: Counter[str] = Counter()
    models: Counter[str] = Counter()
    sent: dict[str, None] = {}
    kept: dict[str, None] = {}
    for request in requests:
        sizes[request.size or "not sent"] += 1
        models[request.model] += 1
        sent.update(dict.fromkeys(islice(request.model_extra or {}, _KINDS - len(sent))))
        kept.update(dict.fromkeys(islice(request.metadata, _KINDS - len(kept))))
    return sizes, models, list(sent), list(kept)


async def _states(prompts: Requests, path: Path) -> Counter[State | None]:
    """How many of the requests stand how in the journal."""
    if not await anyio.to_thread.run_sync(path.is_file):
        return Counter()
    copies = _COPIES
    while True:
        copies -= 1
        with tempfile.TemporaryDirectory(prefix="asi-image-") as folder:
            copy = Path(folder) / path.name
            try:
                await anyio.to_thread.run_sync(_copy, path, copy)
                return await _claimed(prompts, copy)
            except JournalError:
                if not copies:  # else a run that goes on may have written while it was copied
                    raise


def _copy(path: Path, copy: Path) -> None:
    # Claims need a journal of their own to write in, and the real one may be held by a run.
    try:
        shutil.copyfile(path, copy)
        log = path.with_name(f"{path.name}-wal")
        if log.exists():
            shutil.copyfile(log, copy.with_name(f"{copy.name}-wal"))
    except OSError as error:
        raise JournalError(f"cannot read {path}: {error.strerror or error}") from error


async def _claimed(prompts: Requests, path: Path) -> Counter[State | None]:
    states: Counter[State | None] = Counter()
    async with Journal(path) as journal:
        requests = iter(prompts)
        while chunk := list(islice(requests, _CHUNK)):
            claims = await asyncio.gather(*(journal.claim(digest(request)) for request in chunk))
            states.update(claim.state for claim in claims)
    return states


def tell_plan(plan: Plan, service: ServiceOptions, *, json: bool) -> None:
    """Print the plan on standard output."""
    if json:
        print_json(asdict(plan))
        return
    lines = [
        ("prompts", f"{plan.prompts}, of which {plan.done} are done already"),
        ("would ask for", f"{plan.to_ask}" + (" drawings by the emulator" if service.emulate else "")),
        (
            "may be billed",
            f"{plan.maybe_billed} of an earlier run, without a picture" if plan.maybe_billed else "",
        ),
        ("destination", visible(plan.destination)),
        ("sizes", _counted(plan.sizes)),
        ("models", _counted(plan.models)),
        ("columns sent", ", ".join(map(shortened, plan.sent))),
        ("columns kept", ", ".join(map(shortened, plan.kept))),
        ("takes at least", _least(plan, service)),
    ]
    for label, text in lines:
        if text:
            print_line(f"{label:>14}: {text}")
    print_line("nothing was sent, and nothing was written")


def _counted(kinds: dict[str, int]) -> str:
    return ", ".join(f"{shortened(kind)} ({count})" for kind, count in kinds.items())


def _least(plan: Plan, service: ServiceOptions) -> str:
    if not service.rates or not plan.to_ask:
        return ""
    return f"{span(plan.seconds_at_least)} until the last one is asked for, at {', '.join(service.rates)}"
