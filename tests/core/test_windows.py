"""No window is ever over its number, and a limit is used as early as it allows."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asi_image_async.core.pace import Turn, Windows, margin
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
        windows.add(Turn(clock, sent=clock))
        sent.append(clock)
    for limit in limits:
        for first, past in zip(sent, sent[limit.n :], strict=False):
            assert past - first >= limit.per


def test_the_whole_number_goes_out_at_once_and_the_next_a_window_later() -> None:
    windows = Windows([RateLimit(3, per=60)])
    for _ in range(3):
        assert windows.opens_at(100.0) == 100.0
        windows.add(Turn(100.0, sent=100.0))
    assert windows.opens_at(100.0) == 160.0 + margin(60)


def test_the_strictest_of_several_limits_counts() -> None:
    windows = Windows([RateLimit(1, per=1), RateLimit(2, per=60)])
    times = []
    for _ in range(3):
        times.append(windows.opens_at(times[-1] if times else 0.0))
        windows.add(Turn(times[-1], sent=times[-1]))
    assert times == [0.0, 1.0 + margin(1), 60.0 + margin(60)]


def test_a_turn_is_never_in_the_past() -> None:
    windows = Windows([RateLimit(1, per=1)])
    windows.add(Turn(0.0, sent=0.0))
    assert windows.opens_at(50.0) == 50.0
    assert Windows([]).opens_at(7.0) == 7.0


def test_what_counts_is_when_a_request_really_left() -> None:
    windows = Windows([RateLimit(1, per=10)])
    connecting = Turn(0.0)
    windows.add(connecting)
    assert windows.opens_at(9.0) >= 19.0  # it may leave now at the earliest
    connecting.sent = 3.0
    assert windows.opens_at(9.0) == 13.0 + margin(10)


@pytest.mark.parametrize("per", [0.01, 1.0, 2.0, 60.0, 86400.0])
def test_the_margin_is_small_but_there(per: float) -> None:
    assert 0 < margin(per) <= min(0.5, 0.01 * per + 0.01)
