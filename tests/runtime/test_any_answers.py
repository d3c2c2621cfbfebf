"""Whatever becomes of its turns, the gate keeps its limits, waits as it is asked, and lets all in."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

import anyio
from clock import on_a_fake_clock
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asi_image_async import RateLimit
from asi_image_async.events import Event, RateChanged, Throttled, WaitStarted
from asi_image_async.runtime.gate import Gate


@dataclass(frozen=True)
class Fate:
    """A turn's: when its task comes, how long it takes, and what becomes of it."""

    comes: float
    takes: float
    end: str
    asks: float | None  # how long the service asks to wait, where it refuses
    gives_up: float | None  # after so many seconds of waiting for the turn


_A_HAIR = 1e-6  # seconds: what sums of times are wrong by
_FOR_EVER = 1e7  # seconds: longer than all of them are asked to wait, one after another
_seconds = st.sampled_from([0.0, 1e-9, 0.001, 0.3, 1.0, 7.5]) | st.floats(0, 30)
_waits = st.sampled_from([None, 0.0, 1e-9, 0.5, 1.0, 59.999, 60.0, 3600.0, 1e5])
_fates = st.builds(
    Fate,
    comes=_seconds,
    takes=_seconds,
    end=st.sampled_from(["succeeded", "succeeded", "succeeded", "failed", "refused", "cancelled"]),
    asks=_waits,
    gives_up=st.sampled_from([None, None, None, 0.0, 0.1, 10.0]),
)
_limits = st.none() | st.lists(
    st.builds(RateLimit, st.integers(1, 4), st.sampled_from([0.1, 1.0, 60.0, 86_400.0])), max_size=2
)


class Service:
    """Gives each turn its fate, and looks at what the gate does."""

    def __init__(self, limits: list[RateLimit] | None, width: int) -> None:
        self.events: list[Event] = []
        self.gate = Gate(limits, width, self.events.append)
        self.width = width
        self.inside = 0
        self.closed_until = 0.0
        self.sent: list[float] = []
        self.came_in = 0

    async def ask(self, fate: Fate) -> None:
        await asyncio.sleep(fate.comes)
        with anyio.move_on_after(fate.gives_up):
            turn = await self.gate.enter()
        if "turn" not in locals():
            return
        now = anyio.current_time()
        assert turn.granted <= now
        assert now >= self.closed_until - _A_HAIR
        self.inside += 1
        self.came_in += 1
        assert self.inside <= self.width
        self.gate.sent(turn)
        self.sent.append(now)
        await asyncio.sleep(fate.takes)
        if fate.end == "refused":
            pause = await self.gate.refused(turn, fate.asks)
            assert (fate.asks or 0.0) - _A_HAIR <= pause < math.inf
            self.closed_until = max(self.closed_until, anyio.current_time() + (fate.asks or 0.0))
        elif fate.end != "cancelled":
            getattr(self.gate, fate.end)(turn)
        self.inside -= 1
        self.gate.leave(turn)


@settings(max_examples=150, deadline=None)
@given(limits=_limits, width=st.integers(1, 5), fates=st.lists(_fates, min_size=1, max_size=15))
# The first is refused late, and asks for a minute, while the one that tries the gate again is let through.
@example(
    limits=[],
    width=3,
    fates=[
        Fate(0.0, 5.0, "refused", 60.0, None),
        Fate(0.0, 1.0, "refused", None, None),
        Fate(1.5, 4.0, "succeeded", None, None),
        Fate(7.0, 0.0, "succeeded", None, None),
    ],
)
def test_no_answer_makes_it_break_a_limit_a_place_or_a_promise_or_keep_anybody_for_ever(
    limits: list[RateLimit] | None, width: int, fates: list[Fate]
) -> None:
    async def main() -> Service:
        service = Service(limits, width)
        with anyio.fail_after(_FOR_EVER):
            async with anyio.create_task_group() as group:
                for fate in fates:
                    group.start_soon(service.ask, fate)
        return service

    service = on_a_fake_clock(main())
    assert service.came_in >= sum(fate.gives_up is None for fate in fates)
    for limit in limits or ():
        for first, later in zip(service.sent, service.sent[limit.n :], strict=False):
            assert later - first >= limit.per - _A_HAIR
    for event in service.events:
        match event:
            case Throttled(pause=seconds) | WaitStarted(seconds=seconds) | RateChanged(per_second=seconds):
                assert seconds is None or 0 <= seconds < math.inf
