"""A request into a body, and a reply into pictures to decode, for every shape that is known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from ...errors import InvalidResponseError
from ...models import ImageRequest
from .failures import error_message, excerpt, text_or_none
from .incoming import Incoming, Picture

__all__ = ["Link", "Reply", "encode_request", "read_reply"]


# Of a picture, in the order in which they are believed.
_NAMES = ("b64_json", "base64", "b64", "image_url", "url", "image")
# A reply is a few fields and long texts. One with more commas would take many times its size in memory.
_MOST_COMMAS = 10_000
# Each is fetched, one after another, and holds the place of a request meanwhile. OpenAI's form gives 10.
_MOST_LINKS = 100
# What is not quite JSON takes up to 16 times its size. Pictures that were decoded as they came do not count.
_LARGEST_LENIENT = 8 * 2**20


_GOOD_NEWS = frozenset({"", "success", "ok", "done", "completed"})


class Link(NamedTuple):
    """A picture that is somewhere else."""

    url: str


class Reply(NamedTuple):
    """A reply with at least one picture: each is its bytes, base64 text, a data URL, or a Link."""

    pictures: tuple[bytes | str | Link, ...]
    created: datetime | None
    revised_prompt: str | None
    request_id: str | None
    raw: Any


def encode_request(request: ImageRequest) -> bytes:
    """The JSON body: prompt, model, size where there is one, and the extra fields."""
    body: dict[str, Any] = {"prompt": request.prompt, "model": request.model}
    if request.size is not None:
        body["size"] = request.size
    return to_json(body | request.sent_beside)


def read_reply(incoming: Incoming, request_id: str | None = None) -> Reply:
    """Find the pictures in a 200 reply.

    Raises InvalidResponseError: with `maybe_billed` where the reply is not JSON (a cut line, a page of
    a proxy) or has what may be a picture where none is known to be, without where there is nothing like one.
    """
    text, decoded = incoming.without_pictures()
    try:
        return _read(text, request_id, decoded)
    except (InvalidResponseError, LookupError):
        if not decoded:
            raise
    return _read(incoming.body(), request_id, {})


def _read(body: bytes, request_id: str | None, decoded: Mapping[str, Picture]) -> Reply:
    """Read a reply. Raises LookupError where one that was `decoded` already is no picture of the reply."""
    if len(body) > _MOST_COMMAS and _is_crowded(body):
        raise InvalidResponseError(
            f"the reply has {_MOST_COMMAS} parts and more", maybe_billed=True, body=excerpt(body)
        )
    try:
        reply = from_json(body)
    except ValueError as error:
        reply = _read_leniently(body)
        if not _pictures(reply):
            raise InvalidResponseError(
                f"the reply is not JSON: {error}", maybe_billed=True, body=excerpt(body)
            ) from None
    found = _pictures(reply)
    if not found:
        raise _no_picture(reply, body)
    if len(found) > _MOST_LINKS and sum(isinstance(each, Link) for each in found) > _MOST_LINKS:
        raise InvalidResponseError(
            f"the reply links to more than {_MOST_LINKS} pictures", maybe_billed=True, body=excerpt(body)
        )
    pictures = frozenset(found)
    if not decoded.keys() <= pictures:
        raise LookupError
    fields = reply if isinstance(reply, dict) else {}
    return Reply(
        pictures=tuple([_data_of(picture, decoded) for picture in found]),
        created=_moment(fields.get("created")),
        revised_prompt=_revised_prompt(fields),
        request_id=request_id or text_or_none(fields.get("id")),
        raw=_without_pictures(reply, pictures, decoded),
    )


def _no_picture(reply: Any, body: bytes) -> InvalidResponseError:
    said = error_message(reply)
    if _may_have_one(reply, links=said.lower().strip(" .!") in _GOOD_NEWS):
        return InvalidResponseError(
            "the reply has what may be a picture, in a place that is not known here",
            hint="Report the error's `body`: the shape of the service's replies has changed.",
            maybe_billed=True,
            body=excerpt(body),
        )
    return InvalidResponseError(
        "the reply has no picture" + (f": {said}" if said else ""),
        hint="The service may have refused the prompt: change it.",
        body=excerpt(body),
    )


def _may_have_one(value: object, *, links: bool) -> bool:
    """Whether there is a long text that is no prose, anywhere, or with `links` a link."""
    if isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return any(_may_have_one(item, links=links) for item in items)
    place = _place(value)
    if isinstance(place, Link):
        return links
    return place is not None and _is_long(place) and " " not in place


def _data_of(picture: str | Link, decoded: Mapping[str, Picture]) -> bytes | str | Link:
    known = decoded.get(picture) if isinstance(picture, str) else None
    return known.data if known else picture


def _is_crowded(body: bytes | bytearray) -> bool:
    at = 0
    # Where there are few, `find` passes over the picture much faster than `count`.
    for _ in range(_MOST_COMMAS):
        at = body.find(b",", at) + 1
        if not at:
            return False
    return True


def _read_leniently(body: bytes) -> Any:
    """What is not quite JSON, or None: a picture that is bought is not to be lost for what stands beside it.

    Another charset than UTF-8; characters that have to be escaped; half a surrogate pair; a number beyond
    all bounds; something after the end. A picture with a stray character in it stays none.
    """
    if len(body) > _LARGEST_LENIENT:
        return None
    text = body.decode(json.detect_encoding(body), "replace").lstrip("\ufeff\0 \t\r\n")
    decoder = json.JSONDecoder(strict=False, parse_int=lambda digits: float(digits[:400]))
    try:
        reply, _ = decoder.raw_decode(text)
        return from_json(json.dumps(reply, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):
        return None


def _pictures(reply: object) -> tuple[str | Link, ...]:
    """Every picture of a reply, in order, for shapes A to G of the service's known replies."""
    if not isinstance(reply, dict):
        return ()
    for name in ("data", "images"):  # A, C, G; B, F, G
        value = reply.get(name)
        items = value if isinstance(value, list) else [value]
        found = tuple([picture for item in items if (picture := _picture(item)) is not None])
        if found:
            return found
    single = _picture(reply)  # D, E
    return () if single is None else (single,)


def _picture(item: object) -> str | Link | None:
    """One picture: a text, or an object that has it under one of the names in use; bytes before links."""
    if isinstance(item, str):
        return _place(item)
    if not isinstance(item, dict):
        return None
    link = None
    for name in _NAMES:
        place = _place(_url_of(item.get(name)))
        if isinstance(place, str):
            return place
        link = link or place
    return link


def _url_of(value: object) -> object:
    return value.get("url") if isinstance(value, dict) else value


def _place(value: object) -> str | Link | None:
    if not isinstance(value, str) or not (text := value.strip()):
        return None
    return Link(text) if text[:8].lower().startswith(("http://", "https://")) else text


def _without_pictures(value: Any, pictures: Set[str | Link], decoded: Mapping[str, Picture]) -> Any:
    """The reply with every picture and long text replaced by its length: what is left is worth keeping."""
    if isinstance(value, str):
        if not _is_long(value) and value.strip() not in pictures:
            return value
        return f"<{decoded[value].length if value in decoded else len(value)} characters>"
    if isinstance(value, dict):
        return {key: _without_pictures(item, pictures, decoded) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_pictures(item, pictures, decoded) for item in value]
    return value


def _is_long(text: str) -> bool:
    return len(text) > 4096 or text[:5].lower() == "data:"


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
            if isinstance(item, dict) and (text := text_or_none(item.get("revised_prompt"))):
                return text
    return text_or_none(fields.get("revised_prompt"))
