"""Every error says what to do about it, and survives the way to another process."""

from __future__ import annotations

import copy
import pickle
import traceback
from typing import Any

import pytest

from asi_image_async import errors
from asi_image_async.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsiImageError,
    BudgetExceededError,
    ConfigurationError,
    InvalidResponseError,
    JournalError,
    QuotaExceededError,
    RateLimitError,
    SinkError,
)

ALL = [getattr(errors, name) for name in errors.__all__]
STATUS = [kind for kind in ALL if issubclass(kind, APIStatusError)]


def filled(kind: type[AsiImageError]) -> AsiImageError:
    """An error with every attribute that it can have."""
    given: dict[str, Any] = {"hint": "do this"}
    if issubclass(kind, APIError):
        given |= {"maybe_billed": True, "attempts": 3}
    if issubclass(kind, APIStatusError):
        given |= {"status": 429, "type": "t", "code": "c", "request_id": "r", "retry_after": 2.5, "body": "b"}
    if issubclass(kind, InvalidResponseError):
        given |= {"body": "b"}
    if issubclass(kind, SinkError):
        given |= {"generation": ("a", "stand-in")}
    return kind("what happened", **given)


@pytest.mark.parametrize("kind", ALL)
def test_an_error_is_the_same_after_pickling_and_copying(kind: type[AsiImageError]) -> None:
    for error in (filled(kind), kind()):
        error.add_note("a note")
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(error, protocol))
            assert type(again) is kind
            assert vars(again) == vars(error)
            assert (str(again), again.args) == (str(error), error.args)
        assert vars(copy.deepcopy(error)) == vars(error)


@pytest.mark.parametrize("kind", ALL)
def test_every_error_has_a_hint_of_its_own_that_can_be_replaced(kind: type[AsiImageError]) -> None:
    assert kind().hint.strip()
    assert kind("x", hint=None).hint == kind().hint
    assert kind("x", hint="do this").hint == "do this"
    assert kind is AsiImageError or kind is APIStatusError or "default_hint" in vars(kind)


def test_errors_can_be_caught_by_what_they_have_in_common() -> None:
    assert all(issubclass(kind, AsiImageError) for kind in ALL)
    assert issubclass(ConfigurationError, ValueError)
    assert issubclass(APITimeoutError, APIConnectionError)
    assert issubclass(QuotaExceededError, RateLimitError)
    assert {kind.__name__ for kind in STATUS} == {
        "APIStatusError", "BadRequestError", "AuthenticationError", "PermissionDeniedError", "NotFoundError",
        "RateLimitError", "QuotaExceededError", "ServerError",
    }  # fmt: skip
    for kind in (*STATUS, APIConnectionError, InvalidResponseError):
        assert issubclass(kind, APIError)
    for kind in (ConfigurationError, SinkError, JournalError, BudgetExceededError):
        assert not issubclass(kind, APIError)


@pytest.mark.parametrize("kind", STATUS)
def test_a_status_error_shows_its_status_and_the_service_s_words(kind: type[APIStatusError]) -> None:
    assert str(kind("no such model", status=404)) == "404: no such model"
    assert str(kind(status=404)) == "404"
    assert kind("no such model", status=404).message == "no such model"


def test_unless_told_otherwise_nothing_was_billed() -> None:
    error = APIStatusError("x", status=500)
    assert (error.maybe_billed, error.attempts, error.retry_after) == (False, 1, None)


@pytest.mark.parametrize("kind", ALL)
def test_who_does_not_catch_an_error_sees_its_hint_once(kind: type[AsiImageError]) -> None:
    error = pickle.loads(pickle.dumps(kind("it broke", hint="mend it")))
    assert "".join(traceback.format_exception(error)).count("hint: mend it") == 1
