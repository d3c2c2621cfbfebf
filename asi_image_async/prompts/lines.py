"""From bytes to lines of text with their numbers, and the list of what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from ..errors import ConfigurationError

__all__ = ["MAX_LINE_BYTES", "BadLines", "Problems", "numbered_lines"]

MAX_LINE_BYTES = 2**20
SHOWN_PROBLEMS = 10
_UTF8_HINT = "Save the file as UTF-8 text (spreadsheets call it “CSV UTF-8”)."


class BadLines(ConfigurationError):
    """What is wrong with a prompt file: the message is a list, and each of its lines is ours."""


@dataclass
class Problems:
    """What is wrong with a file: the first few by their lines, the others by their number."""

    name: str
    count: int = 0
    shown: list[str] = field(default_factory=list)
    hint: str = ""

    def add(self, line: int, text: str, hint: str = "") -> None:
        """Note a problem; the hint of the first one is the error's."""
        if not self.count:
            self.hint = hint or "Correct what is named by its line; nothing was sent."
        self.count += 1
        if len(self.shown) < SHOWN_PROBLEMS:
            self.shown.append(f"{self.name}, line {line}: {text}")

    def raise_any(self) -> None:
        """Raises BadLines where there is a problem."""
        if self.count:
            more = self.count - len(self.shown)
            message = "\n".join(self.shown) + (f"\nand {more} more" if more else "")
            raise BadLines(message, hint=self.hint)


def numbered_lines(file: BinaryIO, problems: Problems) -> Iterator[str]:
    """Every line of the file with its end, from the start.

    What is wrong with a line is noted, and the line given all the same with the bad bytes replaced, so
    that the nth text is the nth line. Ends early where there is no going on: UTF-16, an endless line.
    """
    for number, raw in enumerate(_raw_lines(file), 1):
        if number == 1:
            if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                problems.add(1, "the file is UTF-16, not UTF-8", _UTF8_HINT)
                return
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if len(raw.rstrip(b"\r\n")) > MAX_LINE_BYTES:
            problems.add(number, "longer than 1 MiB", "Is it a prompt file? Break the line up.")
            return
        if b"\0" in raw:
            problems.add(number, "a NUL byte: this is not UTF-8 text", _UTF8_HINT)
        try:
            yield raw.decode()
        except UnicodeDecodeError as error:
            problems.add(number, f"not UTF-8: byte 0x{raw[error.start]:02x}", _UTF8_HINT)
            yield raw.decode(errors="replace")


def _raw_lines(file: BinaryIO) -> Iterator[bytes]:
    # A place of its own for each reader, so that two may go through one file side by side.
    place = 0
    while True:
        try:
            file.seek(place)
            raw = file.readline(MAX_LINE_BYTES + 6)  # the longest line, a byte-order mark, its end
        except OSError as error:
            raise ConfigurationError(f"cannot read the prompts: {error.strerror or error}") from None
        if not raw:
            return
        place += len(raw)
        yield raw
