"""From a request to its stable key, and to a file name that every system takes."""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from typing import Any

from pydantic_core import from_json, to_json

from ..models import Generation, ImageRequest

__all__ = ["digest", "file_names", "file_stem", "idempotency_key", "item_key"]

_WORDS_BYTES = 80  # with all that follows them a name stays far below the 255 bytes of a file system
# Characters that a name is made of: far more than it has room for. To put a mebibyte of accents into the
# order that Unicode wants takes minutes.
_READ = 1000
_OTHERS = re.compile(r"[^a-z0-9]+")
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)


def digest(request: ImageRequest) -> bytes:
    """16 bytes that are the same for the same prompt, size, model and extra fields, in any process.

    `id` and `metadata` take no part: they are not sent, so they make no other picture.
    """
    beside = request.sent_beside and _in_order(from_json(to_json(request.sent_beside)))
    material = to_json([request.prompt, request.size, request.model, list(beside.items())])
    return hashlib.blake2b(material, digest_size=16).digest()


def _in_order(value: Any) -> Any:
    """The same JSON with the names of every object in order: to a service their order means nothing."""
    if isinstance(value, dict):
        return {name: _in_order(value[name]) for name in sorted(value)}
    return [_in_order(each) for each in value] if isinstance(value, list) else value


def item_key(request_digest: bytes, occurrence: int) -> bytes:
    """16 bytes for the nth time (from 0) that a request stands in a list: twice is two pictures."""
    number = occurrence.to_bytes(8, "big")
    return hashlib.blake2b(request_digest + number, digest_size=16).digest()


def idempotency_key(key: bytes, salt: bytes) -> str:
    """The key that one item carries on every attempt; `salt` tells one folder's batch from another's."""
    return hashlib.blake2b(key, key=salt, digest_size=16).hexdigest()


def file_names(generation: Generation) -> list[str]:
    """A name for each picture: of the request, with a number from the second on."""
    stem = file_stem(generation.request, generation.occurrence)
    return [
        f"{stem}{'' if number == 1 else f'-{number}'}{image.suffix}"
        for number, image in enumerate(generation.images, 1)
    ]


def file_stem(request: ImageRequest, occurrence: int) -> str:
    """A readable, unique file name without its suffix, at most 93 bytes.

    The readable part is the id, else the prompt, as lower-case words. 60 bits of the key follow, so
    that names differ even where the words are the same, or the same but for case.
    """
    key = item_key(digest(request), occurrence)
    unique = base64.b32encode(key[:8]).decode("ascii").lower()[:12]
    words = (request.id and _slug(request.id[:_READ])) or _slug(request.prompt[:_READ])
    words = _cut(words, _WORDS_BYTES)
    return f"{words}-{unique}" if words else unique


def _slug(text: str) -> str:
    """Letters and digits of any script, joined by single hyphens; never a name that Windows keeps."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    # Most are ASCII, for which this is the same in a tenth of the time.
    kept = _OTHERS.sub("-", folded) if folded.isascii() else _letters_and_digits(folded)
    # NFC, as macOS and Linux would otherwise differ.
    slug = unicodedata.normalize("NFC", kept).strip("-")
    return f"{slug}-picture" if _WINDOWS_DEVICES.fullmatch(slug) else slug


def _letters_and_digits(text: str) -> str:
    """Those of any script, and a hyphen for what is between them."""
    kept = ["-"]
    for c in text:
        kind = unicodedata.category(c)[0]
        # Combining marks stay with their letters; one that followed a symbol would be a name unseen.
        kept.append(c if kind in "LN" or (kind == "M" and kept[-1] != "-") else "-")
    return re.sub(r"-+", "-", "".join(kept))


def _cut(words: str, size: int) -> str:
    """At most `size` bytes, at a whole character, and at a whole word where one ends near by."""
    encoded = words.encode()
    if len(encoded) <= size:
        return words
    cut = encoded[:size].decode(errors="ignore")
    head, hyphen, _ = cut.rpartition("-")
    return head if hyphen and len(head) > len(cut) * 2 // 3 else cut.rstrip("-")
