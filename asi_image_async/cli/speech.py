"""What is said to a person: on standard error, in one voice, and safe for any terminal.

Prompts and the service's messages come from strangers. They are printed as text: no markup in them
is obeyed, and control characters (a terminal takes them for commands) are shown, not sent.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from ..errors import AsiImageError, ConfigurationError

__all__ = ["Voice", "print_json", "print_line", "shortened", "span", "visible"]

# They change the order in which the rest of the line is shown. Marks that scripts and emoji need
# (the joiners, left-to-right and right-to-left marks) are of the same category, and stay.
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


class Voice(Console):
    """Standard error as a rich console that takes every text as it is.

    Whether it is a terminal is asked of the system alone: variables that force colours are meant for
    logs, and a log wants no bar.
    """

    def __init__(self) -> None:
        # There is no standard error where it was closed before the start.
        terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        super().__init__(stderr=True, force_terminal=terminal, markup=False, emoji=False, highlight=False)

    def on_broken_pipe(self) -> None:
        """Nobody listens any more; the work goes on."""
        self.quiet = True
        _discard(sys.stderr.fileno())

    def say(self, text: str, style: str = "") -> None:
        """One line, or the lines of a list."""
        self._put(Text(text, style))

    def label(self, label: str, text: str, style: str) -> None:
        """A line with a word before it, such as `error:`."""
        self._put(Text.assemble((f"{label}:", style), f" {text}"))

    def _put(self, text: Text) -> None:
        # People read whole words; a log or a script wants a line for a line.
        self.print(text, soft_wrap=not self.is_terminal)

    def complain(self, error: AsiImageError, *, label: str = "error") -> None:
        """An error, and what to do about it."""
        # Our own messages may be lists; a line break in a stranger's could pass for a line of ours.
        ours = isinstance(error, ConfigurationError)
        self.label(label, visible(str(error), keep_lines=ours), "bold red")
        self.label("hint", visible(error.hint), "cyan")


def visible(text: str, *, keep_lines: bool = False) -> str:
    r"""The text with control characters shown as escapes, such as `\x1b`; tabs are blanks."""
    return "".join(_shown(character, keep_lines) for character in text)


def _shown(character: str, keep_lines: bool) -> str:
    if character == "\t" or (character == "\n" and keep_lines):
        return character.replace("\t", " ")
    hidden = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _REORDERING
    return character.encode("unicode_escape").decode() if hidden else character


def shortened(text: str, width: int = 60) -> str:
    """The text on one line, visible, at most `width` characters of it."""
    line = " ".join(text[: width * 8].split())
    return visible(line if len(line) <= width else f"{line[: width - 1].rstrip()}…")


def span(seconds: float) -> str:
    """A length of time for people: `0.4 s`, `41 s`, `6 min 41 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds >= 0.05 else "0 s"
    left = round(seconds)
    parts: list[str] = []
    for size, unit in _UNITS:
        if left >= size or parts:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(part for part in parts[:2] if not part.startswith("0 "))


def print_line(text: str) -> None:
    """A line on standard output, for scripts: the very bytes of a path, and at once."""
    _write(os.fsencode(text) + b"\n")


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object in a line of ASCII, which every console can show."""
    _write(json.dumps(value).encode() + b"\n")


def _write(data: bytes) -> None:
    if sys.stdout is None:  # closed before the start
        return
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    except OSError as error:
        _discard(sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # as with `| head`: no news to anybody
            return
        raise AsiImageError(
            f"cannot write to standard output: {error.strerror or error}",
            hint="The pictures are stored; look at where the output goes.",
        ) from None


def _discard(descriptor: int) -> None:
    """Let what is still to be flushed when Python ends go nowhere, instead of failing again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
