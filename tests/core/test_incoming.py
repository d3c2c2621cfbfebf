"""A reply read as it comes is the reply read whole, however it is cut into pieces."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asi_image_async.core.decode import decode_picture
from asi_image_async.core.wire import Incoming, Link, Reply, read_reply
from asi_image_async.errors import InvalidResponseError


def picture(size: int) -> bytes:
    return b"\xff\xd8" + random.Random(size).randbytes(size)


def base64_of(size: int) -> str:
    return base64.b64encode(picture(size)).decode()


LONG = {size: base64_of(size) for size in (3070, 3071, 4000, 9001, 9002, 9003)}


def fed(chunks: Iterable[bytes]) -> Incoming:
    """From memory that is longer than each chunk, and is used again."""
    incoming = Incoming()
    for chunk in chunks:
        memory = bytearray(chunk + b'", "')
        incoming.feed(memory, len(chunk))
        memory[:] = bytes(len(memory))
    return incoming


def in_pieces(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


# Every picture of some length is decoded as it comes


@pytest.mark.parametrize("size", [1, 2, 3, 5, 4095, 4096, 4097, 100_000])
@pytest.mark.parametrize(
    "reply",
    [
        {"created": 1, "data": [{"b64_json": LONG[9001]}, {"b64_json": LONG[9002]}]},
        {"images": [LONG[9003], LONG[4000]]},
        {"image_url": f"data:image/png;base64,{LONG[9001]}", "revised_prompt": 'a "fox", \u72d0'},
        {"data": {"url": f"DATA:image/jpeg;charset=x;BASE64,{LONG[9002]}"}, "id": "7"},
    ],
    ids=["A", "B", "data URL", "data URL in capitals"],
)
def test_a_picture_is_decoded_as_it_comes(reply: dict[str, Any], size: int) -> None:
    body = json.dumps(reply).encode()
    found = read_reply(fed(in_pieces(body, size)))
    assert all(isinstance(each, bytes) for each in found.pictures)
    assert {len(each) for each in found.pictures} <= {4002, 9003, 9004, 9005}
    assert all(each == picture(len(each) - 2) for each in found.pictures)
    assert repr(found.raw).count("characters>") == len(found.pictures)


# What is odd is read as it always was


ODD = {
    "a stray character": LONG[9001][:5000] + "*" + LONG[9001][5000:],
    "padding in the middle": LONG[9001][:5000] + "QQ==" + LONG[9001][5000:],
    "URL-safe": LONG[9001].replace("+", "-").replace("/", "_"),
    "unpadded": LONG[9001].rstrip("="),
    "wrapped": LONG[9001][:5000] + "\\n" + LONG[9001][5000:],
    "slashes escaped": LONG[9001].replace("/", "\\/"),
    "a data URL that is not base64": "data:image/png," + LONG[4000],
    "a data URL with a comma too many": "data:a,b;base64," + LONG[9001],
    "percent escapes": "data:image/png;base64," + LONG[9001][:5000] + "%3D",
    "a link": "http://pictures.example/" + LONG[9001],
    "a blank before it": " " + LONG[9001],
}


def outcome(reply: Reply) -> object:
    """All that a reply says, its pictures decoded, or the error where one cannot be."""
    pictures: list[object] = []
    for each in reply.pictures:
        try:
            pictures.append(each if isinstance(each, Link) else decode_picture(each))
        except InvalidResponseError as error:
            pictures.append(str(error))
    return pictures, reply.created, reply.revised_prompt, reply.request_id, repr(reply.raw)


class Whole(Incoming):
    """A reply in which nothing is decoded as it comes."""

    def without_pictures(self) -> tuple[bytes, dict[str, Any]]:
        return self.body(), {}


def read_whole(body: bytes) -> object:
    return read(Whole(body))


def read(incoming: Incoming) -> object:
    try:
        return outcome(read_reply(incoming))
    except InvalidResponseError as error:
        return str(error), error.maybe_billed, error.body


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
@pytest.mark.parametrize("size", [7, 4096, 100_000])
def test_what_is_not_plain_base64_is_read_whole(text: str, size: int) -> None:
    body = f'{{"data": [{{"b64_json": "{text}"}}], "created": 1}}'.encode()
    incoming = fed(in_pieces(body, size))
    assert incoming.body() == body
    assert read(incoming) == read_whole(body)


@pytest.mark.parametrize("size", [1000, 4095, 5000, 100_000])
def test_what_has_a_thousand_quotes_is_read_whole(size: int) -> None:
    body = json.dumps({"words": ["a"] * 500, "image": LONG[9001]}).encode()
    assert read_reply(fed(in_pieces(body, size))).pictures == (LONG[9001],)


_texts = st.sampled_from([*LONG.values(), *ODD.values(), "a", "", '\\"', "\\u0041", "https://x"])
_names = st.sampled_from(
    ["data", "images", "image", "url", "b64_json", "revised_prompt", "id", "x", LONG[3070]]
)
_values = st.recursive(
    _texts.map('"{}"'.format) | st.sampled_from(["null", "1", "{}"]),
    lambda inner: (
        st.lists(st.tuples(_names, inner).map(lambda each: f'"{each[0]}": {each[1]}'), max_size=4)
        .map(", ".join).map("{{{}}}".format)
        | st.lists(inner, max_size=3).map(", ".join).map("[{}]".format)
    ),
    max_leaves=6,
)  # fmt: skip


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A reply with long texts in odd places, sometimes cut, or with a byte put in."""
    text = draw(
        st.builds('{{"data": [{{"b64_json": {}}}], "created": 1, "x": {}}}'.format, _values, _values)
        | st.builds('{{"image": {}, "revised_prompt": {}}}'.format, _values, _values)
        | _values
    )
    body = text.encode()
    at = draw(st.integers(0, len(body)))
    match draw(st.sampled_from(["whole", "whole", "whole", "cut", "put in"])):
        case "cut":
            return body[:at]
        case "put in":
            return body[:at] + draw(st.sampled_from([b'"', b"=", b"\\", b",", b"A", b"\xff"])) + body[at:]
    return body


@settings(max_examples=300, deadline=None)
@given(body=bodies(), cuts=st.lists(st.integers(0, 60_000), max_size=6))
def test_any_reply_in_any_pieces_is_the_reply_read_whole(body: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    incoming = fed((body[start:end] for start, end in pairwise(edges)))
    assert incoming.size == len(body)
    assert read(incoming) == read_whole(body)


def test_stray_characters_after_the_last_whole_group_are_no_picture() -> None:
    text = base64.b64encode(picture(5998)).decode() + "****"
    body = json.dumps({"data": [{"b64_json": text}]}).encode()
    assert not isinstance(read_reply(Incoming(body)).pictures[0], bytes)
