"""What goes over the wire: a request into a body, a reply into pictures to decode, a status into an error.

The shapes are those of the service's documentation and of its users' reports; each is named where it is
read. Nothing here touches a socket.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from pydantic_core import from_json, to_json

from ..errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
)
from ..models import ImageRequest

__all__ = ["Link", "Reply", "encode_request", "read_error", "read_reply"]

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
_LOST_BEHIND_GATEWAY = frozenset({502, 504, 520, 524})
_QUOTA = re.compile(
    r"quota|billing|credit|insufficient[ _-]funds|balance(?!r)|payment|subscription"
    r"|(per|a|/)[ _-]?(day|month)\b|daily|monthly|\brpd\b",
    re.IGNORECASE,
)
_SECONDS = re.compile(r"\d{1,15}(\.\d{0,15})?", re.ASCII)
# "The quota of 3 requests per minute" is a rate limit, whatever it is called.
_SHORT_WINDOW = re.compile(r"(per|a|/)[ _-]?(second|sec|minute|min)\b|\brpm\b", re.IGNORECASE)


@dataclass(frozen=True)
class Link:
    """A picture that is somewhere else."""

    url: str


@dataclass(frozen=True)
class Reply:
    """A reply with at least one picture: each is base64 text, a data URL, or a Link."""

    pictures: tuple[str | Link, ...]
    created: datetime | None
    revised_prompt: str | None
    request_id: str | None
    raw: Any


def encode_request(request: ImageRequest) -> bytes:
    """The JSON body: prompt, model, size where there is one, and the extra fields."""
    body: dict[str, Any] = {"prompt": request.prompt, "model": request.model}
    if request.size is not None:
        body["size"] = request.size
    return to_json(body | (request.model_extra or {}))


def read_reply(body: bytes | bytearray, request_id: str | None = None) -> Reply:
    """Find the pictures in a 200 reply.

    Raises InvalidResponseError: with `maybe_billed` where the reply is not JSON (a cut line, a page of
    a proxy), without where the service says in so many words that there is no picture.
    """
    try:
        reply = from_json(body)
    except ValueError as error:
        raise InvalidResponseError(
            f"the reply is not JSON: {error}", maybe_billed=True, body=_excerpt(body)
        ) from None
    pictures = tuple(_pictures(reply))
    if not pictures:
        said = error_message(reply)
        raise InvalidResponseError(
            "the reply has no picture" + (f": {said}" if said else ""),
            hint="The service may have refused the prompt: change it.",
            body=_excerpt(body),
        )
    fields = reply if isinstance(reply, dict) else {}
    return Reply(
        pictures=pictures,
        created=_moment(fields.get("created")),
        revised_prompt=_revised_prompt(fields),
        request_id=request_id or _text(fields.get("id")),
        raw=_without_pictures(reply, frozenset(text for text in pictures if _is_short(text))),
    )


def _pictures(reply: object) -> Iterator[str | Link]:
    """Every picture of a reply, in order, for shapes A to G of the service's known replies."""
    if not isinstance(reply, dict):
        return
    for name in ("data", "images"):  # A, C, G; B, F, G
        value = reply.get(name)
        items = value if isinstance(value, list) else [value]
        found = [picture for item in items if (picture := _picture(item)) is not None]
        if found:
            yield from found
            return
    single = _picture(reply)  # D, E
    if single is not None:
        yield single


def _picture(item: object) -> str | Link | None:
    """One picture: a text, or an object that has it under one of the names in use; bytes before links."""
    if isinstance(item, str):
        return _place(item)
    if not isinstance(item, dict):
        return None
    found = [
        place
        for name in ("b64_json", "base64", "b64", "image_url", "url", "image")
        if (place := _place(_url_of(item.get(name)))) is not None
    ]
    return next((place for place in found if isinstance(place, str)), found[0] if found else None)


def _url_of(value: object) -> object:
    return value.get("url") if isinstance(value, dict) else value


def _place(value: object) -> str | Link | None:
    if not isinstance(value, str) or not (text := value.strip()):
        return None
    return Link(text) if text[:8].lower().startswith(("http://", "https://")) else text


def _without_pictures(value: Any, short: frozenset[str | Link]) -> Any:
    """The reply with every picture and long text replaced by its length: what is left is worth keeping.

    `short`: the pictures that are not told by their length.
    """
    if isinstance(value, dict):
        return {key: _without_pictures(item, short) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_pictures(item, short) for item in value]
    if isinstance(value, str) and (not _is_short(value) or value.strip() in short):
        return f"<{len(value)} characters>"
    return value


def _is_short(text: str | Link) -> bool:
    return isinstance(text, str) and len(text) <= 4096 and text[:5].lower() != "data:"


def _moment(value: object) -> datetime | None:
    """`created`, which the documentation's sample gives in milliseconds and OpenAI's form in seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = value / 1000 if abs(value) >= 1e11 else value
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return None


def _revised_prompt(fields: Mapping[str, Any]) -> str | None:
    for name in ("data", "images"):
        items = fields.get(name)
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict) and (text := _text(item.get("revised_prompt"))):
                return text
    return _text(fields.get("revised_prompt"))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


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
    status: int, headers: Mapping[str, str], body: bytes | bytearray, *, now: float | None = None
) -> APIStatusError:
    """The error that a status other than 200 stands for. `now`: seconds since the epoch.

    Sources: the documentation's `{"error": {"message", "type", "code"}}`; the flat `{"message"}` that
    the chat endpoint was seen to send; gateways' HTML.
    """
    try:
        parsed = from_json(body)
    except ValueError:
        parsed = None
    error = parsed.get("error") if isinstance(parsed, dict) else None
    fields = error if isinstance(error, dict) else parsed if isinstance(parsed, dict) else {}
    kind, code = _text(fields.get("type")), fields.get("code")
    message = error_message(parsed) or _plain(body)
    if 300 <= status < 400:
        message = f"redirected to {headers.get('Location', 'nowhere')!r}, which is not followed"
    words = f"{kind or ''} {code if isinstance(code, str) else ''} {message}"
    return _error_class(status, words)(
        message,
        status=status,
        hint="Check the base URL." if 300 <= status < 400 else None,
        maybe_billed=status in _LOST_BEHIND_GATEWAY,
        type=kind,
        code=code if isinstance(code, str | int) else None,
        request_id=headers.get("x-request-id") or (_text(fields.get("request_id"))),
        retry_after=retry_after(headers, time.time() if now is None else now),
        body=_excerpt(body),
    )


def _error_class(status: int, words: str) -> type[APIStatusError]:
    if status in (403, 429) and _QUOTA.search(words) and not _SHORT_WINDOW.search(words):
        return QuotaExceededError
    return _ERRORS.get(status, ServerError if status >= 500 else APIStatusError)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the service asks to wait (RFC 9110, 10.2.3: seconds or a date), or None.

    A date is measured against the reply's own `Date`, where there is one: the clocks may differ.
    """
    milliseconds = headers.get("retry-after-ms")
    if milliseconds is not None and (value := _number(milliseconds)) is not None:
        return value / 1000
    text = headers.get("Retry-After")
    if text is None:
        return None
    if (value := _number(text)) is not None:
        return value
    until = _date(text)
    if until is None:
        return None
    return max(0.0, until - (_date(headers.get("Date", "")) or now))


def _number(text: str) -> float | None:
    return float(text) if _SECONDS.fullmatch(text.strip()) else None


def _date(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        # Without a zone it is UTC, as RFC 9110 has every date; not this machine's own.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _plain(body: bytes | bytearray) -> str:
    """A body that is not JSON as one line of text, tags taken out, cut short."""
    text = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", _excerpt(body, 4000), flags=re.S | re.I)
    return " ".join(text.split())[:EXCERPT]


def _excerpt(body: bytes | bytearray, length: int = EXCERPT) -> str:
    return bytes(body[: length * 4]).decode("utf-8", "replace")[:length]
