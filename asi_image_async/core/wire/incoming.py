"""A reply as it comes in: what is a picture's base64 is decoded chunk by chunk, and never held as text."""

from __future__ import annotations

import contextlib
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
        # In the middle of a picture its end is not looked for: the decoding would meet it.
        middle = len(chunk) < self._to_come and b'"' not in chunk[-4:]
        if middle and self._open is not None and self._open.add_base64(view):
            return
        kept = start = 0
        # In a rest that is too short to hold a long text, only the last quote counts: it may begin one.
        while self._quotes > 0 and (self._open is not None or len(chunk) - start >= _LONG):
            if (quote := chunk.find(b'"', start)) < 0:
                break
            self._quotes -= 1
            if self._open is not None or quote - start >= _LONG:
                segment = self._open or self._begin(chunk[kept:start])
                segment.add(view[start:quote])
                self._pieces.append(segment.end())
                self._open = None
                kept = quote
            start = quote + 1
        if self._open is None and len(chunk) - start < _LONG:
            self._quotes -= chunk.count(b'"', start)
            start = max(start, chunk.rfind(b'"', start) + 1)
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
        self._prefix = b""
        self._decoded: io.BytesIO | None = None  # None: undecided
        self._rest = b""  # undecided, or the last group of four, which may be padded
        self._text: list[bytes] = []  # what follows when it is no picture

    def add(self, piece: memoryview) -> None:
        """Take what comes next."""
        if self._decoded is None:
            if len(self._rest) + len(piece) < _LONG:
                self._rest += piece
                return
            piece = self._begin(piece)
        if not self.add_base64(piece):
            self._text.append(bytes(piece))

    def add_base64(self, piece: memoryview) -> bool:
        """Take what comes next if it is more base64; its last four characters are not looked at yet."""
        if self._decoded is None or self._text:
            return False
        split = -len(self._rest) % 4
        if len(piece) <= split:
            self._rest += piece
            return True
        last = split + (len(piece) - split - 1) // 4 * 4
        try:
            groups = _decode(self._rest + piece[:split]), _decode(piece[split:last])
        except ValueError:
            return False
        self._decoded.writelines(groups)
        self._rest = bytes(piece[last:])
        return True

    def end(self) -> bytes | Picture:
        """What it was: a quote follows."""
        if self._decoded is not None and not self._text:
            with contextlib.suppress(ValueError):
                self._decoded.write(pybase64.b64decode(self._rest, validate=True))
                return Picture(self._prefix, _whole(self._decoded))
        return self.text()

    def text(self) -> bytes:
        """What came, exactly: groups of four that are not padded have one form."""
        if self._decoded is None:
            return self._rest
        groups = pybase64.b64encode(_whole(self._decoded))
        return b"".join([self._prefix, groups, self._rest, *self._text])

    def _begin(self, piece: memoryview) -> memoryview:
        """Begin to decode; what is left of the piece is still to be taken."""
        # Room for all of it, as BytesIO hands out what it holds: to join pieces at the end would be a copy
        # more, all at once, while the loop waits.
        self._decoded = io.BytesIO(bytes(self._room))
        self._rest += piece[:_LONGEST_PREFIX]
        found = _PREFIX.match(self._rest)
        if found:
            self._prefix = found[0]
            self._rest = self._rest[len(self._prefix) :]
        return piece[_LONGEST_PREFIX:]


def _decode(groups: bytes | memoryview) -> bytes:
    """Whole groups that others follow; raises ValueError where they are not base64, or padded."""
    if groups[-1:] == b"=":
        raise ValueError("padded before its end")
    return pybase64.b64decode(groups, validate=True)


def _whole(decoded: io.BytesIO) -> bytes:
    decoded.truncate()
    return decoded.getvalue()
