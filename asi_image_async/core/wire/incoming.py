"""A reply as it comes in: what is a picture's base64 is decoded chunk by chunk, and never held as text."""

from __future__ import annotations

import binascii
import io
import re
import secrets

import pybase64

__all__ = ["Incoming", "Picture"]

# Shorter texts are read with the rest. Longer ones that are not base64 cost a look at their beginning.
_LONG = 4096
_MOST_QUOTES = 1000
_LONGEST_PREFIX = 200
_PREFIX = re.compile(rb"data:[^,\\\s]{0,190};base64,", re.IGNORECASE)
# Room that is made for a picture before it comes; beyond it grows as it comes.
_MOST_ROOM = 4 * 2**20
# No service can write one, so what reads as a mark is one.
_MARK = f"picture {secrets.token_hex(8)} {{}}"


class Picture:
    """What stood between two quotes and was base64, or a data URL of it: `length` characters in all."""

    def __init__(self, prefix: bytes, data: bytes, length: int) -> None:
        self.data = data
        self.length = length
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
        self._to_come = 0
        self._quotes = _MOST_QUOTES
        self._pieces: list[bytes | Picture] = []
        self._open: _Segment | None = None
        if body:
            self.feed(body)

    def feed(self, chunk: bytes, expected: int = 0) -> None:
        """Take the next bytes; nothing is kept in `chunk`'s own memory.

        `expected`: how many bytes all of them will be, where that is known.
        """
        self._to_come = max(0, expected - self.size)
        self.size += len(chunk)
        view = memoryview(chunk)
        kept = start = 0
        while self._quotes and (quote := chunk.find(b'"', start)) >= 0:
            self._quotes -= 1
            if self._open is not None or quote - start >= _LONG:
                segment = self._open or self._begin(chunk[kept:start])
                segment.add(view[start:quote])
                self._pieces.append(segment.end())
                self._open = None
                kept = quote
            start = quote + 1
        segment = self._open or self._begin(chunk[kept:start])
        segment.add(view[start:])

    def _begin(self, before: bytes) -> _Segment:
        self._pieces.append(before)
        self._open = _Segment(min(self._to_come * 3 // 4, _MOST_ROOM))
        return self._open

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


class _Segment:
    """What came since the last quote: undecided while it is short, then decoded or only kept.

    `room`: bytes of a picture that may come.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._length = 0
        self._prefix = b""
        self._decoded: io.BytesIO | None = None  # None: undecided
        self._rest = b""  # undecided, or the last group of four, which may be padded
        self._text: list[bytes] = []  # what follows when it is no picture

    def add(self, piece: memoryview) -> None:
        self._length += len(piece)
        if self._text:
            self._text.append(bytes(piece))
        elif self._length < _LONG:
            self._rest += piece
        else:
            self._decode(piece)

    def end(self) -> bytes | Picture:
        if self._decoded is not None and not self._text and self._take(self._rest, ends=True):
            return Picture(self._prefix, _whole(self._decoded), self._length)
        return self.text()

    def text(self) -> bytes:
        """What came, exactly: groups of four that are not padded have one form."""
        if self._decoded is None:
            return self._rest
        groups = pybase64.b64encode(_whole(self._decoded))
        return b"".join([self._prefix, groups, self._rest, *self._text])

    def _decode(self, piece: memoryview) -> None:
        if self._decoded is None:
            # Room for all of it, as BytesIO hands out what it holds: to join pieces at the end would be a
            # copy more, all at once, while the loop waits.
            self._decoded = io.BytesIO(bytes(self._room))
            self._rest += piece[:_LONGEST_PREFIX]
            piece = piece[_LONGEST_PREFIX:]
            found = _PREFIX.match(self._rest)
            if found:
                self._prefix = found[0]
            self._rest = self._rest[len(self._prefix) :]
        split = -len(self._rest) % 4
        self._rest += piece[:split]
        piece = piece[split:]
        if not piece:
            return
        last = (len(piece) - 1) // 4 * 4
        if not self._take(self._rest):
            self._text.append(bytes(piece))
        elif not self._take(piece[:last]):
            self._rest, self._text = b"", [bytes(piece)]
        else:
            self._rest = bytes(piece[last:])

    def _take(self, groups: bytes | memoryview, *, ends: bool = False) -> bool:
        """Decode whole groups; False where they are not base64, or padded before the end."""
        if groups[-1:] == b"=" and not ends:
            return False
        assert self._decoded is not None
        try:
            self._decoded.write(pybase64.b64decode(groups, validate=True))
        except (binascii.Error, ValueError):
            return False
        return True


def _whole(decoded: io.BytesIO) -> bytes:
    decoded.truncate()
    return decoded.getvalue()
