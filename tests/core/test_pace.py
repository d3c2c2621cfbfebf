"""What a refusal teaches, what it does not, and when there is a try for more."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable

import pytest

from asi_image_async.core.pace import Pace, margin
from asi_image_async.policies import RateLimit


def refused_once(pace: Pace, sent: int, retry_after: float | None = None) -> float:
    """So many at once, and one more that is refused; when the gate opens again."""
    for _ in range(sent):
        pace.succeeded(pace.grant(0.0), 0.01)
    return 0.01 + pace.refused(pace.grant(0.01), 0.01, retry_after, 0.0)


def test_nothing_told_and_nothing_refused_is_no_pace() -> None:
    pace = Pace(None, 32)
    assert (pace.interval, pace.learnt) == (0.0, None)


def test_it_starts_gently_and_grows_with_what_is_let_through() -> None:
    pace = Pace(None, 32)
    first = [pace.grant(0.0), pace.grant(0.0)]
    assert pace.opens_at(0.0) > 0.0
    for turn in first:
        pace.succeeded(turn, 0.1)
    for _ in range(4):
        assert pace.opens_at(0.1) == 0.1
        pace.grant(0.1)
    assert pace.opens_at(0.1) > 0.1


def test_what_was_not_refused_for_a_while_was_let_through_even_if_its_picture_takes_long() -> None:
    pace = Pace(None, 32)
    pace.grant(0.0)
    pace.grant(0.0)
    assert pace.opens_at(0.0) == 0.5
    assert pace.opens_at(0.5) == 0.5


def test_a_told_limit_does_not_start_gently() -> None:
    pace = Pace([RateLimit(20, per=2)], 32)
    for _ in range(20):
        assert pace.opens_at(0.0) == 0.0
        pace.grant(0.0).sent = 0.0
    assert pace.opens_at(0.0) == 2.0 + margin(2)


def test_the_number_let_through_before_a_refusal_is_the_limit() -> None:
    pace = Pace(None, 32)
    opens = refused_once(pace, 20)
    assert 1.0 < opens < 1.2
    probe = pace.grant(opens)
    assert pace.opens_at(opens) > opens  # it goes alone
    pace.succeeded(probe, opens + 0.1)
    assert pace.opens_at(opens + 0.1) == opens + 0.1
    assert pace.learnt == (20.0, 1.0)


def test_a_longer_window_is_found_by_waiting_longer() -> None:
    pace = Pace(None, 8)
    now, refusals = refused_once(pace, 3), 1
    while now < 60:
        now += pace.refused(pace.grant(now), now, None, 0.0)
        refusals += 1
    pace.succeeded(pace.grant(now), now + 20)
    assert refusals <= 4
    assert pace.learnt == (3.0, 60.0)


def test_retry_after_is_a_floor_for_everyone_and_a_burst_counts_as_one() -> None:
    pace = Pace(None, 8)
    others = [pace.grant(0.0), pace.grant(0.0)]
    assert refused_once(pace, 3, retry_after=7.0) >= 7.01
    for turn in others:
        pace.refused(turn, 0.02, None, 0.0)
    assert pace.opens_at(0.02) == pytest.approx(7.01)
    pace.refused(others[0], 0.03, 9.0, 0.0)
    assert pace.opens_at(0.03) == pytest.approx(9.03)


def test_chance_adds_a_little_and_never_takes_away() -> None:
    pauses = []
    for luck in range(10):
        pace = Pace(None, 8)
        pauses.append(pace.refused(pace.grant(10.0), 10.0, 30.0, luck / 10))
    assert pauses == sorted(pauses)
    assert pauses[0] >= 30.0
    assert 0 < pauses[-1] - pauses[0] <= 1.0


def test_a_told_limit_that_is_refused_is_spaced_evenly_at_its_own_rate() -> None:
    pace = Pace([RateLimit(50, per=1), RateLimit(10_000, per=86400)], 32)
    refused_once(pace, 10)
    assert pace.interval == pytest.approx(1 / 50, rel=0.01)


@pytest.mark.parametrize(("n", "per"), [(2, 4), (3, 15), (4, 2), (5, 10), (3, 60), (500, 86400)])
def test_a_told_limit_that_is_refused_is_as_fast_as_told_and_teaches_nobody(n: int, per: float) -> None:
    pace = Pace([RateLimit(n, per=per)], 8)
    refused_once(pace, 10)
    assert pace.interval == pytest.approx(per / n, rel=0.01)
    assert pace.learnt is None


def test_a_told_limit_is_as_fast_as_told_after_a_wait_that_was_asked_for() -> None:
    pace = Pace([RateLimit(100, per=1)], 16)
    opens_at = refused_once(pace, 11, retry_after=2.0)
    pace.succeeded(pace.grant(opens_at), opens_at + 0.02)
    assert opens_at >= 2.0
    assert pace.interval == pytest.approx(1 / 100, rel=0.01)


def test_a_server_error_is_no_sign_of_a_limit() -> None:
    pace = Pace(None, 8)
    for _ in range(50):
        pace.failed(pace.grant(0.0), 0.1)
    assert (pace.interval, pace.opens_at(0.1)) == (0.0, 0.1)


def test_what_an_earlier_run_learnt_is_where_the_next_one_begins_unless_it_was_told() -> None:
    pace = Pace(None, 8)
    pace.recall((3.0, 60.0), now=0.0)
    assert pace.interval == pytest.approx(20, rel=0.05)
    told = Pace([RateLimit(5, per=1)], 8)
    told.recall((3.0, 60.0), now=0.0)
    assert told.interval == 0.0


def test_turns_of_an_earlier_process_count_in_the_windows() -> None:
    pace = Pace([RateLimit(2, per=86400)], 8)
    pace.recall_turns([9000.0, 9500.0], ahead=10_000.0, now=0.0)
    assert pace.opens_at(0.0) == pytest.approx(86400 - 1000, abs=1)


def test_turns_of_the_past_push_no_newer_ones_out_of_a_window() -> None:
    pace = Pace([RateLimit(3, per=6)], 8)
    for _ in range(3):
        pace.grant(0.0).sent = 0.0
    pace.recall_turns([-4.0, -3.0, -2.0], ahead=0.0, now=0.5)
    assert pace.opens_at(0.5) == pytest.approx(6, abs=0.1)


def test_turns_that_are_recalled_again_count_once_and_those_of_one_moment_each() -> None:
    pace = Pace([RateLimit(4, per=60)], 8)
    for _ in range(3):
        pace.recall_turns([-2.0, -2.0], ahead=0.0, now=0.0)
    pace.grant(0.0)
    assert pace.opens_at(0.0) == 0.0
    pace.grant(0.0)
    assert pace.opens_at(0.0) > 57


def test_sends_of_a_time_of_day_still_to_come_hold_a_limit_up_no_longer_than_its_window() -> None:
    pace = Pace([RateLimit(1, per=60)], 8)
    pace.recall_turns([86_400.0], ahead=0.0, now=0.0)
    assert pace.opens_at(0.0) == pytest.approx(60 + margin(60))


def test_a_long_wait_that_was_asked_for_is_not_forgotten_for_a_short_one() -> None:
    pace = Pace(None, 8)
    first, second = pace.grant(0.0), pace.grant(0.0)
    pace.refused(first, 0.1, 3600.0, 0.0)
    pace.refused(second, 0.2, None, 0.0)
    assert pace.asked_until == pytest.approx(3600.1)


def test_a_told_limit_that_was_refused_never_grows_beyond_what_was_told() -> None:
    pace, now = Pace([RateLimit(50, per=1)], 8), 0.0
    pace.refused(pace.grant(now), now, None, 0.0)
    for _ in range(1000):
        now = pace.opens_at(now + 1)
        turn = pace.grant(now, waited=1.0)
        turn.sent = now
        pace.succeeded(turn, now)
    assert pace.interval >= 1 / 50


class Bucket:
    """So many tokens a second flow in, at most `burst` are kept, and a request takes one."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = float(burst), 0.0

    def __call__(self, now: float) -> bool:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        admits = self._tokens >= 1
        self._tokens -= admits
        return admits


def raced(pace: Pace, admits: Callable[[float], bool], seconds: float) -> tuple[int, int]:
    """How many are let through in so long, and how many refused, where there is always one more to send."""
    now, last = 0.0, -math.inf
    counts = Counter[bool]()
    while now < seconds:
        came = now
        while (opens_at := max(pace.opens_at(now), last + pace.interval)) > now:
            now = opens_at
        turn = pace.grant(now, waited=now - came)
        turn.sent = last = now
        counts[admitted := admits(now)] += 1
        if admitted:
            pace.succeeded(turn, now + 0.03)
        else:
            pace.refused(turn, now + 0.03, None, 0.5)
    return counts[True], counts[False]


@pytest.mark.parametrize(
    ("n", "per", "strays", "least"),
    [
        (60, 60, 0.0, 0.98),
        (60, 60, 0.01, 0.85),
        (60, 60, 0.03, 0.25),
        (3, 60, 0.01, 0.95),
        (50, 1, 0.01, 0.6),
    ],
)
def test_a_told_limit_is_used_though_a_busy_service_refuses_a_few(
    n: int, per: float, strays: float, least: float
) -> None:
    chance = random.Random(1)
    pace = Pace([RateLimit(n, per=per)], 16)
    let_through, _ = raced(pace, lambda _: chance.random() >= strays, 150 * per)
    assert let_through / (150 * n) >= least


@pytest.mark.parametrize(("rate", "burst"), [(20, 20), (1, 60)])
def test_a_learnt_limit_is_used_though_a_busy_service_refuses_a_few(rate: float, burst: int) -> None:
    chance, bucket, seconds = random.Random(1), Bucket(rate, burst), 5_000 / rate
    pace = Pace(None, 16)
    let_through, refused = raced(pace, lambda now: chance.random() >= 0.01 and bucket(now), seconds)
    assert let_through / (rate * seconds) >= 0.7
    assert refused <= 0.06 * let_through


@pytest.mark.parametrize(("rate", "burst"), [(0.95, 20), (0.8, 60), (0.5, 20), (0.5, 1)])
def test_a_told_limit_above_what_a_services_bucket_gets_is_given_up_for_that(rate: float, burst: int) -> None:
    let_through, refused = raced(Pace([RateLimit(60, per=60)], 16), Bucket(rate, burst), 150 * 60)
    assert let_through >= 0.93 * rate * 150 * 60
    assert refused <= 0.03 * let_through


def kept_for(windows: int) -> Pace:
    """Told five a second, which so many windows have kept to."""
    pace = Pace([RateLimit(5, per=1)], 16)
    for window in range(windows):
        for _ in range(5):
            turn = pace.grant(2.0 * window)
            turn.sent = 2.0 * window
            pace.succeeded(turn, 2.0 * window)
    return pace


def test_a_refusal_where_others_were_let_through_with_as_many_before_them_cuts_nothing() -> None:
    pace = kept_for(windows=3)
    pause = pace.refused(pace.grant(6.0), 6.01, None, 0.0)
    assert pause < 0.1
    probe = pace.grant(6.1)
    assert pace.opens_at(6.1) > 6.1  # it goes alone
    pace.succeeded(probe, 6.2)
    assert (pace.interval, pace.opens_at(6.2)) == (0.0, 6.2)


def test_a_second_refusal_in_a_row_is_a_limits() -> None:
    pace = kept_for(windows=3)
    pace.refused(pace.grant(6.0), 6.01, None, 0.0)
    pace.refused(pace.grant(6.1), 6.11, None, 0.0)
    assert pace.interval == pytest.approx(1 / 5, rel=0.01)


def test_a_refusal_beyond_what_was_ever_let_through_is_a_limits() -> None:
    pace = Pace([RateLimit(50, per=1)], 64)
    for second in (0.0, 2.0):
        for _ in range(20):
            pace.succeeded(pace.grant(second), second)
        pace.refused(pace.grant(second), second + 0.01, None, 0.0)
        pace.succeeded(pace.grant(second + 1.1), second + 1.2)
    assert pace.interval == pytest.approx(1 / 25, rel=0.01)
