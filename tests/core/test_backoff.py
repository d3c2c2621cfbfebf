"""One table says whose fault a failure is, whether it is tried again, and after how long."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asi_image_async.core.backoff import Money, brings_nothing, money, retry_delay, stops_all
from asi_image_async.core.wire import read_error
from asi_image_async.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    BadRequestError,
    InvalidResponseError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
)
from asi_image_async.policies import RetryPolicy

UNKNOWN_TOO = RetryPolicy(resend_unknown=True)


def status(code: int, message: str = "", **headers: str) -> APIError:
    return read_error(
        code, {name.replace("_", "-"): value for name, value in headers.items()}, message.encode()
    )


@pytest.mark.parametrize(
    ("error", "fate", "again", "again_if_told"),
    [
        (APIConnectionError("no route"), Money.NEVER_DELIVERED, True, True),
        (APITimeoutError("while connecting"), Money.NEVER_DELIVERED, True, True),
        (status(408), Money.REJECTED, True, True),
        (status(425), Money.REJECTED, True, True),
        (status(429), Money.REJECTED, True, True),
        (status(500), Money.REJECTED, True, True),
        (status(503), Money.REJECTED, True, True),
        (status(529), Money.REJECTED, True, True),
        (status(400), Money.REFUSED, False, False),
        (status(401), Money.REFUSED, False, False),
        (status(402), Money.REFUSED, False, False),
        (status(403), Money.REFUSED, False, False),
        (status(404), Money.REFUSED, False, False),
        (status(413), Money.REFUSED, False, False),
        (status(422), Money.REFUSED, False, False),
        (status(307), Money.REFUSED, False, False),
        (status(429, "daily quota spent"), Money.REFUSED, False, False),
        (QuotaExceededError("", status=429, maybe_billed=True), Money.REFUSED, False, False),
        (InvalidResponseError("no picture"), Money.REFUSED, False, False),
        (APIConnectionError("reset", maybe_billed=True), Money.UNKNOWN, False, True),
        (APITimeoutError("no whole reply", maybe_billed=True), Money.UNKNOWN, False, True),
        (status(502), Money.UNKNOWN, False, True),
        (status(504), Money.UNKNOWN, False, True),
        # It came whole, and would come again in the same shape.
        (InvalidResponseError("unreadable", maybe_billed=True), Money.UNKNOWN, False, False),
    ],
    ids=repr,
)
def test_a_failure_is_sorted_by_what_happened_to_the_money(
    error: APIError, fate: Money, again: bool, again_if_told: bool
) -> None:
    plain = retry_delay(error, 1, RetryPolicy(), 0.5)
    told = retry_delay(error, 1, UNKNOWN_TOO, 0.5)
    assert money(error) is fate
    assert (plain is not None, told is not None) == (again, again_if_told)


def test_there_are_no_more_tries_than_were_allowed() -> None:
    error, policy = status(503), RetryPolicy(max_attempts=3)
    assert [retry_delay(error, attempt, policy, 0.0) is None for attempt in (1, 2, 3, 4)] == [
        False, False, True, True,
    ]  # fmt: skip
    assert retry_delay(error, 1, RetryPolicy(max_attempts=1), 0.0) is None


def test_the_wait_doubles_until_it_is_long_enough() -> None:
    policy = RetryPolicy(max_attempts=99, backoff=0.5, max_backoff=5.0)
    waits = [retry_delay(status(503), attempt, policy, 0.0) for attempt in (1, 2, 3, 4, 5, 6, 50)]
    assert waits == [0.25, 0.5, 1.0, 2.0, 2.5, 2.5, 2.5]


@settings(max_examples=100, deadline=None)
@given(
    attempt=st.integers(1, 10_000),
    chance=st.floats(0, 1, exclude_max=True),
    asked=st.none() | st.floats(0, 300),
    backoff=st.floats(0, 100),
    max_backoff=st.floats(0, 100),
)
def test_the_wait_is_half_chance_and_never_shorter_than_the_service_asks(
    attempt: int, chance: float, asked: float | None, backoff: float, max_backoff: float
) -> None:
    policy = RetryPolicy(max_attempts=10**6, backoff=backoff, max_backoff=max_backoff)
    error = RateLimitError("", status=429, retry_after=asked)
    low, delay, high = (retry_delay(error, attempt, policy, luck) for luck in (0.0, chance, 1.0))
    assert low is not None
    assert delay is not None
    assert high is not None
    assert (asked or 0.0) <= low <= delay <= high <= (asked or 0.0) + max_backoff


def test_a_wait_that_is_longer_than_allowed_is_no_other_try_and_stops_the_run() -> None:
    policy = RetryPolicy(max_wait=60)
    for code in (429, 503):
        assert retry_delay(status(code, Retry_After="60"), 1, policy, 0.0) is not None
        assert retry_delay(status(code, Retry_After="61"), 1, policy, 0.0) is None
        assert not stops_all(status(code, Retry_After="60"), anything_succeeded=True, policy=policy)
        assert stops_all(status(code, Retry_After="61"), anything_succeeded=True, policy=policy)


@pytest.mark.parametrize(
    ("error", "at_first", "later"),
    [
        (status(401), True, True),
        (status(402), True, True),
        (status(429, "monthly quota"), True, True),
        (status(403), True, False),
        (status(404), True, False),
        (status(400), False, False),
        (status(422), False, False),
        (status(429), False, False),
        (ServerError("", status=500), False, False),
        (APIConnectionError(""), False, False),
        (APIConnectionError("", maybe_billed=True), False, False),
        (APITimeoutError("", maybe_billed=True), False, False),
        (InvalidResponseError(""), False, False),
    ],
    ids=repr,
)
def test_what_would_fail_for_every_prompt_ends_the_run(error: APIError, at_first: bool, later: bool) -> None:
    assert stops_all(error, anything_succeeded=False, policy=RetryPolicy()) is at_first
    assert stops_all(error, anything_succeeded=True, policy=RetryPolicy()) is later


def test_a_service_that_no_prompt_reached_ends_the_run_but_not_for_one_of_them() -> None:
    def stops(error: APIError, unreached: int) -> bool:
        return stops_all(error, anything_succeeded=False, policy=RetryPolicy(), unreached=unreached)

    assert [stops(APIConnectionError(""), unreached) for unreached in (0, 1, 2, 3)] == [False] * 3 + [True]
    assert not stops(APIConnectionError("", maybe_billed=True), 3)


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (InvalidResponseError("unreadable", maybe_billed=True), True),
        (APITimeoutError("no whole reply", maybe_billed=True), True),
        (status(504), True),
        (status(524), True),
        (status(502), False),
        (APIConnectionError("cut", maybe_billed=True), False),
        (InvalidResponseError("no picture for this prompt"), False),
        (APITimeoutError("while connecting"), False),
    ],
    ids=repr,
)
def test_where_all_replies_come_to_nothing_and_may_be_billed_the_third_ends_the_run(
    error: APIError, ends: bool
) -> None:
    def stops(for_nothing: int, *, succeeded: bool) -> bool:
        return stops_all(error, anything_succeeded=succeeded, policy=RetryPolicy(), for_nothing=for_nothing)

    assert brings_nothing(error) is ends
    if ends:
        assert [stops(number, succeeded=False) for number in (1, 2, 3)] == [False, False, True]
        assert not stops(3, succeeded=True)


def test_after_a_wait_that_was_asked_for_not_all_come_back_at_once() -> None:
    error = ServerError("", status=503, retry_after=10.0)
    delays = {retry_delay(error, 1, RetryPolicy(), number / 10) for number in range(10)}
    assert len(delays) == 10
    assert min(delay or 0.0 for delay in delays) >= 10


def test_a_refused_prompt_that_names_a_wait_stops_no_other() -> None:
    error = BadRequestError("", status=400, retry_after=3600.0)
    assert not stops_all(error, anything_succeeded=True, policy=RetryPolicy())
