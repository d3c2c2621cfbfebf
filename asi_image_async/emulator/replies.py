"""What the service says: pictures in every shape that was seen, errors in every kind of body."""

import base64
import email.utils
import json
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from .knobs import Encoding, ErrorBody, Fault, Knobs, RetryAfter, Shape

Body = dict[str, Any]

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def encode(data: bytes, encoding: Encoding) -> str:
    """A picture as base64: plain, in lines of 76, in the URL-safe alphabet, or without padding."""
    if encoding == "wrapped":
        return base64.encodebytes(data).decode()
    if encoding == "urlsafe":
        return base64.urlsafe_b64encode(data).decode()
    text = base64.b64encode(data).decode()
    return text.rstrip("=") if encoding == "unpadded" else text


def has_links(shape: Shape) -> bool:
    """Whether the shape holds links, so that nothing need be drawn until one is followed."""
    return shape == "C" or shape.startswith("D") or shape.endswith("-link")


def as_data_url(text: str, format: str) -> str:
    """Base64 as a data URL of the type that it is."""
    return f"data:image/{format.lower()};base64,{text}"


_SHAPES: dict[Shape, Callable[[Sequence[str]], Body]] = {
    "A": lambda items: {"data": [{"b64_json": item} for item in items]},
    "B": lambda items: {
        "status": 1,
        "message": "Success",
        # The documentation says PNG, whatever the picture is.
        "images": [{"url": as_data_url(item, "PNG")} for item in items],
    },
    "C": lambda items: {"data": [{"url": item} for item in items]},
    "D-image_url": lambda items: {"image_url": items[0]},
    "D-url": lambda items: {"url": items[0]},
    "E-data": lambda items: {"image": items[0]},
    "E-link": lambda items: {"image": items[0]},
    "E-bare": lambda items: {"image": items[0]},
    "F-data": lambda items: {"images": [*items]},
    "F-link": lambda items: {"images": [*items]},
    "F-bare": lambda items: {"images": [*items]},
    "G-images-b64_json": lambda items: {"images": [{"b64_json": item} for item in items]},
    "G-images-base64": lambda items: {"images": [{"base64": item} for item in items]},
    "G-data-base64": lambda items: {"data": [{"base64": item} for item in items]},
    "G-data-b64": lambda items: {"data": [{"b64": item} for item in items]},
    "G-data-string": lambda items: {"data": items[0]},
}


def picture_reply(knobs: Knobs, items: Sequence[str], prompt: str, number: int) -> bytes:
    """The reply for pictures, given as base64 or as links, whichever the shape holds."""
    if knobs.shape.endswith("-data"):
        items = [as_data_url(item, knobs.format) for item in items]
    body = _SHAPES[knobs.shape](items)
    body["created"] = int(time.time() * (1000 if knobs.shape == "B" else 1))
    if knobs.details:
        body["id"] = f"img-{number:08d}"
        for key in ("data", "images"):
            for item in body.get(key, ()):
                if isinstance(item, dict):
                    item["revised_prompt"] = f"{prompt}, in fine detail"
    return json.dumps(body).encode()


def documented(status: int, message: str, kind: str | None = None) -> Body:
    """An error as the documentation has it."""
    kind = kind or _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "code": status}}


def error_body(fault: Fault) -> tuple[bytes, str]:
    """The body of an `error` fault and its content type."""
    if fault.body == "empty":
        return b"", "application/json"
    if fault.body == "html":
        page = f"<!DOCTYPE html><html><body><h1>{fault.status}</h1><p>{fault.message}</p></body>"
        return (page + "</html>\n").encode(), "text/html"
    detail = [{"type": "value_error", "loc": ["body", "prompt"], "msg": fault.message}]
    bodies: dict[ErrorBody, Body] = {
        "documented": documented(fault.status, fault.message),
        "message": {"message": fault.message},
        "error-text": {"error": fault.message},
        "detail-text": {"detail": fault.message},
        "detail-list": {"detail": detail},
    }
    return json.dumps(bodies[fault.body]).encode(), "application/json"


def retry_header(style: RetryAfter | None, seconds: float) -> dict[str, str]:
    """The header that says when to come back, never too early."""
    if style is None:
        return {}
    if style == "milliseconds":
        return {"retry-after-ms": str(math.ceil(seconds * 1000))}
    if style == "date":
        # HTTP dates have whole seconds: rounded up, so that who keeps to it is let in.
        return {"Retry-After": email.utils.formatdate(math.ceil(time.time() + seconds), usegmt=True)}
    return {"Retry-After": str(math.ceil(seconds))}
