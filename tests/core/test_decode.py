"""Base64 of any sort becomes bytes, and bytes a picture whose kind and size they tell themselves."""

from __future__ import annotations

import base64
import io
import tracemalloc
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import features

from asi_image_async.core.decode import decode_picture, to_image
from asi_image_async.errors import InvalidResponseError

SIZE = (300, 258)  # more than a byte each, in both orders


def drawn(kind: str, mode: str = "RGB", size: tuple[int, int] = SIZE, **options: object) -> bytes:
    picture = Pillow.linear_gradient("L").resize(size).convert(mode)
    if options.pop("animated", False):
        options |= {"save_all": True, "append_images": [picture.rotate(180)], "duration": 40}
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def jpeg_with(segment: bytes) -> bytes:
    """A JPEG with something between its first two bytes and the rest."""
    data = drawn("JPEG")
    return data[:2] + segment + data[2:]


PICTURES = {
    "PNG": (drawn("PNG"), "image/png", ".png"),
    "PNG, 8 bits, interlaced": (drawn("PNG", "P"), "image/png", ".png"),
    "APNG": (drawn("PNG", animated=True), "image/png", ".png"),
    "JPEG baseline": (drawn("JPEG"), "image/jpeg", ".jpg"),
    "JPEG progressive": (drawn("JPEG", progressive=True), "image/jpeg", ".jpg"),
    "JPEG grey": (drawn("JPEG", "L"), "image/jpeg", ".jpg"),
    "JPEG with a profile": (drawn("JPEG", icc_profile=b"p" * 70_000, comment=b"c"), "image/jpeg", ".jpg"),
    "JPEG with a preview in Exif": (
        jpeg_with(b"\xff\xe1\x00\x19Exif\0\0" + b"\xff\xc0\x00\x11\x08\x00\x10\x00\x10" + b"\0" * 8),
        "image/jpeg",
        ".jpg",
    ),
    "JPEG with its tables first": (jpeg_with(b"\xff\xc4\x00\x0d" + b"\1" * 11), "image/jpeg", ".jpg"),
    "JPEG with arithmetic tables": (jpeg_with(b"\xff\xcc\x00\x08" + b"\1" * 6), "image/jpeg", ".jpg"),
    "JPEG with fill bytes": (jpeg_with(b"\xff\xff\xff\xe0\x00\x02"), "image/jpeg", ".jpg"),
    "WebP lossy": (drawn("WEBP"), "image/webp", ".webp"),
    "WebP lossless": (drawn("WEBP", lossless=True), "image/webp", ".webp"),
    "WebP with alpha": (drawn("WEBP", "RGBA", exif=b"Exif\0\0"), "image/webp", ".webp"),
    "WebP animated": (drawn("WEBP", animated=True), "image/webp", ".webp"),
    "GIF": (drawn("GIF", "P"), "image/gif", ".gif"),
    "GIF animated": (drawn("GIF", "P", animated=True), "image/gif", ".gif"),
}
if features.check("avif"):
    PICTURES["AVIF"] = (drawn("AVIF"), "image/avif", ".avif")
    PICTURES["AVIF animated"] = (drawn("AVIF", animated=True), "image/avif", ".avif")


@pytest.fixture(params=PICTURES)
def picture(request: pytest.FixtureRequest) -> tuple[bytes, str, str]:
    return PICTURES[request.param]


# From text to bytes


def test_a_picture_in_base64_is_understood_bare_and_as_a_data_url(picture: tuple[bytes, str, str]) -> None:
    data, mime_type, _ = picture
    text = base64.b64encode(data).decode()
    for url in (
        text,
        f"data:{mime_type};base64,{text}",
        f"data:;base64,{text}",
        f"DATA:{mime_type};name=a.b;charset=utf-8; BASE64,{text}",
        f"data:{mime_type};base64,{quote(text, safe='')}",
        f"data:{mime_type},{quote(data)}",
    ):
        assert decode_picture(url) == data


def test_only_what_is_called_base64_is_read_as_base64() -> None:
    assert decode_picture("data:image/jpeg;notbase64,a%20cat") == b"a cat"


@given(
    data=st.lists(st.sampled_from([*b"%=_+ .aF0\r\n\t\x00\xff"])).map(bytes),
    safe=st.sampled_from(["", "=_ \r\n\t"]),
)
def test_a_picture_in_percent_signs_is_read_whole(data: bytes, safe: str) -> None:
    assert decode_picture(f"data:image/jpeg,{quote(data, safe=safe)}") == data
    assert decode_picture(f"data:image/jpeg,{quote(data, safe=safe).lower()}") == data.lower()


@pytest.mark.parametrize("stray", ["%", "%4", "%zz", "%%41"])
def test_a_percent_sign_that_stands_for_nothing_never_passes_unseen(stray: str) -> None:
    with pytest.raises(InvalidResponseError, match="stands for nothing"):
        decode_picture(f"data:image/jpeg,%ff{stray}")


@settings(max_examples=100, deadline=None)
@given(
    data=st.binary(max_size=200),
    urlsafe=st.booleans(),
    padded=st.booleans(),
    prefix=st.sampled_from(["", "data:image/jpeg;base64,"]),
    blanks=st.lists(st.tuples(st.integers(0, 300), st.sampled_from(["\n", "\r\n", " ", "\t", "\n\n"]))),
)
def test_base64_is_read_however_it_is_wrapped_padded_or_spelt(
    data: bytes, urlsafe: bool, padded: bool, prefix: str, blanks: list[tuple[int, str]]
) -> None:
    text = (base64.urlsafe_b64encode if urlsafe else base64.b64encode)(data).decode()
    text = text if padded else text.rstrip("=")
    for place, blank in blanks:
        text = text[:place] + blank + text[place:]
    assert decode_picture(prefix + text) == data


@settings(max_examples=100, deadline=None)
@given(
    data=st.binary(min_size=3, max_size=60),
    place=st.integers(0, 80),
    stray=st.characters(exclude_characters="%=-_+/ \t\r\n\x0b\x0c").filter(
        lambda c: not (c.isascii() and c.isalnum())
    ),
    prefix=st.sampled_from(["", "data:image/jpeg;base64,"]),
)
def test_a_stray_character_never_passes_unseen(data: bytes, place: int, stray: str, prefix: str) -> None:
    text = base64.b64encode(data).decode()
    place = min(place, len(text))
    with pytest.raises(InvalidResponseError):
        decode_picture(prefix + text[:place] + stray + text[place:])


@pytest.mark.parametrize(
    "text", ["A", "AAAAA", "QQ=Q", "Q=Q=", "QQ==QQ==", "https://x.example/1.png", "{}", "\ud800", "!" * 999]
)
def test_what_is_not_base64_is_told_by_its_beginning(text: str) -> None:
    with pytest.raises(InvalidResponseError) as caught:
        decode_picture(text)
    assert repr(text[:40]) in str(caught.value)
    assert len(str(caught.value)) < 100
    assert caught.value.maybe_billed  # a whole reply came back, so the picture may have been made


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(), max_size=30), st.sampled_from(["", "data:,", "data:;base64,", "data:"]))
def test_any_text_is_bytes_or_our_error(text: str, prefix: str) -> None:
    try:
        assert isinstance(decode_picture(prefix + text), bytes)
    except InvalidResponseError as error:
        assert len(str(error)) < 300  # noqa: PT017 - either is right


# From bytes to a picture


def test_kind_and_size_are_told_from_the_bytes(picture: tuple[bytes, str, str]) -> None:
    data, mime_type, suffix = picture
    image = to_image(data)
    assert (image.mime_type, image.suffix) == (mime_type, suffix)
    with Pillow.open(io.BytesIO(data)) as opened:
        assert (image.width, image.height) == opened.size == SIZE
    assert image.data == data


@pytest.mark.skipif("AVIF" not in PICTURES, reason="this Pillow cannot write AVIF")
def test_an_avif_sequence_need_not_name_the_still_picture_s_brand() -> None:
    data, mime_type, _ = PICTURES["AVIF"]
    image = to_image(data.replace(b"avif", b"avis", 2))
    assert (image.mime_type, image.width, image.height) == (mime_type, *SIZE)


def test_how_a_webp_is_to_be_scaled_is_no_part_of_its_size() -> None:
    data = bytearray(drawn("WEBP"))
    data[27] |= 0x40
    data[29] |= 0xC0
    image = to_image(bytes(data))
    assert (image.width, image.height) == SIZE


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize("size", [(1, 1), (300, 1), (1, 70), (1792, 1024)])
def test_every_size_is_read_whole(kind: str, size: tuple[int, int]) -> None:
    image = to_image(drawn(kind, "P" if kind == "GIF" else "RGB", size))
    assert (image.width, image.height) == size


def test_a_picture_cut_anywhere_is_itself_or_our_error(picture: tuple[bytes, str, str]) -> None:
    data, mime_type, _ = picture
    header = min(len(data), 1500)
    told = [cut for cut in range(header) if _is_told(data[:cut], mime_type)]
    # Where its size has come, it is told; before that it never is.
    assert told == list(range(told[0], header)) if told else header == 1500


def _is_told(data: bytes, mime_type: str) -> bool:
    try:
        image = to_image(data)
    except InvalidResponseError:
        return False
    assert (image.mime_type, image.width, image.height) == (mime_type, *SIZE)
    return True


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no picture"),
        (b"<html>", "no picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture"),
        (b"BM" + bytes(60), "no picture"),
        (b"RIFF\0\0\0\0WAVEfmt " + bytes(30), "no picture"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(30), "no picture"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(20), "image/png is damaged"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIDAT" + b"\1" * 20, "image/png is damaged"),
        (b"\xff\xd8\xff\xd9", "image/jpeg is damaged"),
        (b"\xff\xd8\xff\xe0\0\0" * 9, "image/jpeg is damaged"),
        (b"\xff\xd8\xff\xe0\0\2" + b"no marker here", "image/jpeg is damaged"),
        (b"GIF89a" + bytes(20), "image/gif is damaged"),
        (b"RIFF\0\0\0\0WEBPABCD" + b"\1" * 20, "image/webp is damaged"),
        (b"\0\0\0\x10ftypavif\0\0\0\0" + bytes(90), "image/avif is damaged"),
    ],
)
def test_what_is_no_picture_is_told(data: bytes, words: str) -> None:
    with pytest.raises(InvalidResponseError, match=words) as caught:
        to_image(data)
    assert caught.value.maybe_billed
    assert len(str(caught.value)) < 300


_beginnings = st.sampled_from(
    [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xc0", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"GIF87a", b"GIF89a",
     b"RIFF\0\0\0\0WEBPVP8 ", b"RIFF\0\0\0\0WEBPVP8L", b"RIFF\0\0\0\0WEBPVP8X", b"\0\0\0\x14ftypavif",
     b"\0\0\0\x14ftypavif\0\0\0\x14ispe"]
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(_beginnings, st.binary(max_size=60))
def test_any_bytes_are_a_picture_with_a_size_or_our_error(beginning: bytes, rest: bytes) -> None:
    try:
        image = to_image(beginning + rest)
    except InvalidResponseError:
        return
    assert image.width > 0
    assert image.height > 0


def test_a_picture_of_escapes_alone_is_read_whole_and_takes_little_memory() -> None:
    text = "data:image/jpeg," + "".join(f"%{byte:02x}" for byte in b"\xff\xd8%+ " * 60_000)
    tracemalloc.start()
    try:
        data = decode_picture(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert data == b"\xff\xd8%+ " * 60_000
    assert peak < 8 * len(text)


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\xe0\x00\x02", b"\xff\x01"])
def test_a_jpeg_that_never_comes_to_its_frame_is_given_up(filling: bytes) -> None:
    frame = b"\xff\xc0\x00\x11\x08\x00\x10\x00\x10" * 2
    assert to_image(b"\xff\xd8" + filling * 2_000 + frame).width == 16
    with pytest.raises(InvalidResponseError, match="size cannot be told"):
        to_image(b"\xff\xd8" + filling * 20_000 + frame)
