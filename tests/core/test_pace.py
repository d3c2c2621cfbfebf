"""No window is ever over its number, a limit is used as early as it allows, and a refusal slows all down."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asi_image_async.core.pace import AutoPace, Windows, margin
from asi_image_async.policies import RateLimit

_limits = st.lists(
    st.builds(RateLimit, st.integers(1, 5), st.sampled_from([0.5, 1.0, 2.0, 7.5, 60.0])), max_size=3
)
# Seconds between one caller's coming and the next one's: bursts, trickles and long silences.
_gaps = st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.3, 1.0, 10.0, 100.0]) | st.floats(0, 5), max_size=40)


@settings(max_examples=100, deadline=None)
@given(limits=_limits, gaps=_gaps)
def test_no_window_is_ever_over_its_number_and_no_turn_is_later_than_it_must_be(
    limits: list[RateLimit], gaps: list[float]
) -> None:
    windows = Windows(limits)
    spans = [(limit.n, limit.per + margin(limit.per)) for limit in limits]
    sent: list[float] = []
    clock = 0.0

    def allowed(moment: float) -> bool:
        return all(sum(moment < earlier + span for earlier in sent) < n for n, span in spans)

    for comes_at in itertools.accumulate(gaps):
        clock = max(clock, comes_at)
        turn = windows.opens_at(clock)
        leaving = [earlier + span for earlier in sent for _, span in spans]
        earliest = min(moment for moment in [clock, *leaving] if moment >= clock and allowed(moment))
        assert turn == earliest
        clock = turn
        windows.sent(clock)
        sent.append(clock)
    for limit in limits:
        for first, past in zip(sent, sent[limit.n :], strict=False):
            assert past - first >= limit.per


def test_the_whole_number_goes_out_at_once_and_the_next_a_window_later() -> None:
    windows = Windows([RateLimit(3, per=60)])
    for _ in range(3):
        assert windows.opens_at(100.0) == 100.0
        windows.sent(100.0)
    assert windows.opens_at(100.0) == 160.0 + margin(60)


def test_the_strictest_of_several_limits_counts() -> None:
    windows = Windows([RateLimit(1, per=1), RateLimit(2, per=60)])
    times = []
    for _ in range(3):
        times.append(windows.opens_at(times[-1] if times else 0.0))
        windows.sent(times[-1])
    assert times == [0.0, 1.0 + margin(1), 60.0 + margin(60)]


def test_a_turn_is_never_in_the_past() -> None:
    windows = Windows([RateLimit(1, per=1)])
    windows.sent(0.0)
    assert windows.opens_at(50.0) == 50.0
    assert Windows([]).opens_at(7.0) == 7.0


@pytest.mark.parametrize("per", [0.01, 1.0, 2.0, 60.0, 86400.0])
def test_the_margin_is_small_but_there(per: float) -> None:
    assert 0 < margin(per) <= min(0.5, 0.02 * per + 0.01)


# Where nobody told the limit


def test_nothing_is_held_back_before_the_first_refusal() -> None:
    pace = AutoPace()
    assert (pace.interval, pace.closed_until) == (0.0, 0.0)


def test_each_refusal_doubles_the_pause_and_the_spacing_up_to_a_bound() -> None:
    pace, now, pauses, intervals = AutoPace(), 10.0, [], []
    for _ in range(12):
        pauses.append(pace.refused(now, now, None, 0.0))
        intervals.append(pace.interval)
        assert pace.closed_until == now + pauses[-1]
        now = pace.closed_until
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]
    assert intervals[:3] == [0.25, 0.5, 1.0]
    assert intervals == sorted(intervals)
    assert intervals[-1] == AutoPace.LONGEST_INTERVAL


def test_a_burst_of_refusals_counts_as_one() -> None:
    pace = AutoPace()
    pace.refused(10.0, 9.0, None, 0.0)
    once = (pace.interval, pace.closed_until)
    for late in (10.1, 10.5, 10.9):
        pace.refused(late, 9.9, None, 0.0)
    assert (pace.interval, pace.closed_until) == once
    assert pace.refused(12.0, 11.5, None, 0.0) == 2.0  # sent after the gate had opened: a new one


def test_the_service_s_own_wait_is_a_floor_even_within_a_burst() -> None:
    pace = AutoPace()
    assert pace.refused(10.0, 9.0, 30.0, 0.0) == 30.0
    assert pace.refused(11.0, 9.0, 45.0, 0.0) == 45.0
    assert pace.refused(12.0, 9.0, 5.0, 0.0) == 44.0


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.floats(0, 20), st.floats(0, 20), st.none() | st.floats(0, 90), st.floats(0, 0.999)),
        max_size=20,
    )
)
def test_the_gate_never_opens_earlier_than_was_said(
    steps: list[tuple[float, float, float | None, float]],
) -> None:
    pace, now, latest = AutoPace(), 100.0, 0.0
    for later, ago, asked, chance in steps:
        now += later
        wait = pace.refused(now, now - ago, asked, chance)
        assert wait >= (asked or 0.0) - 1e-9
        assert wait <= max(AutoPace.LONGEST_PAUSE, 90.0) + 1.0
        assert pace.closed_until >= latest
        latest = pace.closed_until


def test_chance_adds_a_little_so_that_programs_come_back_one_by_one() -> None:
    waits = {AutoPace().refused(10.0, 10.0, 30.0, luck / 10) for luck in range(10)}
    assert len(waits) == 10
    assert 30.0 <= min(waits) < max(waits) <= 31.0


def test_success_brings_the_pace_back_to_none() -> None:
    pace = AutoPace()
    pace.refused(10.0, 10.0, None, 0.0)
    pace.refused(20.0, 20.0, None, 0.0)
    slow = pace.interval
    pace.succeeded()
    assert 0 < pace.interval < slow
    for _ in range(200):
        pace.succeeded()
    assert pace.interval == 0.0
    assert pace.refused(100.0, 100.0, None, 0.0) == AutoPace.FIRST_PAUSE
