"""What can go wrong, by name: every error says what happened and, in `hint`, what to do about it."""

from __future__ import annotations

from typing import Any

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIStatusError",
    "APITimeoutError",
    "AsiImageError",
    "AuthenticationError",
    "BadRequestError",
    "BudgetExceededError",
    "ConfigurationError",
    "InvalidResponseError",
    "JournalError",
    "NotFoundError",
    "PermissionDeniedError",
    "QuotaExceededError",
    "RateLimitError",
    "ServerError",
    "SinkError",
]


class AsiImageError(Exception):
    """Any error of this package; `hint` says what to do about it.

    Everything but the message is keyword-only and kept as an attribute, so that errors can be pickled.
    """

    default_hint = "See the README's section on errors."

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint or self.default_hint
        self.add_note(f"hint: {self.hint}")  # for who does not catch it


class ConfigurationError(AsiImageError, ValueError):
    """A setting or an input is wrong; nothing has been sent."""

    default_hint = "Correct the setting or the input named in the message; nothing was sent."


class APIError(AsiImageError):
    """The request was made and did not end in pictures.

    `maybe_billed`: the work may have been done and charged, since the request went out and no whole
    answer came back. `attempts`: how many times it was tried, 0 where its turn never came.
    """

    default_hint = "Try again later."

    def __init__(
        self,
        message: str = "",
        *,
        hint: str | None = None,
        maybe_billed: bool = False,
        attempts: int = 1,
    ) -> None:
        super().__init__(message, hint=hint)
        self.maybe_billed = maybe_billed
        self.attempts = attempts


class APIConnectionError(APIError):
    """The service could not be reached, or the line broke."""

    default_hint = "Check the network, the base URL and any proxy."


class APITimeoutError(APIConnectionError):
    """No whole reply within `timeout` seconds."""

    default_hint = "Raise the timeout; the service's users report waits of up to a minute."


class InvalidResponseError(APIError):
    """The service answered, but no picture could be made of its answer."""

    default_hint = "Look at the message; if it is a shape we should know, please report it."

    def __init__(
        self,
        message: str = "",
        *,
        hint: str | None = None,
        maybe_billed: bool = False,
        attempts: int = 1,
        body: str = "",
    ) -> None:
        super().__init__(message, hint=hint, maybe_billed=maybe_billed, attempts=attempts)
        self.body = body


class APIStatusError(APIError):
    """The service answered with a status that is not success.

    `status` (int), `message` (its own words), `type`, `code`, `request_id`, `retry_after` (seconds to
    wait, or None), `body` (its text, cut short).
    """

    def __init__(
        self,
        message: str = "",
        *,
        status: int = 0,
        hint: str | None = None,
        maybe_billed: bool = False,
        attempts: int = 1,
        type: str | None = None,
        code: str | int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        body: str = "",
    ) -> None:
        super().__init__(message, hint=hint, maybe_billed=maybe_billed, attempts=attempts)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.body = body

    def __str__(self) -> str:
        return f"{self.status}: {self.message}" if self.message else str(self.status)


class BadRequestError(APIStatusError):
    """400, 413 or 422: the service does not take this request."""

    default_hint = "Change the prompt, the size or the extra fields; the same request will fail again."


class AuthenticationError(APIStatusError):
    """401: the key was refused."""

    default_hint = "Check the key in ASI_ONE_API_KEY: a whole one, with no quotes or blanks around it."


class PermissionDeniedError(APIStatusError):
    """403: the key is known and may not do this."""

    default_hint = "Check what your plan and this key allow."


class NotFoundError(APIStatusError):
    """404: no such endpoint, or no such model."""

    default_hint = "Check the base URL and the model's name."


class RateLimitError(APIStatusError):
    """429: too many requests for now."""

    default_hint = 'Tell the session your plan\'s limit, such as rate_limit="3/min".'


class QuotaExceededError(RateLimitError):
    """The plan's quota or credit is spent; waiting a moment does not help."""

    default_hint = "Wait for the quota to be renewed, or change the plan; then run the same again."


class ServerError(APIStatusError):
    """5xx: the service failed."""

    default_hint = "The service is at fault; run the same again later."


class SinkError(AsiImageError):
    """The sink cannot store pictures; `generation` holds the one that was not stored, if any."""

    default_hint = "Make room or mend the destination, then run the same again."

    def __init__(self, message: str = "", *, hint: str | None = None, generation: Any = None) -> None:
        super().__init__(message, hint=hint)
        self.generation = generation


class JournalError(AsiImageError):
    """The journal cannot be used: held by another run, damaged, or of a newer version."""

    default_hint = "Use another destination, or move the journal aside."


class BudgetExceededError(AsiImageError):
    """The budget given to this run is spent."""

    default_hint = "Raise the budget, then run the same again."
