"""A request becomes a body, a reply the places of its pictures, a status the right error."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from pydantic_core import to_json

from asi_image_async.core.wire import Incoming, Link, Reply, encode_request, read_error, read_reply
from asi_image_async.errors import (
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
from asi_image_async.models import ImageRequest

JPEG = "/9j/4AAQSkZJRg=="
PNG = "iVBORw0KGgo="
DATA_URL = f"data:image/png;base64,{PNG}"
URL = "https://pictures.example/1.png"


def read(body: bytes, request_id: str | None = None) -> Reply:
    return read_reply(Incoming(body), request_id)


# A request becomes a body


def test_a_body_has_prompt_size_and_model_and_the_extra_fields() -> None:
    request = ImageRequest(prompt="Füchse 狐", size="square", model="asi1", seed=7, style={"a": [1.5, None]})
    assert json.loads(encode_request(request)) == {
        "prompt": "Füchse 狐", "size": "1024x1024", "model": "asi1", "seed": 7, "style": {"a": [1.5, None]},
    }  # fmt: skip


def test_id_and_metadata_never_leave_and_no_size_is_no_key() -> None:
    request = ImageRequest(prompt="a fox", size=None, id="7", metadata={"artist": "me"})
    assert json.loads(encode_request(request)) == {"prompt": "a fox", "model": "asi1-mini"}


# A reply becomes the places of its pictures


@pytest.mark.parametrize(
    ("reply", "pictures"),
    [
        pytest.param({"data": [{"b64_json": JPEG}]}, [JPEG], id="A"),
        pytest.param({"data": [{"b64_json": JPEG, "url": URL}]}, [JPEG], id="A with a link: bytes win"),
        pytest.param({"data": [{"url": URL, "b64_json": JPEG}]}, [JPEG], id="A in the other order"),
        pytest.param({"data": [{"b64_json": None, "url": URL}]}, [Link(URL)], id="A null by a link"),
        pytest.param({"data": [{"b64_json": " ", "url": URL}]}, [Link(URL)], id="A blank by a link"),
        pytest.param({"data": [{"b64_json": JPEG}, {"b64_json": PNG}]}, [JPEG, PNG], id="A twice"),
        pytest.param({"data": [{"b64_json": None}, {"b64_json": PNG}]}, [PNG], id="A with a gap"),
        pytest.param(
            {"status": 1, "message": "Success", "created": 1, "images": [{"url": DATA_URL}]},
            [DATA_URL],
            id="B",
        ),
        pytest.param({"images": [{"url": DATA_URL}, {"url": URL}]}, [DATA_URL, Link(URL)], id="B mixed"),
        pytest.param({"data": [{"url": URL}]}, [Link(URL)], id="C"),
        pytest.param({"data": [{"url": "HTTPS://pictures.example/"}]}, [Link("HTTPS://pictures.example/")],
                     id="C in capitals"),
        pytest.param({"image_url": URL}, [Link(URL)], id="D image_url"),
        pytest.param({"url": DATA_URL}, [DATA_URL], id="D url"),
        pytest.param({"image_url": {"url": URL}}, [Link(URL)], id="D nested, as chat has it"),
        pytest.param({"image": DATA_URL}, [DATA_URL], id="E data URL"),
        pytest.param({"image": URL}, [Link(URL)], id="E link"),
        pytest.param({"image": JPEG}, [JPEG], id="E bare"),
        pytest.param({"images": [JPEG, DATA_URL, URL]}, [JPEG, DATA_URL, Link(URL)], id="F"),
        pytest.param({"images": [{"b64_json": JPEG}]}, [JPEG], id="G images b64_json"),
        pytest.param({"images": [{"base64": JPEG}]}, [JPEG], id="G images base64"),
        pytest.param({"data": [{"base64": JPEG}]}, [JPEG], id="G data base64"),
        pytest.param({"data": [{"b64": JPEG}]}, [JPEG], id="G data b64"),
        pytest.param({"data": JPEG}, [JPEG], id="G data as text"),
        pytest.param({"image_url": URL, "url": URL, "image": JPEG}, [JPEG], id="D and E: bytes win"),
        pytest.param({"data": {"b64_json": JPEG}}, [JPEG], id="data as an object"),
        pytest.param({"data": [], "images": [JPEG]}, [JPEG], id="one list empty"),
        pytest.param({"data": None, "images": None, "image": JPEG}, [JPEG], id="both null"),
    ],
)  # fmt: skip
def test_every_known_shape_of_a_reply_is_understood(reply: Any, pictures: list[str | Link]) -> None:
    assert list(read(json.dumps(reply).encode()).pictures) == pictures


@pytest.mark.parametrize(
    ("created", "moment"),
    [
        (1753792957496, datetime(2025, 7, 29, 12, 42, 37, 496000, UTC)),  # the documentation's sample
        (1753792957, datetime(2025, 7, 29, 12, 42, 37, tzinfo=UTC)),
        (1753792957.5, datetime(2025, 7, 29, 12, 42, 37, 500000, UTC)),
        (10**400, None), (-(10**15), None), (True, None), ("1753792957", None), (None, None),
    ],
)  # fmt: skip
def test_created_is_milliseconds_or_seconds_or_nothing(created: object, moment: datetime | None) -> None:
    body = json.dumps({"data": JPEG, "created": created}).encode()
    assert read(body).created == moment


def test_what_else_a_reply_says_is_kept_without_its_pictures() -> None:
    long = "A" * 10_000
    reply = {
        "id": "gen-1",
        "usage": {"images": 1},
        "data": [{"b64_json": JPEG, "revised_prompt": "a red fox"}, {"b64_json": long}, {"url": DATA_URL}],
    }
    found = read(json.dumps(reply).encode())
    assert found.revised_prompt == "a red fox"
    assert found.request_id == "gen-1"
    assert found.raw["usage"] == {"images": 1}
    assert found.raw["data"][1] == {"b64_json": "<10000 characters>"}
    for picture in (JPEG, long, DATA_URL):
        assert picture not in json.dumps(found.raw)


def test_the_request_id_of_the_header_goes_before_the_one_of_the_body() -> None:
    assert read(b'{"data": "QQ==", "id": "body"}', "header").request_id == "header"


@pytest.mark.parametrize(
    "body",
    [
        {"status": 1, "message": "Success", "data": {"images": [{"b64_json": "A" * 5_000}]}},
        {"status": 1, "message": "Success", "data": {"images": [{"b64_json": DATA_URL}]}},
        {"output": [URL]},
        {"status": 1, "message": "Success!", "result": {"image_url": URL}},
        {"data": [{"href": URL}]},
    ],
    ids=["base64", "a data URL", "a link in a list", "a link", "a link with another name"],
)
def test_what_may_be_a_picture_in_an_unknown_place_may_have_been_billed(body: object) -> None:
    with pytest.raises(InvalidResponseError, match="a place that is not known") as raised:
        read(json.dumps(body).encode())
    assert raised.value.maybe_billed
    assert "shape" in raised.value.hint
    assert raised.value.body


@pytest.mark.parametrize(
    ("body", "words", "maybe_billed"),
    [
        (b"", "not JSON", True),
        (b'{"data": [{"b64_json": "/9j/4AAQ', "not JSON", True),
        (b"<html>proxy</html>", "not JSON", True),
        (b"\xff\xfe", "not JSON", True),
        (b"[" * 10_000, "not JSON", True),
        (b"null", "no picture", False),
        (b"[]", "no picture", False),
        (b'{"data": [], "images": []}', "no picture", False),
        (b'{"data": [{"b64_json": null, "url": ""}]}', "no picture", False),
        (b'{"message": "no image for this prompt"}', "no picture: no image for this prompt", False),
        (b'{"status": 0, "error": {"message": "refused"}}', "no picture: refused", False),
        (b'{"message": "refused", "prompt": "' + b"a fox " * 1000 + b'"}', "no picture: refused", False),
        (b'{"message": "see our terms", "more": "https://service.example/terms"}', "see our terms", False),
    ],
)
def test_a_reply_without_a_picture_is_told_with_the_service_s_words(
    body: bytes, words: str, maybe_billed: bool
) -> None:
    with pytest.raises(InvalidResponseError, match=words) as caught:
        read(body)
    assert caught.value.maybe_billed is maybe_billed
    assert caught.value.hint
    assert len(caught.value.body) <= 400


def whole(beside: str = "", after: str = "") -> str:
    """A reply, with more fields beside the picture and after the list."""
    return f'{{"data": [{{"b64_json": "{JPEG}"{beside}}}]{after}}}'


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + whole().encode(),
        whole().encode("utf-16"),
        whole(', "revised_prompt": "caf\xe9"').encode("latin-1"),
        whole(', "revised_prompt": "a\0\tb\n"').encode(),
        whole(', "revised_prompt": "a\\ud800b"').encode(),
        whole(after=', "created": ' + "9" * 5000).encode(),
        whole(after=', "created": 1e99999, "id": NaN').encode(),
        (whole() + "\0\0").encode(),
        b"\n" + (whole() + "{}").encode(),
        whole(after=', "x": ' + "[" * 150 + "]" * 150).encode(),
        ('{"data": [{"b64_json": "?"}], ' + whole()[1:]).encode(),
    ],
    ids=["byte order mark", "UTF-16", "Latin-1", "control characters", "half a surrogate pair",
         "a number of 5,000 digits", "no numbers", "NULs after the end", "something after the end", "deep",
         "duplicate keys"],
)  # fmt: skip
def test_a_picture_is_not_lost_for_what_stands_beside_it(body: bytes) -> None:
    reply = read(body)
    assert reply.pictures == (JPEG,)
    to_json([reply.revised_prompt, reply.request_id, reply.raw])  # can be kept


@pytest.mark.parametrize(
    "body",
    [
        whole()[:-20].encode(),
        whole().encode()[:-1],
        whole(after=', "x": ' + "[" * 100_000 + "]" * 100_000).encode(),
        ("<script>" + whole() + "</script>").encode(),
        b'{"@context": "https://schema.org"} not one of ours',
    ],
    ids=["cut in the picture", "cut before the end", "too deep", "in a page", "another object"],
)
def test_what_is_no_reply_may_have_been_billed_and_no_picture_is_guessed(body: bytes) -> None:
    with pytest.raises(InvalidResponseError, match="not JSON") as raised:
        read(body)
    assert raised.value.maybe_billed


_names = st.sampled_from(
    ["data", "images", "image", "url", "b64_json", "image_url", "created", "message", "error", "detail", "id"]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(URL),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_names | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
_bodies = st.binary(max_size=40) | _json.map(lambda value: json.dumps(value).encode())


@settings(max_examples=100, deadline=None)
@given(_bodies)
def test_any_reply_has_pictures_or_is_our_error(body: bytes) -> None:
    try:
        reply = read(body)
    except InvalidResponseError:
        return
    assert reply.pictures
    assert all(isinstance(picture, str | Link) for picture in reply.pictures)


# A status becomes an error


@pytest.mark.parametrize(
    ("status", "kind", "maybe_billed"),
    [
        (400, BadRequestError, False), (413, BadRequestError, False), (422, BadRequestError, False),
        (401, AuthenticationError, False), (402, QuotaExceededError, False),
        (403, PermissionDeniedError, False), (404, NotFoundError, False), (429, RateLimitError, False),
        (500, ServerError, False), (503, ServerError, False), (529, ServerError, False),
        (502, ServerError, True), (504, ServerError, True), (520, ServerError, True),
        (524, ServerError, True),
        (598, ServerError, True),
        (302, APIStatusError, False), (307, APIStatusError, False), (409, APIStatusError, False),
        (418, APIStatusError, False), (204, APIStatusError, False),
    ],
)  # fmt: skip
def test_each_status_has_its_error(status: int, kind: type[APIStatusError], maybe_billed: bool) -> None:
    error = read_error(status, {}, b"{}")
    assert type(error) is kind
    assert error.status == status
    assert error.maybe_billed is maybe_billed
    assert error.hint


@pytest.mark.parametrize(
    ("body", "message", "kind", "code"),
    [
        ({"error": {"message": "Invalid prompt", "type": "invalid_request_error", "code": 400}},
         "Invalid prompt", "invalid_request_error", 400),
        ({"error": {"message": "m", "type": "t", "code": "c"}}, "m", "t", "c"),
        ({"error": "in plain words"}, "in plain words", None, None),
        ({"message": "failed to authenticate user"}, "failed to authenticate user", None, None),
        ({"message": "flat", "type": "t", "code": "c"}, "flat", "t", "c"),
        ({"detail": "Not Found"}, "Not Found", None, None),
        ({"detail": [{"loc": ["body", "size"], "msg": "bad size"}, {"msg": "worse"}, "plain"]},
         "body.size: bad size; worse; plain", None, None),
        ({"error": {"type": "t"}, "message": "beside"}, "beside", "t", None),
        ({"error": {"message": "  "}, "detail": "d"}, "d", None, None),
        ({"error": None, "message": "m"}, "m", None, None),
        ("a JSON text", "a JSON text", None, None),
        ({"reason": 1}, '{"reason": 1}', None, None),
        ([], "[]", None, None),
    ],
)  # fmt: skip
def test_the_service_s_words_are_found_wherever_they_stand(
    body: object, message: str, kind: str | None, code: object
) -> None:
    error = read_error(400, {}, json.dumps(body).encode())
    assert (error.message, error.type, error.code) == (message, kind, code)
    assert error.body == json.dumps(body)


def test_a_gateway_s_page_becomes_a_line_of_text() -> None:
    page = b"<!DOCTYPE html><style>p {color: red}</style><h1>502\n Bad Gateway</h1><script>x()</script>nginx"
    assert read_error(502, {}, page).message == "502 Bad Gateway nginx"


@pytest.mark.parametrize(
    "body",
    [b"x" * 10**6, b'"' + b"x" * 10**6 + b'"', b'{"message": "' + b"x" * 10**6 + b'"}', b"\xff" * 10**6,
     b'{"detail": ["' + b"x" * 10**6 + b'"]}', "é".encode() * 10**6],
    ids=["text", "JSON text", "message", "no UTF-8", "detail", "two bytes each"],
)  # fmt: skip
def test_an_error_is_short_however_long_the_body(body: bytes) -> None:
    error = read_error(500, {}, body)
    assert 0 < len(error.message) <= 400
    assert 0 < len(error.body) <= 400


def test_a_redirect_says_where_to_and_what_to_check() -> None:
    error = read_error(307, CIMultiDict({"location": "https://elsewhere.example"}), b"")
    assert "https://elsewhere.example" in str(error)
    assert "base URL" in error.hint


def test_the_request_id_is_taken_from_the_header_or_the_body() -> None:
    assert read_error(500, CIMultiDict({"X-Request-Id": "h"}), b'{"request_id": "b"}').request_id == "h"
    assert read_error(500, {}, b'{"error": {"request_id": "b"}}').request_id == "b"


@pytest.mark.parametrize(
    ("words", "spent"),
    [
        ("You exceeded your current quota, please check your plan and billing details", True),
        ("Daily limit reached", True),
        ("500 requests per day", True),
        ("limit of 500/day", True),
        ("insufficient_balance", True),
        ("Insufficient funds", True),
        ("Your credit is used up", True),
        ("RPD limit", True),
        ("Too many requests", False),
        ("Rate limit reached", False),
        ("quota of 3 requests per minute exceeded", False),
        ("RPM quota reached", False),
        ("the load balancer is busy", False),
        ("insufficient permissions", False),
        ("", False),
    ],
)
def test_a_spent_quota_is_told_from_a_rate_limit_by_its_words(words: str, spent: bool) -> None:
    for status, otherwise in ((429, RateLimitError), (403, PermissionDeniedError)):
        for error in ({"message": words}, {"message": "no", "type": words}, {"message": "no", "code": words}):
            found = read_error(status, {}, json.dumps({"error": error}).encode())
            assert type(found) is (QuotaExceededError if spent else otherwise)
    # The words count only where they speak of a limit: a prompt about money is a bad request.
    assert type(read_error(400, {}, json.dumps({"message": words}).encode())) is BadRequestError


@pytest.mark.parametrize(
    ("words", "retry_after", "spent"),
    [
        ("Quota exceeded: 20 requests per 10 seconds", None, False),
        ("Quota exceeded: 3 requests every 60 s", None, False),
        ("Quota of 3 requests in 1 minute", None, False),
        ("Rate quota exceeded for RPS", None, False),
        ("Rate limit exceeded (3/60s). Upgrade your subscription.", None, False),
        ("Rate limit reached. Upgrade your subscription for more.", None, False),
        ("Too many requests. See /billing for higher limits", None, False),
        ("Your quota is used up", "20", False),
        ("Your quota is used up", "3600", True),
        ("Your quota is used up", "0", True),
        ("The rate limit of 500 a day is reached", None, True),
        ("Daily quota exceeded, try again in 30 seconds", "30", True),
        ("Insufficient credit", "1", True),
        ("Too many requests. Your subscription has expired", None, True),
        ("Payment required: your rate limit is 0", None, True),
        ("Rate limit reached: 500 per 24h. Upgrade your subscription", None, True),
        ("weekly quota exceeded, rate limit", None, True),
        ("You exceeded your current quota, please check your plan and billing details", None, True),
        ("quota: see https://service.example/s/a/m", None, True),
    ],
)
def test_a_quota_that_is_over_in_minutes_or_calls_itself_a_rate_limit_is_one(
    words: str, retry_after: str | None, spent: bool
) -> None:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    found = read_error(429, CIMultiDict(headers), json.dumps({"message": words}).encode())
    assert type(found) is (QuotaExceededError if spent else RateLimitError)


_NOW = 1445412480.0  # Wed, 21 Oct 2015 07:28:00 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "20"}, 20.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "9" * 9}, float("9" * 9)),
        ({"Retry-After": f"{_NOW + 100:.0f}"}, 100.0),  # a moment, as no wait is so long
        ({"Retry-After-Ms": "250", "Retry-After": "20"}, 0.25),
        ({"Retry-After-Ms": "soon", "Retry-After": "20"}, 20.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT"}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:30 -0000"}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2015 09:28:30 +0200"}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:27:00 GMT"}, 0.0),
        # The service's clock is an hour ahead of ours.
        ({"Retry-After": "Wed, 21 Oct 2015 08:28:30 GMT", "Date": "Wed, 21 Oct 2015 08:28:00 GMT"}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT", "Date": "yesterday"}, 30.0),
        *(({"Retry-After": text}, None) for text in ("", "soon", "-5", "1e3", "1_0", "nan", "inf", "٣", "5 s",
          "Wed, 99 Oct 2015 07:28:00 GMT", "9" * 5000)),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_milliseconds_or_a_date_by_the_service_s_own_clock(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert read_error(429, CIMultiDict(headers), b"", now=_NOW).retry_after == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-reset": "17"}, 17.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "17"}, 17.0),
        ({"x-ratelimit-remaining": "3", "x-ratelimit-reset": "17"}, None),
        ({"x-ratelimit-reset": str(int(_NOW) + 40)}, 40.0),
        ({"x-ratelimit-reset": str(int(_NOW + 40) * 1000)}, 40.0),
        ({"x-ratelimit-reset-requests": "1m30s", "x-ratelimit-remaining-requests": "0"}, 90.0),
        ({"x-ratelimit-reset-requests": "250ms"}, 0.25),
        (
            {
                "x-ratelimit-reset-requests": "2s", "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-tokens": "1h", "x-ratelimit-remaining-tokens": "5000",
            },
            2.0,
        ),
        ({"RateLimit-Reset": "9", "RateLimit-Remaining": "0"}, 9.0),
        ({"RateLimit": "limit=3, remaining=0, reset=12"}, 12.0),
        ({"RateLimit": '"minute";r=0;t=12'}, 12.0),
        ({"RateLimit": '"minute";r=2;t=12, "day";r=0;t=4000'}, 4000.0),
        ({"RateLimit": '"minute";r=2;t=12'}, None),
        ({"x-ratelimit-reset": str(int(_NOW) - 40)}, 0.0),
        ({"Retry-After": "5", "x-ratelimit-reset": "17"}, 17.0),
        ({"Retry-After": "25", "x-ratelimit-reset": "17"}, 25.0),
        *(({"x-ratelimit-reset": text}, None) for text in ("", "soon", "-1", "5x", "m5")),
    ],
)  # fmt: skip
def test_the_longest_wait_that_any_header_asks_for_is_the_floor(
    headers: dict[str, str], seconds: float | None
) -> None:
    for status in (429, 503):
        assert read_error(status, CIMultiDict(headers), b"", now=_NOW).retry_after == seconds


def test_a_limit_s_headers_on_another_error_are_no_wait() -> None:
    headers = CIMultiDict({"x-ratelimit-reset": "86400"})
    assert read_error(400, headers, b"", now=_NOW).retry_after is None


def test_a_long_wait_says_when_to_come_back() -> None:
    assert "Come back after 20" in read_error(429, CIMultiDict({"Retry-After": "7200"}), b"").hint


def test_without_a_date_of_the_service_a_date_is_measured_by_our_clock() -> None:
    soon = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    waited = read_error(429, CIMultiDict({"Retry-After": soon}), b"").retry_after
    assert waited is not None
    assert 90 <= waited <= 100


@settings(max_examples=100, deadline=None)
@given(
    status=st.integers(100, 999),
    headers=st.dictionaries(
        st.sampled_from(
            [
                "Retry-After",
                "retry-after-ms",
                "Date",
                "Location",
                "x-request-id",
                "x-ratelimit-reset",
                "RateLimit",
            ]
        ),
        st.text(max_size=30) | st.dates().map(str) | st.integers().map(str),
    ),
    body=_bodies,
)
def test_any_answer_that_is_not_success_is_one_of_our_errors(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    error = read_error(status, CIMultiDict(headers), body, now=_NOW)
    assert error.status == status
    assert error.hint
    assert str(status) in str(error)
    assert error.retry_after is None or error.retry_after >= 0


def test_of_a_redirect_s_long_address_the_beginning_is_told() -> None:
    error = read_error(302, {"Location": "https://elsewhere.example/" + "x" * 8000}, b"", now=_NOW)
    assert "https://elsewhere.example/xxx" in str(error)
    assert len(str(error)) < 1000
