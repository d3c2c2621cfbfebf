"""A rate and a retry policy mean what is written, and what cannot be meant is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from asi_image_async.errors import ConfigurationError
from asi_image_async.policies import RateLimit, RetryPolicy, parse_rate_limits, parse_retry


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("3/min", RateLimit(3, per=60)),
        ("20/2s", RateLimit(20, per=2)),
        ("500/day", RateLimit(500, per=86400)),
        ("1/s", RateLimit(1, per=1)),
        ("10/0.5s", RateLimit(10, per=0.5)),
        ("100/h", RateLimit(100, per=3600)),
        ("7/2 hours", RateLimit(7, per=7200)),
        (" 3 / MIN ", RateLimit(3, per=60)),
        ("5/1.5min", RateLimit(5, per=90)),
        ("2/d", RateLimit(2, per=86400)),
    ],
)
def test_a_rate_is_read_as_people_write_it(text: str, limit: RateLimit) -> None:
    assert RateLimit.parse(text) == limit
    assert parse_rate_limits(text) == (limit,)


@pytest.mark.parametrize(
    "text",
    ["fast", "", "3", "3/", "/min", "0/min", "-3/min", "3/0s", "3/0.0min", "1.5/s", "3/week", "3/min/s",
     "3 per min", "٣/min", "9" * 5000 + "/s", "3/" + "9" * 400 + "s", "auto/min", "nan/s"],
)  # fmt: skip
def test_what_is_not_a_rate_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_rate_limits(text)
    assert "3/min" in caught.value.hint
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("n", "per"),
    [(0, 1), (-1, 1), (1.5, 1), (True, 1), ("3", 1), (3, 0), (3, -1), (3, math.inf), (3, math.nan), (3, "60"),
     (3, None), (3, True), pytest.param(3, 10**400, id="huge")],
)  # fmt: skip
def test_a_rate_limit_is_a_whole_number_in_a_positive_time(n: Any, per: Any) -> None:
    with pytest.raises(ConfigurationError, match="a rate limit needs"):
        RateLimit(n, per)


@pytest.mark.parametrize("place", [5, True, b"name", ["name"]])
def test_a_limit_is_shared_by_a_name_or_a_path(place: Any) -> None:
    with pytest.raises(ConfigurationError, match="by a name or a path"):
        RateLimit(3, 60, shared=place)


def test_limits_are_none_one_or_several_or_found_out() -> None:
    assert parse_rate_limits(None) == ()
    assert parse_rate_limits("auto") is None
    assert parse_rate_limits(RateLimit(3, per=60)) == (RateLimit(3, per=60),)
    both = (RateLimit(3, per=60), RateLimit(500, per=86400))
    assert parse_rate_limits(["3/min", RateLimit(500, per=86400)]) == both
    assert parse_rate_limits(text for text in ("3/min", "500/day")) == both


@pytest.mark.parametrize("value", [3, 1.5, ["auto"], [3], ["3/min", None], b"3/min", object()])
def test_anything_else_is_not_a_limit(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not a rate"):
        parse_rate_limits(value)


def test_a_number_is_a_policy_of_so_many_attempts() -> None:
    assert parse_retry(1) == RetryPolicy(max_attempts=1)
    policy = RetryPolicy(max_wait=5, resend_unknown=True)
    assert parse_retry(policy) is policy


def test_what_may_have_been_billed_is_not_sent_again_unless_told() -> None:
    assert RetryPolicy().resend_unknown is False
    for value in ("no", "false", 1, None):
        with pytest.raises(ConfigurationError, match="resend_unknown"):
            RetryPolicy(resend_unknown=value)  # type: ignore[arg-type]
    assert (RetryPolicy().max_attempts, RetryPolicy().max_wait) == (4, 300.0)


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "3", 10**15])
def test_a_limit_is_a_whole_number_that_can_be_counted(n: object) -> None:
    with pytest.raises(ConfigurationError, match="a whole number of requests"):
        RateLimit(n, per=60)  # type: ignore[arg-type]
    assert RateLimit(10**15 - 1, per=60) == RateLimit.parse("999999999999999/min")


@pytest.mark.parametrize("attempts", [0, -1, 1.5, True, "4", None])
def test_attempts_are_a_whole_number_from_one(attempts: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_attempts"):
        parse_retry(attempts)


@pytest.mark.parametrize("name", ["max_wait", "backoff", "max_backoff"])
@pytest.mark.parametrize("value", [-1, math.inf, math.nan, "5", None, True, pytest.param(10**400, id="huge")])
def test_waits_are_seconds(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        RetryPolicy(**{name: value})


def test_two_limits_do_not_share_one_name() -> None:
    limits = [RateLimit(3, per=60, shared="mine"), RateLimit(500, per=86400, shared="mine")]
    with pytest.raises(ConfigurationError, match="share one name"):
        parse_rate_limits(limits)
