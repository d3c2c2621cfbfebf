"""Whatever the service answers, it is pictures or one of our errors, and all of it can be kept."""

from __future__ import annotations

import base64
import json
import math
import re

from hypothesis import example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from pydantic_core import to_json
from service import JPEG

from asi_image_async.core.decode import decode_picture, to_image
from asi_image_async.core.wire import Incoming, Link, read_error, read_reply
from asi_image_async.errors import AsiImageError, InvalidResponseError

# JSON as text, so that it may be what no writer of JSON would write.
_JPEG = f'"{base64.b64encode(JPEG).decode()}"'
_junk = st.sampled_from(
    ["null", "true", "0", "-0", "1e400", "-1e400", "1e300", "NaN", "Infinity", "9" * 5000, "-" + "9" * 400,
     "9" * 300 + ".5", "1753792957", "1753792957000", "-62135596801", "253402300800", '""', '"\\ud800"',
     '"\\udfff\\ud800"', '"\\u0000"', '"\x01"', '"\\u202e\\u001b[31m"', '"http://x"', '"https://[/"',
     '"data:,é"', '"data:image/png;base64,%ff"', '"data:text/html,<b>"', '"AAAA"', '"/9j/AAAA"', "{}", "[]",
     "[" * 300 + "]" * 300, "[" * 9000 + "]" * 9000, '"' + "x" * 5000 + '"', _JPEG]
)  # fmt: skip
_names = st.sampled_from(
    ["data", "images", "image", "url", "b64_json", "base64", "b64", "image_url", "created", "message",
     "error", "detail", "id", "revised_prompt", "type", "code", "loc", "msg", "request_id", "\\ud800", ""]
)  # fmt: skip


def _fields(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Names with values, what is there twice and more among them."""
    return st.lists(st.tuples(_names, values), max_size=5).map(
        lambda items: ",".join(f'"{name}":{value}' for name, value in items)
    )


_values = st.recursive(
    _junk | st.text(max_size=6).map(json.dumps) | st.integers().map(str) | st.floats().map(json.dumps),
    lambda inner: (
        _fields(inner).map("{{{}}}".format) | st.lists(inner, max_size=3).map(",".join).map("[{}]".format)
    ),
    max_leaves=14,
)
# Near a reply with one picture, and anything beside it.
_replies = st.builds(
    '{{"data":[{{"b64_json":{1},{0}"x":0}}],"created":{2},"x":{3}}}'.format,
    _fields(_junk).map(lambda fields: fields and f"{fields},"),
    st.just(_JPEG) | _junk,
    _junk,
    _junk,
)
# Letters of base64 alone, put into a picture, make another one that nobody can tell from a good one.
_put_in = st.binary(max_size=4).filter(re.compile(rb"[^A-Za-z0-9+/=_\s-]").search)
_CHARSETS = ["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1"]


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A reply in some charset, and then cut, or with bytes put in, or with something after its end."""
    text = draw(_replies | _fields(_values).map("{{{}}}".format) | _values)
    body = text.encode(draw(st.sampled_from(_CHARSETS)), "replace")
    at = draw(st.integers(0, len(body)))
    match draw(st.sampled_from(["whole", "whole", "cut", "put in", "after"])):
        case "cut":
            return body[:at]
        case "put in":
            return body[:at] + draw(_put_in) + body[at:]
        case "after":
            return body + draw(st.sampled_from([b"\0", b"{}", b"\n\n", b"</html>", b"\xff"]))
    return body


def can_be_kept(error: AsiImageError) -> bool:
    """Its words are text of a bounded length, which any log and any journal takes."""
    return (
        len(str(error).encode()) < 4000
        and len(getattr(error, "body", "").encode()) <= 1600
        and error.hint != ""
    )


@settings(max_examples=200, deadline=None)
@given(body=bodies() | st.binary(max_size=40))
def test_any_reply_is_pictures_or_our_error(body: bytes) -> None:
    try:
        reply = read_reply(Incoming(body))
    except InvalidResponseError as error:
        assert can_be_kept(error)  # noqa: PT017 - either is right
        return
    assert reply.pictures
    assert reply.created is None or reply.created.tzinfo is not None
    to_json([reply.revised_prompt, reply.request_id, reply.raw])
    for picture in reply.pictures:
        if isinstance(picture, Link):
            continue
        try:
            image = to_image(decode_picture(picture))
        except InvalidResponseError as error:
            assert can_be_kept(error)  # noqa: PT017 - either is right
        else:
            assert image.data == JPEG


_headers = st.sampled_from(
    ["Retry-After", "retry-after-ms", "Date", "Location", "x-request-id", "x-ratelimit-reset", "RateLimit",
     "x-ratelimit-remaining", "x-ratelimit-reset-tokens", "RateLimit-Reset", "RateLimit-Remaining"]
)  # fmt: skip
_said = st.sampled_from(
    ["", "0", "-1", "1e400", "inf", "nan", "9" * 400, "0.0.0", "1m30s", "999999999d", "9" * 20, "٣",
     "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 -2359",
     'a;r=0;t=5, "b";r=7;t=9', "remaining=0, reset=300",
     "d;r=" + "9" * 5000 + ";t=5", "d;r=0;t=" + "9" * 400, "\x1b[31m\u202e"]
) | st.text(max_size=20) | st.integers().map(str)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    status=st.sampled_from([204, 302, 400, 401, 402, 403, 404, 429, 502, 503]) | st.integers(100, 999),
    headers=st.dictionaries(_headers, _said),
    body=bodies() | st.binary(max_size=40),
    now=st.floats(0, 4e9),
)
@example(status=429, headers={"Retry-After": "0\x1f"}, body=b"", now=0.0)  # a blank to str, and not to float
def test_any_other_status_is_our_error_and_asks_for_a_wait_that_has_an_end(
    status: int, headers: dict[str, str], body: bytes, now: float
) -> None:
    error = read_error(status, CIMultiDict(headers), body, now=now)
    assert error.status == status
    assert can_be_kept(error)
    assert error.retry_after is None or 0 <= error.retry_after < math.inf
