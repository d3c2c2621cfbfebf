"""A reply as it comes in, at once or in chunks: a picture's base64 is decoded, and not kept as text."""

from __future__ import annotations

import contextlib
import re
import secrets

import pybase64

__all__ = ["Incoming", "Picture"]

# Shorter texts are read with the rest. Longer ones that are not base64 cost a look at their beginning.
_LONG = 4096
_MOST_QUOTES = 1000
_LONGEST_PREFIX = 200
_PREFIX = re.compile(rb"data:[^,\\\s]{0,190};base64,", re.IGNORECASE)
# No service can write one, so what reads as a mark is one.
_MARK = f"picture {secrets.token_hex(8)} {{}}"


class Picture:
    """What stood between two quotes and was base64, or a data URL of it: `length` characters in all."""

    def __init__(self, prefix: bytes, data: bytes) -> None:
        self.data = data
        self.length = len(prefix) + (len(data) + 2) // 3 * 4
        self._prefix = prefix

    def text(self) -> bytes:
        """What came; base64 that is strict has one form, but for some bits of the end that mean nothing."""
        return self._prefix + pybase64.b64encode(self.data)


class Incoming:
    """The body of a reply, fed as it comes.

    It is JSON most of the time, but this does not depend on it: between any two quotes may stand a picture.
    Whether it is one, as the reply has it, is for whoever reads the JSON to say; `body` has everything.
    """

    def __init__(self, body: bytes = b"") -> None:
        self.size = 0
        self._quotes = _MOST_QUOTES
        self._pieces: list[bytes | Picture] = []
        self._open: _Segment | None = None
        if body:
            self.feed(body, len(body))

    def feed(self, chunk: bytes | bytearray, size: int) -> None:
        """Take the next bytes, so many of `chunk`, in whose own memory nothing is kept."""
        self.size += size
        view = memoryview(chunk)[:size]
        kept = start = 0
        if self._open is not None:
            end = chunk.find(b'"', 0, size) if self._quotes > 0 else -1
            self._open.add(view[:end] if end >= 0 else view)
            if end < 0:
                return
            self._quotes -= 1
            self._pieces.append(self._open.end())
            kept, start = end, end + 1
        # In a rest that is too short to hold a long text, only the last quote counts: it may begin one.
        while self._quotes > 0 and size - start >= _LONG:
            end = chunk.find(b'"', start, start + _LONG)
            if end < 0:
                end, picture = _long_text(chunk, view, start)
                if end < 0:
                    break
                self._pieces += [bytes(view[kept:start]), picture or bytes(view[start:end])]
                kept = end
            self._quotes -= 1
            start = end + 1
        if size - start < _LONG:
            self._quotes -= chunk.count(b'"', start, size)
            start = max(start, chunk.rfind(b'"', start, size) + 1)
        self._pieces.append(bytes(view[kept:start]))
        self._open = _Segment()
        self._open.add(view[start:])

    def without_pictures(self) -> tuple[bytes, dict[str, Picture]]:
        """The body with a mark in the place of each picture, and which mark stands for which."""
        text: list[bytes] = []
        pictures: dict[str, Picture] = {}
        for piece in self._all():
            if isinstance(piece, Picture):
                mark = _MARK.format(len(pictures))
                pictures[mark] = piece
                piece = mark.encode()
            text.append(piece)
        return b"".join(text), pictures

    def body(self) -> bytes:
        """All that came, as it came."""
        return b"".join(piece.text() if isinstance(piece, Picture) else piece for piece in self._all())

    def _all(self) -> list[bytes | Picture]:
        return [*self._pieces, self._open.text() if self._open else b""]  # what no quote ends is no picture


def _long_text(chunk: bytes | bytearray, view: memoryview, start: int) -> tuple[int, Picture | None]:
    """Where the text that begins there ends, -1 if not within `view` of the chunk, and the picture in it."""
    # What follows a picture is short, so its end is looked for from there: to go through all of it twice
    # takes longer than its decoding, which meets an end that comes before.
    end = chunk.find(b'"', max(start, len(view) - _LONG), len(view))
    if end >= 0 and (picture := _picture(view[start:end])):
        return end, picture
    end = chunk.find(b'"', start, len(view))
    return end, _picture(view[start:end]) if end >= 0 else None


def _picture(text: memoryview) -> Picture | None:
    found = _PREFIX.match(text)
    prefix = found[0] if found else b""
    try:
        return Picture(prefix, pybase64.b64decode(text[len(prefix) :], validate=True))
    except ValueError:
        return None


class _Segment:
    """What came since the last quote: undecided while it is short, then decoded or only kept."""

    def __init__(self) -> None:
        self._prefix = b""
        self._groups: list[bytes] | None = None  # None: undecided
        self._rest = b""  # undecided, or the last group of four, which may be padded
        self._text: list[bytes] = []  # what follows when it is no picture

    def add(self, piece: memoryview) -> None:
        """Take what comes next."""
        if self._groups is None:
            if len(self._rest) + len(piece) < _LONG:
                self._rest += piece
                return
            self._groups = []
            self._rest += piece[:_LONGEST_PREFIX]
            piece = piece[_LONGEST_PREFIX:]
            if found := _PREFIX.match(self._rest):
                self._prefix = found[0]
                self._rest = self._rest[len(self._prefix) :]
        if self._text or not self._decode(piece, self._groups):
            self._text.append(bytes(piece))

    def _decode(self, piece: memoryview, groups: list[bytes]) -> bool:
        """Whether it is more base64; its last four characters are not looked at yet."""
        split = -len(self._rest) % 4
        if len(piece) <= split:
            self._rest += piece
            return True
        last = split + (len(piece) - split - 1) // 4 * 4
        try:
            groups += _decode(self._rest + piece[:split]), _decode(piece[split:last])
        except ValueError:
            return False
        self._rest = bytes(piece[last:])
        return True

    def end(self) -> bytes | Picture:
        """What it was: a quote follows."""
        if self._groups is not None and not self._text:
            with contextlib.suppress(ValueError):
                last = pybase64.b64decode(self._rest, validate=True)
                return Picture(self._prefix, b"".join([*self._groups, last]))
        return self.text()

    def text(self) -> bytes:
        """What came, exactly: groups of four that are not padded have one form."""
        groups = pybase64.b64encode(b"".join(self._groups or ()))
        return b"".join([self._prefix, groups, self._rest, *self._text])


def _decode(groups: bytes | memoryview) -> bytes:
    """Whole groups that others follow; raises ValueError where they are not base64, or padded."""
    if groups[-1:] == b"=":
        raise ValueError("padded before its end")
    return pybase64.b64decode(groups, validate=True)
