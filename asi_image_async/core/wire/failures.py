"""A status other than 200 into the error that it stands for, in the service's own words."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import datetime

from pydantic_core import from_json

from ...errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
)
from .waits import seconds_to_wait

__all__ = ["error_message", "excerpt", "read_error", "text_or_none"]

_A_YEAR = 366 * 86400.0
EXCERPT = 400  # characters of a body that an error keeps
_ERRORS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: QuotaExceededError,
    403: PermissionDeniedError,
    404: NotFoundError,
    413: BadRequestError,
    422: BadRequestError,
    429: RateLimitError,
}
# A gateway's word that its upstream's answer was lost or late: the work may have been done.
_LOST_BEHIND_GATEWAY = frozenset({502, 504, 520, 524, 598, 599})
# As text, so that `re` compiles them when there is a failure to read, not at the import.
_QUOTA = (
    r"(?i)quota|billing|credit|insufficient[ _-]funds|balance(?!r)|payment|subscription"
    r"|(per|a|/)[ _-]?(day|month)\b|daily|monthly|\brpd\b"
)
# "The quota of 3 requests per minute" is a rate limit, whatever it is called.
_UNIT = r"(\d{0,3}[ _-]?(secs?|seconds?|mins?|minutes?)|\d{1,3}[ _-]?[sm])\b"
_SHORT_WINDOW = rf"(?i)(per|a|/|every)[ _-]?{_UNIT}|\brp[sm]\b"
# And so is what calls itself one, or is over in minutes, and speaks of money only to sell a larger plan.
_TOO_FAST = rf"(?i)rate[ _-]?limit|too[ _-]many[ _-]requests|\bin {_UNIT}"
_SPENT = (
    r"(?i)credit|insufficient|balance(?!r)|payment|expired"
    r"|(per|a|/)[ _-]?(24 ?h\w*|day|week|month)\b|daily|weekly|monthly|\brpd\b"
)
_SOON = 300.0  # seconds


def error_message(body: object) -> str:
    """The service's own words: `error.message`, `error` as text, `message`, `detail` (text or list)."""
    if not isinstance(body, dict):
        return body.strip()[:EXCERPT] if isinstance(body, str) else ""
    error = body.get("error")
    inner = error.get("message") if isinstance(error, dict) else error
    for value in (inner, body.get("message"), body.get("detail")):
        if isinstance(value, str) and value.strip():
            return value.strip()[:EXCERPT]
        if isinstance(value, list) and value:
            return "; ".join(_detail(item) for item in value[:5])[:EXCERPT]
    return ""


def _detail(item: object) -> str:
    """One entry of a validation error's list, as FastAPI writes them: {"loc": [...], "msg": ...}."""
    if not isinstance(item, dict):
        return str(item)
    where = item.get("loc")
    path = ".".join(map(str, where)) if isinstance(where, list) else ""
    return ": ".join(part for part in (path, str(item.get("msg", item))) if part)


def read_error(
    status: int,
    headers: Mapping[str, str],
    body: bytes | bytearray,
    *,
    asked: str = "",
    now: float | None = None,
) -> APIStatusError:
    """The error that a status other than 200 stands for. `asked`: the URL. `now`: seconds since the epoch.

    Sources: the documentation's `{"error": {"message", "type", "code"}}`; the flat `{"message"}` that
    the chat endpoint was seen to send; gateways' HTML.
    """
    try:
        parsed = from_json(body)
    except ValueError:
        parsed = None
    error = parsed.get("error") if isinstance(parsed, dict) else None
    fields = error if isinstance(error, dict) else parsed if isinstance(parsed, dict) else {}
    kind, code = text_or_none(fields.get("type")), fields.get("code")
    message = error_message(parsed) or _plain(body)
    if 300 <= status < 400:
        message = f"redirected to {headers.get('Location', 'nowhere')[:EXCERPT]!r}, which is not followed"
    now = time.time() if now is None else now
    wait = seconds_to_wait(status, headers, now)
    words = f"{kind or ''} {code if isinstance(code, str) else ''} {message}"
    return _error_class(status, words, wait)(
        message,
        status=status,
        hint=_hint(status, wait, now, asked),
        maybe_billed=status in _LOST_BEHIND_GATEWAY,
        type=kind,
        code=code if isinstance(code, str | int) else None,
        request_id=headers.get("x-request-id") or text_or_none(fields.get("request_id")),
        retry_after=wait,
        body=excerpt(body),
    )


def _hint(status: int, wait: float | None, now: float, asked: str) -> str | None:
    if 300 <= status < 400:
        return "Check the base URL."
    if status == 404 and asked:
        return f"Check the base URL and the model's name; what was asked is {asked}."
    if wait is None or not 60 <= wait < _A_YEAR:
        return None
    until = datetime.fromtimestamp(now + wait).astimezone()
    return f"Come back after {until:%Y-%m-%d %H:%M %Z}: the service asks to wait {wait:.0f} s."


def _error_class(status: int, words: str, wait: float | None) -> type[APIStatusError]:
    if status in (403, 429) and re.search(_QUOTA, words) and not _is_too_fast(status, words, wait):
        return QuotaExceededError
    return _ERRORS.get(status, ServerError if status >= 500 else APIStatusError)


def _is_too_fast(status: int, words: str, wait: float | None) -> bool:
    """Whether words of a quota, or of money, are those of a rate limit."""
    if re.search(_SHORT_WINDOW, words):
        return True
    soon = wait is not None and 0 < wait <= _SOON
    said = status == 429 and (soon or re.search(_TOO_FAST, words) is not None)
    return said and not re.search(_SPENT, words)


def text_or_none(value: object) -> str | None:
    """A text that says something."""
    return value if isinstance(value, str) and value else None


def _plain(body: bytes | bytearray) -> str:
    """A body that is not JSON as one line, cut short, without tags and the title, which a page says again."""
    text = re.sub(r"<(script|style|title).*?</\1>|<[^>]*>", " ", excerpt(body, 4000), flags=re.S | re.I)
    return " ".join(text.split())[:EXCERPT]


def excerpt(body: bytes | bytearray, length: int = EXCERPT) -> str:
    """The beginning of a body, as text."""
    return bytes(body[: length * 4]).decode("utf-8", "replace")[:length]
