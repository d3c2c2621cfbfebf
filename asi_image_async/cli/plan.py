"""`--dry-run`: what a batch would ask for, told without sending or writing anything."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice, tee

from ..core.naming import digest
from ..core.usage import images_asked
from ..models import ImageRequest
from ..policies import RateLimit
from ..progress.forecast import seconds_at_least
from ..progress.spans import span
from ..runtime.journal import State
from ..runtime.journal.summary import read_sends, read_states, read_summary
from .destination import Destination
from .service import ServiceOptions
from .sources import FirstFew
from .speech import print_json, print_line, shortened, visible

__all__ = ["Plan", "make_plan", "tell_plan"]

_KINDS = 50  # of sizes, models and columns: a list that has more is cut


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would be asked. `sent` and `kept`: the columns that go to the service, and that do not."""

    destination: str
    form: str
    prompts: int
    done: int
    to_ask: int
    beyond_budget: int
    maybe_billed: int
    sizes: dict[str, int]
    models: dict[str, int]
    sent: tuple[str, ...]
    kept: tuple[str, ...]
    seconds_at_least: float
    cost_at_most: float | None


def make_plan(
    prompts: FirstFew,
    destination: Destination,
    limits: Sequence[RateLimit],
    *,
    again: bool,
    affordable: int | None = None,
    price: float | None = None,
) -> Plan:
    """Look at every request and at the journal, without holding it. Raises JournalError."""
    journal = destination.journal
    room = math.inf
    if affordable is not None:
        room = affordable - (read_summary(journal, failures=0).spent if os.path.isfile(journal) else 0)
    done = unknown = to_ask = beyond = images = 0
    kinds = _Kinds()
    requests, digests = tee(prompts)
    for request, state in zip(requests, read_states(journal, map(digest, digests)), strict=True):
        kinds.note(request)
        done += state is State.DONE
        unknown += state is State.UNKNOWN
        if state is State.DONE or (state is State.UNKNOWN and not again):
            continue
        asked = images_asked(request)
        if beyond or asked > room:  # a run ends at the first that there is no room for
            beyond += 1
        else:
            room -= asked
            images += asked
            to_ask += 1
    return Plan(
        destination=destination.name,
        form=prompts.form,
        prompts=len(prompts),
        done=done,
        to_ask=to_ask,
        beyond_budget=beyond,
        maybe_billed=unknown,
        sizes=dict(kinds.sizes.most_common(_KINDS)),
        models=dict(kinds.models.most_common(_KINDS)),
        sent=tuple(kinds.sent),
        kept=tuple(kinds.kept),
        seconds_at_least=seconds_at_least(to_ask, limits, sends=read_sends(journal), now=time.time()),
        cost_at_most=None if price is None else round(images * price, 6),
    )


class _Kinds:
    """What requests are there: their sizes, models and columns, of which the first few are kept."""

    def __init__(self) -> None:
        self.sizes: Counter[str] = Counter()
        self.models: Counter[str] = Counter()
        self.sent: dict[str, None] = {}
        self.kept: dict[str, None] = {}

    def note(self, request: ImageRequest) -> None:
        self.sizes[request.size or "not sent"] += 1
        self.models[request.model] += 1
        self.sent.update(dict.fromkeys(islice(request.sent_beside, _KINDS - len(self.sent))))
        self.kept.update(dict.fromkeys(islice(request.metadata, _KINDS - len(self.kept))))


def tell_plan(plan: Plan, service: ServiceOptions, *, json: bool) -> None:
    """Print the plan on standard output."""
    if json:
        print_json(asdict(plan))
        return
    lines = [
        ("prompts", f"{plan.prompts}, of which {plan.done} {'is' if plan.done == 1 else 'are'} done already"),
        ("read as", plan.form),
        ("would ask for", f"{plan.to_ask}{_drawings(plan.to_ask) if service.emulate else ''}"),
        ("costs at most", "" if plan.cost_at_most is None else f"{plan.cost_at_most:.10g}"),
        ("beyond budget", f"{plan.beyond_budget}" if plan.beyond_budget else ""),
        (
            "maybe billed",
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


def _drawings(count: int) -> str:
    return f" {'drawing' if count == 1 else 'drawings'} by the emulator"


def _counted(kinds: dict[str, int]) -> str:
    return ", ".join(f"{shortened(kind)} ({count})" for kind, count in kinds.items())


def _least(plan: Plan, service: ServiceOptions) -> str:
    if not isinstance(service.rate_limit, list) or not plan.to_ask:
        return ""
    rates = ", ".join(map(visible, service.rates))
    return f"{span(plan.seconds_at_least)} until the last one is asked for, at {rates}"
