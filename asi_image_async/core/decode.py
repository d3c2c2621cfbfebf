"""From base64 text to a picture whose kind and size are told from its bytes."""

from __future__ import annotations

import binascii
import re
from struct import Struct

import pybase64

from ..errors import InvalidResponseError
from ..models import Image

__all__ = ["decode_picture", "to_image"]

_BLANKS = b" \t\r\n\x0b\x0c"
_URLSAFE = bytes.maketrans(b"-_", b"+/")
_STRAY_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_DATA_URL = re.compile(r"data:([^,]{0,200}),", re.IGNORECASE)
_MOST_SEGMENTS = 10_000  # before the frame: one with a large colour profile has some hundreds
_JPEG_SEGMENT = Struct(">BBH")  # 0xFF, a marker, the length of what comes with it
_JPEG_SIZE = Struct(">HH")
# Start-of-frame markers of JPEG: all but DHT (C4), JPG (C8) and DAC (CC).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def decode_picture(text: str | bytes) -> bytes:
    """The bytes behind a data URL or bare base64: wrapped, URL-safe or unpadded is understood.

    What is bytes was decoded as it came. Raises InvalidResponseError for anything else: a stray character
    never passes unseen.
    """
    if isinstance(text, bytes):
        return text
    match = _DATA_URL.match(text)
    if match is None:
        return _from_base64(text)
    content = text[match.end() :]
    if match[1].lower().replace(" ", "").endswith(";base64"):
        return _from_base64(_unquoted(content).decode("latin-1") if "%" in content else content)
    return _unquoted(content)


def _unquoted(content: str) -> bytes:
    """The bytes of percent-encoded text; by a decoder in C, whose sign is another: the loop is the app's."""
    data = content.encode(errors="replace")
    if _STRAY_PERCENT.search(data):
        raise InvalidResponseError(
            "the picture has a percent sign that stands for nothing", maybe_billed=True
        )
    return binascii.a2b_qp(data.replace(b"=", b"=3D").replace(b"%", b"="))


def _from_base64(text: str) -> bytes:
    try:
        return pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass  # not the plain form that the service sends: take the slow way
    try:
        plain = text.encode("ascii").translate(_URLSAFE, _BLANKS).rstrip(b"=")
        return pybase64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidResponseError(
            f"the picture is not base64: it begins {text[:40]!r}", maybe_billed=True
        ) from error


def to_image(data: bytes) -> Image:
    """A picture, told by its magic: PNG, JPEG, WebP, GIF or AVIF.

    Raises InvalidResponseError for bytes that are none of these, or that are cut off before their size.
    """
    for mime_type, suffix, is_it, size in _KINDS:
        if not is_it(data):
            continue
        found = size(data)
        if found is None or 0 in found:
            raise InvalidResponseError(
                f"a picture of type {mime_type} is damaged: its size cannot be told",
                maybe_billed=True,
            )
        return Image(data, mime_type, suffix, *found)
    raise InvalidResponseError(
        f"what came back is no picture that is known here: it begins {data[:24]!r}",
        maybe_billed=True,
        body=data[:400].decode("utf-8", "replace"),
    )


def _big(data: bytes, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "big")


def _little(data: bytes, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "little")


def _png_size(data: bytes) -> tuple[int, int] | None:
    """W3C PNG, section 11.2.2: IHDR comes first and begins with width and height."""
    if data[12:16] != b"IHDR" or len(data) < 24:
        return None
    return _big(data, 16, 4), _big(data, 20, 4)


def _gif_size(data: bytes) -> tuple[int, int] | None:
    """GIF89a, section 18: the logical screen follows the signature."""
    return (_little(data, 6, 2), _little(data, 8, 2)) if len(data) >= 10 else None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """ITU T.81, B.1.1 and B.2.2: walk the markers to the first frame header."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        if at + 9 > len(data):
            return None
        lead, marker, length = _JPEG_SEGMENT.unpack_from(data, at)
        if lead != 0xFF:
            return None
        if marker in _JPEG_FRAMES:
            height, width = _JPEG_SIZE.unpack_from(data, at + 5)
            return width, height
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers that stand alone
            at += 2
        else:
            at += 2 + max(2, length)
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """RFC 9649: the first chunk is VP8, VP8L or VP8X."""
    chunk = data[12:16]
    if len(data) < 30 and not (chunk == b"VP8L" and len(data) >= 25):
        return None
    if chunk == b"VP8X":
        return _little(data, 24, 3) + 1, _little(data, 27, 3) + 1
    if chunk == b"VP8 ":
        return _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
    if chunk == b"VP8L":
        bits = _little(data, 21, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def _is_avif(data: bytes) -> bool:
    """ISO 14496-12, 4.3: the brands of the file-type box, which comes first."""
    if data[4:8] != b"ftyp":
        return False
    brands = data[8 : min(_big(data, 0, 4), 256)]
    return any(brands[i : i + 4] in (b"avif", b"avis") for i in range(0, len(brands), 4))


def _avif_size(data: bytes) -> tuple[int, int] | None:
    """ISO 23008-12, 6.5.3: the largest "ispe" property (a picture may be made of smaller tiles)."""
    sizes = [
        (_big(data, found.end() + 4, 4), _big(data, found.end() + 8, 4))
        for found in re.finditer(rb"\x00\x00\x00\x14ispe", data[:65536])
        if len(data) >= found.end() + 12
    ]
    return max(sizes, default=None, key=lambda size: size[0] * size[1])


_KINDS = (
    ("image/jpeg", ".jpg", lambda d: d.startswith(b"\xff\xd8\xff"), _jpeg_size),
    ("image/png", ".png", lambda d: d.startswith(b"\x89PNG\r\n\x1a\n"), _png_size),
    ("image/webp", ".webp", lambda d: d[:4] == b"RIFF" and d[8:12] == b"WEBP", _webp_size),
    ("image/gif", ".gif", lambda d: d[:6] in (b"GIF87a", b"GIF89a"), _gif_size),
    ("image/avif", ".avif", _is_avif, _avif_size),
)
