"""A request put into a picture is found in it again, other programs still read it, and no pixel differs."""

from __future__ import annotations

import io
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as pillow
from service import JPEG, picture

from asi_image_async.core.decode import to_image
from asi_image_async.core.recipe import embed, extract
from asi_image_async.core.wire import encode_request
from asi_image_async.models import ImageRequest


def drawn(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    pillow.radial_gradient("L").convert(mode).resize((33, 21)).save(file, kind, **options)
    return file.getvalue()


def exif() -> pillow.Exif:
    found = pillow.Exif()
    found[0x010E] = "a description"
    return found


PICTURES = {
    "PNG": drawn("PNG"),
    "PNG with a palette": drawn("PNG", "P"),
    "JPEG": drawn("JPEG"),
    "JPEG, progressive": drawn("JPEG", progressive=True),
    "JPEG with Exif": drawn("JPEG", exif=exif()),
    "JPEG with a comment": drawn("JPEG", comment="a comment"),
    "WebP": drawn("WEBP"),
    "WebP, lossless": drawn("WEBP", lossless=True),
    "WebP, lossless, transparent": drawn("WEBP", "RGBA", lossless=True),
    "WebP, transparent": drawn("WEBP", "LA"),
    "WebP with Exif": drawn("WEBP", exif=exif()),
}
RECIPE = '{"prompt":"a <red> fox & \\"friends\\"\\r\\n","n":1}'
every_picture = pytest.mark.parametrize("data", PICTURES.values(), ids=PICTURES)


@every_picture
def test_a_recipe_is_found_again_and_no_pixel_differs(data: bytes) -> None:
    embedded = embed(data, RECIPE)
    assert embedded is not None
    assert extract(embedded) == RECIPE
    assert extract(data) is None
    before, after = pillow.open(io.BytesIO(data)), pillow.open(io.BytesIO(embedded))
    assert (after.mode, after.size) == (before.mode, before.size)
    assert after.tobytes() == before.tobytes()
    assert dict(after.getexif()) == dict(before.getexif())
    assert after.info.get("comment") == before.info.get("comment")
    assert to_image(embedded).mime_type == to_image(data).mime_type


@every_picture
def test_other_programs_find_it_where_xmp_belongs(data: bytes) -> None:
    embedded = embed(data, RECIPE)
    assert embedded is not None
    xmp = pillow.open(io.BytesIO(embedded)).info["xmp"]
    text = xmp if isinstance(xmp, str) else xmp.decode()
    (found,) = ElementTree.fromstring(text).iter("{urn:asi-image-async:recipe/1.0/}recipe")
    assert found.text == RECIPE


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@settings(max_examples=50, deadline=None)
@given(prompt=st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
def test_any_prompt_comes_out_as_it_went_in(kind: str, prompt: str) -> None:
    request = ImageRequest(prompt=prompt, seed=7)
    embedded = embed(picture(kind), encode_request(request).decode())
    assert embedded is not None
    recipe = extract(embedded)
    assert recipe is not None
    assert ImageRequest.model_validate_json(recipe) == request


def test_what_cannot_have_it_is_left_alone() -> None:
    embedded = embed(JPEG, RECIPE)
    assert embedded is not None
    assert embed(embedded, RECIPE) is None  # it has one
    assert embed(drawn("JPEG", xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"), RECIPE) is None  # another's
    assert embed(JPEG, "x" * 65_000) is not None
    assert embed(JPEG, "x" * 66_000) is None  # a segment has no room for it
    assert embed(drawn("GIF", "P"), RECIPE) is None
    assert embed(drawn("PNG") + b"more", RECIPE) is None
    assert embed(b"", RECIPE) is None
    assert embed(picture("PNG"), "x" * 2**20) is None  # more than is read back


@pytest.mark.parametrize(
    ("kind", "at", "part"),
    [("JPEG", 2, b"\xff"), ("PNG", 33, b"\0\0\0\0teXt\0\0\0\0")],
    ids=["JPEG of fill bytes", "PNG of empty chunks"],
)
def test_a_picture_of_very_many_parts_is_given_up(kind: str, at: int, part: bytes) -> None:
    plain = picture(kind)
    embedded = embed(plain, RECIPE)
    assert embedded is not None
    for parts, is_read in ((1_000, True), (1_000_000, False)):
        filled = part * parts
        assert (extract(embedded[:at] + filled + embedded[at:]) == RECIPE) is is_read
        assert (embed(plain[:at] + filled + plain[at:], RECIPE) is not None) is is_read


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_it_is_found_though_the_picture_is_cut_or_something_follows_it(kind: str) -> None:
    embedded = embed(drawn(kind), RECIPE)
    assert embedded is not None
    assert extract(embedded + b"\n") == RECIPE
    assert extract(embedded[:-20]) == RECIPE


def test_a_packet_that_another_program_wrote_anew_is_understood() -> None:
    as_an_attribute = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:r="urn:asi-image-async:recipe/1.0/" r:recipe="{&quot;prompt&quot;:1}"/>'
        b"</rdf:RDF></x:xmpmeta>"
    )
    assert extract(drawn("JPEG", xmp=as_an_attribute)) == '{"prompt":1}'


def test_a_packet_made_to_do_harm_is_none() -> None:
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE x [<!ENTITY a0 "a">{entities}]><x>&a9;</x>'
    assert extract(drawn("JPEG", xmp=bomb.encode())) is None
    assert extract(drawn("JPEG", xmp=b"<x>" * 20_000)) is None
    assert extract(drawn("JPEG", xmp=b"\xff\xfe<\0")) is None


@settings(max_examples=300, deadline=None)
@given(
    data=st.sampled_from([embed(each, RECIPE) or b"" for each in PICTURES.values()]),
    at=st.integers(0, 2000),
    gone=st.integers(0, 40),
    put_in=st.binary(max_size=12),
)
def test_a_damaged_picture_is_left_alone_or_stays_what_it_was(
    data: bytes, at: int, gone: int, put_in: bytes
) -> None:
    at = min(at, len(data))
    damaged = data[:at] + put_in + data[at + gone :]
    extract(damaged)
    embedded = embed(damaged, RECIPE)
    assert embedded is None or extract(embedded) == RECIPE


def test_what_is_about_as_long_as_a_segment_has_a_place_or_none() -> None:
    found = {embed(JPEG, "x" * length) is None for length in range(65_000, 65_600)}
    assert found == {True, False}


def test_a_webp_that_had_alpha_says_so_still() -> None:
    file = io.BytesIO()
    pillow.new("RGBA", (3, 4), (1, 2, 3, 4)).save(file, "WEBP", lossless=True)
    embedded = embed(file.getvalue(), "{}")
    assert embedded is not None
    assert embedded[20] & 0x10  # RFC 9649, section 2.7: the alpha flag of VP8X
