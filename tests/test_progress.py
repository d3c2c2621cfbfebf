"""Progress tells the truth: what is done, what it waits for, and how long it will still take."""

from __future__ import annotations

import re

import pytest
from rich.console import Console

from asi_image_async import Done, Failed, Generation, ImageRequest, RateLimit, Receipt
from asi_image_async.cli.display import BatchView
from asi_image_async.errors import APIConnectionError, APIStatusError, RateLimitError
from asi_image_async.events import (
    ImageStored,
    OutcomeReady,
    RateChanged,
    RequestFailed,
    RequestStarted,
    RequestSucceeded,
    RetryScheduled,
    Throttled,
    WaitStarted,
)
from asi_image_async.progress import Progress
from asi_image_async.progress.forecast import Forecast, seconds_at_least
from asi_image_async.progress.spans import span

FOX = ImageRequest(prompt="a fox")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make(progress: Progress, clock: Clock, seconds: float) -> None:
    progress(RequestStarted(FOX, 1))
    clock.now += seconds
    progress(RequestSucceeded(FOX, 1, seconds, 100, 1))
    progress(ImageStored(FOX, Receipt(("out/fox.jpg",), 100)))
    progress(OutcomeReady(Done(0, FOX, Generation(request=FOX, images=()))))


def skip(progress: Progress) -> None:
    progress(OutcomeReady(Done(0, FOX, Generation(request=FOX, images=()), skipped=True)))


def test_what_an_earlier_run_made_says_nothing_about_the_rate(clock: Clock) -> None:
    progress = Progress(1000, clock=clock)
    for _ in range(900):
        skip(progress)
    assert progress.rate() == ""
    assert progress.seconds_left is None
    for _ in range(10):
        make(progress, clock, 2.0)
    assert progress.rate() == "30 a minute"
    assert progress.seconds_left == pytest.approx(180.0)
    assert BatchView(progress).line() == ("910 of 1000 done, 900 from earlier, 30 a minute, 3 min left")


def test_time_left_follows_the_limit_not_the_burst_it_allows(clock: Clock) -> None:
    progress = Progress(9, limits=[RateLimit(3, 60)], concurrency=3, clock=clock)
    for _ in range(3):
        make(progress, clock, 1.0)
    # The first went out 3 s ago: the fourth and the seventh go out 57 s and 117 s from now.
    assert progress.seconds_left == pytest.approx(60 + 58 + 1 + 1, abs=3)
    clock.now += 30
    assert progress.seconds_left == pytest.approx(90, abs=3)


def test_time_left_is_never_less_than_the_wait_beside_it(clock: Clock) -> None:
    progress = Progress(5, concurrency=3, clock=clock)
    for _ in range(3):
        make(progress, clock, 1.0)
    progress(Throttled(52.0))
    assert progress.seconds_left == pytest.approx(52 + 1)
    clock.now += 30
    assert progress.seconds_left == pytest.approx(22 + 1)
    progress(RateChanged(1 / 20))
    assert progress.seconds_left == pytest.approx(22 + 20 + 1, abs=5)


def test_time_left_counts_what_earlier_runs_sent(clock: Clock) -> None:
    progress = Progress(10, limits=[RateLimit(10, 20)], concurrency=8, clock=clock)
    progress.recall([5.0] * 10)
    progress(WaitStarted("rate limit", 15.0))
    assert progress.seconds_left == pytest.approx(15)
    progress = Progress(30, limits=[RateLimit(10, 20)], concurrency=8, clock=clock)
    progress.recall([5.0] * 10)
    assert progress.seconds_left == pytest.approx(15 + 2 * 20)


def test_a_service_slower_than_the_limit_is_what_counts(clock: Clock) -> None:
    progress = Progress(11, limits=[RateLimit(60, 60)], concurrency=1, clock=clock)
    make(progress, clock, 20.0)
    assert progress.seconds_left == pytest.approx(200.0)


def test_the_rate_sinks_while_nothing_comes(clock: Clock) -> None:
    progress = Progress(100, clock=clock)
    for _ in range(10):
        make(progress, clock, 1.0)
    before = progress.seconds_left
    clock.now += 60
    after = progress.seconds_left
    assert before is not None
    assert after is not None
    assert after > before * 5


def test_a_forecast_over_thousands_of_requests_counts_whole_windows() -> None:
    forecast = Forecast([RateLimit(500, 86400), RateLimit(3, 60)], 8)
    assert forecast.seconds_left(1632, 0, 0.0) == 3 * 86400
    assert seconds_at_least(1632, [RateLimit(3, 60)]) == 543 * 60
    assert seconds_at_least(0, [RateLimit(3, 60)]) == 0
    assert seconds_at_least(5, []) == 0
    sends = [70.0, 80.0, 90.0]
    assert seconds_at_least(1, [RateLimit(3, 60)], sends=sends, now=100.0) == 30
    assert seconds_at_least(3, [RateLimit(3, 60)], sends=sends, now=100.0) == 50
    assert seconds_at_least(4, [RateLimit(3, 60)], sends=sends, now=100.0) == 90
    assert seconds_at_least(0, [RateLimit(3, 60)], sends=sends, now=100.0) == 0


def test_what_it_waits_for_is_named_and_counted_down(clock: Clock) -> None:
    progress = Progress(10, clock=clock)
    assert progress.waiting() == ""
    progress(WaitStarted("rate limit", 12.4))
    assert progress.waiting() == "waiting for the rate limit, 12 s"
    clock.now += 5
    assert progress.waiting() == "waiting for the rate limit, 7 s"
    progress(Throttled(1e14))
    assert progress.waiting().startswith("throttled by the service, next try in ")
    progress(Throttled(95.0))
    assert progress.waiting() == "throttled by the service, next try in 1 min 35 s"
    clock.now += 100
    assert progress.waiting() == ""


def test_a_retry_is_named_where_nothing_else_goes_on(clock: Clock) -> None:
    progress = Progress(10, clock=clock)
    error = APIConnectionError("no line")
    progress(RequestStarted(FOX, 1))
    progress(RequestStarted(FOX, 1))
    progress(RequestFailed(FOX, 1, 0.1, error))
    progress(RetryScheduled(FOX, 1, 8.0, error))
    assert (progress.in_flight, progress.waiting()) == (1, "")
    progress(RequestFailed(FOX, 1, 0.1, error))
    assert progress.waiting() == "waiting to try again, 8 s"


def test_a_run_that_was_cut_short_has_a_report(clock: Clock) -> None:
    progress = Progress(10, clock=clock)
    skip(progress)
    make(progress, clock, 1.0)
    progress(RequestStarted(FOX, 1))
    progress(RequestFailed(FOX, 1, 1.0, RateLimitError("slow down", status=429)))
    progress(OutcomeReady(Failed(2, FOX, APIStatusError("no", status=400))))
    progress(OutcomeReady(Failed(3, FOX, APIConnectionError("cut", maybe_billed=True))))
    progress(RequestStarted(FOX, 2))
    report = progress.report()
    assert (report.succeeded, report.skipped, report.failed, report.unknown) == (1, 1, 1, 2)
    assert (report.requests, report.retries, report.throttled, report.bytes_written) == (3, 1, 1, 100)


def test_a_hundred_thousand_events_take_no_more_memory_than_ten_thousand(clock: Clock) -> None:
    import tracemalloc

    progress = Progress(10**6, limits=[RateLimit(10**6, 60)], clock=clock)
    for _ in range(10_000):
        make(progress, clock, 0.01)
    tracemalloc.start()
    try:
        for _ in range(20_000):
            make(progress, clock, 0.01)
        assert tracemalloc.get_traced_memory()[0] < 500_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0 s"),
        (0.44, "0.4 s"),
        (41.2, "41 s"),
        (59.7, "1 min"),
        (401, "6 min 41 s"),
        (7500, "2 h 5 min"),
        (7207, "2 h"),
        (273_600, "3 d 4 h"),
    ],
)
def test_lengths_of_time_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert span(seconds) == said


def test_of_a_long_wait_it_says_until_when_and_no_earlier_request_hides_it(clock: Clock) -> None:
    progress = Progress(10, clock=clock)
    progress(WaitStarted("rate limit", 86_000.0))
    progress(RequestStarted(ImageRequest(prompt="let go before"), 1))
    assert re.fullmatch(r"waiting for the rate limit until (\w{3} )?\d\d:\d\d", progress.waiting())


def test_a_slow_sink_is_named_where_every_slot_waits_for_it(clock: Clock) -> None:
    progress = Progress(10, concurrency=2, clock=clock)
    for _ in range(2):
        progress(RequestStarted(FOX, 1))
    progress(RequestSucceeded(FOX, 1, 1.0, 100, 1))
    assert progress.waiting() == ""
    progress(RequestSucceeded(FOX, 1, 1.0, 100, 1))
    assert progress.waiting() == "waiting for 2 to be stored"
    progress(ImageStored(FOX, Receipt(("out/fox.jpg",), 100)))
    assert progress.waiting() == ""


def test_the_last_pictures_can_be_looked_through_while_more_come(clock: Clock) -> None:
    progress = Progress(100, clock=clock)
    make(progress, clock, 1.0)
    for _ in progress.last:  # as the thread that draws the bar does
        progress(ImageStored(FOX, Receipt(("out/owl-1.jpg", "out/owl-2.jpg"), 100)))
    assert progress.last[:3] == ("owl-2.jpg", "owl-1.jpg", "fox.jpg")


def test_where_nothing_more_is_asked_for_only_what_is_in_flight_is_still_to_come(clock: Clock) -> None:
    progress = Progress(100, limits=[RateLimit(3, 60)], clock=clock)
    make(progress, clock, 20.0)
    progress(RequestStarted(FOX, 1))
    progress(WaitStarted("rate limit", 30.0))
    assert (progress.seconds_left or 0) > 1000
    progress.drain()
    assert progress.seconds_left == pytest.approx(20)
    assert progress.waiting() == ""


def test_what_was_spent_so_far_is_told_where_the_price_is_known(clock: Clock) -> None:
    without, with_price = Progress(10, clock=clock), Progress(10, price=0.04, clock=clock)
    for progress in (without, with_price):
        make(progress, clock, 1.0)
        make(progress, clock, 1.0)
        progress(RequestFailed(FOX, 1, 1.0, APIConnectionError("cut", maybe_billed=True)))  # not for sure
    assert without.cost() == ""
    assert with_price.cost() == "0.08 spent"
    assert "0.08 spent" in BatchView(with_price).line()


@pytest.mark.parametrize("days", [2, 19, 120, 2000])
def test_a_long_time_left_is_not_cut(clock: Clock, days: int) -> None:
    progress = Progress(days * 500, limits=[RateLimit(500, 86400)], clock=clock)
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(BatchView(progress).live())
    assert re.search(r"\d+ d( \d+ h)? left$", capture.get().splitlines()[0].rstrip())


@pytest.mark.parametrize("width", [80, 200])
def test_a_terminal_shows_the_last_pictures_and_no_line_is_broken(clock: Clock, width: int) -> None:
    progress = Progress(1632, price=0.04, limits=[RateLimit(3, 60)], clock=clock)
    for number in range(5):
        progress(RequestStarted(FOX, 1))
        clock.now += 20.0
        progress(RequestSucceeded(FOX, 1, 20.0, 100, 1))
        progress(ImageStored(FOX, Receipt((f"out/a-fox-with-a-long-name-{number}\x1b[31m.jpg",), 100)))
        progress(OutcomeReady(Done(0, FOX, Generation(request=FOX, images=()))))
    progress(WaitStarted("rate limit", 30.0))
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(BatchView(progress).live())
    first, second, third = capture.get().splitlines()
    assert first.startswith("   5 of 1632")
    assert "waiting for the rate limit, 30 s" in second
    assert third.startswith(r"a-fox-with-a-long-name-4\x1b[31m.jpg")
    assert all(len(line) <= width for line in (first, second, third))
    assert second.endswith("waiting for the rate limit, 30 s · 0.20 spent")
