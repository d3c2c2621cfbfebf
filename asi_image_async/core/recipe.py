"""The request in the picture that it became, as XMP: put in, and found again. Not a pixel is touched.

Where it goes: Adobe's XMP specification, part 3 (JPEG 1.1.3, PNG 1.1.5), and RFC 9649, 2.7 (WebP).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress
from xml.sax.saxutils import escape

__all__ = ["embed", "extract"]

# Ours; what ends in a slash is a namespace to every reader of XMP.
_NAMESPACE = "urn:asi-image-async:recipe/1.0/"
_PACKET = """\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:asi="{namespace}">
   <asi:recipe>{recipe}</asi:recipe>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
_LARGEST = 2**20
_MOST_PARTS = 100_000  # of a picture; one made to do harm has millions

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEYWORD = b"XML:com.adobe.xmp\0"
_PNG_HEAD = _PNG_KEYWORD + b"\0\0\0\0"  # not compressed, no language, no translated keyword
_JPEG = b"\xff\xd8\xff"
_JPEG_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
_LARGEST_SEGMENT = 0xFFFF - 2
_APP0, _APP1 = 0xE0, 0xE1
_NO_MORE_SEGMENTS = (0xD9, 0xDA)  # the end, and the scan
_HAS_XMP, _HAS_ALPHA = 0x04, 0x10


def embed(data: bytes, recipe: str) -> bytes | None:
    """The picture with a text of JSON in it.

    None where it has no place for that: another kind than PNG, JPEG and WebP, XMP of somebody else's, a text
    too long (64 KB for a JPEG, else a mebibyte), or a form that is not understood.
    """
    # Two characters that JSON takes as they are, and XML in no way.
    recipe = recipe.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
    packet = _PACKET.format(namespace=_NAMESPACE, recipe=escape(recipe)).encode()
    try:
        if len(packet) > _LARGEST or next(_packets(data), None) is not None:
            return None
        if data.startswith(_PNG):
            return _into_png(data, packet)
        if data.startswith(_JPEG):
            return _into_jpeg(data, packet)
        return _into_webp(data, packet) if _is_webp(data) else None
    except ValueError:
        return None


def extract(data: bytes) -> str | None:
    """The text that is in a picture, or None."""
    with suppress(ValueError):  # what comes before a damaged part is good
        for packet in _packets(data):
            recipe = _recipe(packet)
            if recipe is not None:
                return recipe
    return None


def _packets(data: bytes) -> Iterator[bytes]:
    """The XMP in a picture. Raises ValueError where its form is not understood."""
    if data.startswith(_PNG):
        for kind, start, end in _chunks(data):
            if kind == b"iTXt" and data.startswith(_PNG_KEYWORD, start):
                yield data[start + len(_PNG_HEAD) : end]
    elif data.startswith(_JPEG):
        for marker, start, end in _segments(data):
            if marker == _APP1 and data.startswith(_JPEG_HEAD, start):
                yield data[start + len(_JPEG_HEAD) : end]
    elif _is_webp(data):
        yield from (data[start:end] for kind, start, end in _riff_chunks(data) if kind == b"XMP ")


def _recipe(packet: bytes) -> str | None:
    """Ours, of a packet that another program may have written anew."""
    from xml.etree import ElementTree  # not for those who only write

    # A definition of entities may make a gigabyte of a line.
    if len(packet) > _LARGEST or b"<!" in packet:
        return None
    try:
        root = ElementTree.fromstring(packet.decode())  # noqa: S314 - nothing is defined in it
    except (ElementTree.ParseError, ValueError):
        return None
    name = f"{{{_NAMESPACE}}}recipe"
    for element in root.iter():
        if element.tag == name:
            return element.text
        if name in element.attrib:
            return element.attrib[name]
    return None


def _into_png(data: bytes, packet: bytes) -> bytes:
    """After the header, which comes first."""
    kind, _, end = next(_chunks(data), (b"", 0, 0))
    if kind != b"IHDR":
        raise ValueError("no header")
    at = end + 4  # its checksum
    named = b"iTXt" + _PNG_HEAD + packet
    size = len(named) - 4
    chunk = size.to_bytes(4, "big") + named + zlib.crc32(named).to_bytes(4, "big")
    return data[:at] + chunk + data[at:]


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """PNG's: the kind of each, and where its content begins and ends (W3C PNG, 5.3)."""
    at = len(_PNG)
    for _ in range(_MOST_PARTS):
        if at >= len(data):
            return
        start = at + 8
        end = start + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            raise ValueError("cut")
        yield data[at + 4 : start], start, end
        at = end + 4
    raise ValueError("too many chunks")


def _into_jpeg(data: bytes, packet: bytes) -> bytes:
    """After what has to come first: JFIF's segment, and Exif's."""
    content = _JPEG_HEAD + packet
    if len(content) > _LARGEST_SEGMENT:
        raise ValueError("too long")
    at = 2
    for kind, start, end in _segments(data):
        if kind != _APP0 and not (kind == _APP1 and data.startswith(b"Exif\0\0", start)):
            break
        at = end
    segment = bytes([0xFF, _APP1]) + (len(content) + 2).to_bytes(2, "big") + content
    return data[:at] + segment + data[at:]


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """JPEG's, up to the first scan: the marker of each, and where its content begins and ends (T.81, B.1)."""
    at = 2
    for _ in range(_MOST_PARTS):
        if data[at : at + 2] == b"\xff\xff":  # a fill byte
            at += 1
            continue
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        if at + 2 > len(data) or data[at] != 0xFF:
            raise ValueError("no marker")
        marker = data[at + 1]
        if marker in _NO_MORE_SEGMENTS:
            return
        if size < 2 or at + 2 + size > len(data):
            raise ValueError("cut")
        yield marker, at + 4, at + 2 + size
        at += 2 + size
    raise ValueError("too many segments")


def _is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _into_webp(data: bytes, packet: bytes) -> bytes:
    """At the end, and a flag in the extended header, which is made where there is none."""
    kind, start, end = next(_riff_chunks(data), (b"", 0, 0))
    if kind == b"VP8X" and end - start == 10:
        header = _riff_chunk(kind, bytes([data[start] | _HAS_XMP]) + data[start + 1 : end])
        rest = data[end:]
    else:
        header = _extended_header(kind, data[start:end])
        rest = data[12:]
    padding = b"\0" * (len(rest) % 2)
    body = b"WEBP" + header + rest + padding + _riff_chunk(b"XMP ", packet)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _extended_header(kind: bytes, content: bytes) -> bytes:
    """RFC 9649, 2.7.1; sizes are one less than they are."""
    if kind == b"VP8 " and len(content) >= 10:
        flags = _HAS_XMP
        width, height = (int.from_bytes(content[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    elif kind == b"VP8L" and len(content) >= 5:
        bits = int.from_bytes(content[1:5], "little")
        flags = _HAS_XMP | (_HAS_ALPHA if bits >> 28 & 1 else 0)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        raise ValueError("no picture")
    if not width or not height:
        raise ValueError("no size")
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return _riff_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + sizes)


def _riff_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + len(content).to_bytes(4, "little") + content + b"\0" * (len(content) % 2)


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """WebP's: the kind of each, and where its content begins and ends (RFC 9649, 2.3)."""
    if int.from_bytes(data[4:8], "little") + 8 != len(data):
        raise ValueError("cut, or something follows")
    at = 12
    for _ in range(_MOST_PARTS):
        if at >= len(data):
            return
        start = at + 8
        end = start + int.from_bytes(data[at + 4 : start], "little")
        if end > len(data):
            raise ValueError("cut")
        yield data[at : at + 4], start, end
        at = end + end % 2
    raise ValueError("too many chunks")
