"""What is said to a person: on standard error, in one voice, and safe for any terminal.

Prompts and the service's messages come from strangers. They are printed as text: no markup in them
is obeyed, and control characters (a terminal takes them for commands) are shown, not sent.
"""

from __future__ import annotations

import json
import os
import sys
import time
import unicodedata
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from ..errors import APIError, AsiImageError
from ..prompts import BadLines
from .outlets import StandardError, discard, write_out

__all__ = ["Voice", "print_json", "print_line", "shortened", "visible"]

# What a terminal obeys (Cc; Zl and Zp are line ends) or cannot show (Cs), and what changes the order of
# the line or hides a text in it (Cf).
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# But scripts and emoji need these: where a word may break, joiners, and marks of direction.
_NEEDED = frozenset("\u00ad\u061c\u200b\u200c\u200d\u200e\u200f")


class Voice(Console):
    """Standard error as a rich console that takes every text as it is.

    Whether it is a terminal, and how large, is asked of the system alone: variables that force colours are
    meant for logs, and a log wants no bar; those of the size may be of another terminal.
    """

    def __init__(self) -> None:
        # There is no standard error where it was closed before the start.
        terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._stderr = StandardError()
        variables = {name: os.environ[name] for name in os.environ.keys() - {"COLUMNS", "LINES"}}
        super().__init__(
            file=self._stderr,
            force_terminal=terminal,
            markup=False,
            emoji=False,
            highlight=False,
            _environ=variables,
        )

    def on_broken_pipe(self) -> None:
        """Nobody listens any more; the work goes on."""
        self.quiet = True
        discard(sys.stderr.fileno())

    def hurry(self, seconds: float) -> None:
        """What is still to be said waits no longer than so for somebody to listen."""
        self._stderr.give_up_at = min(self._stderr.give_up_at, time.monotonic() + seconds)

    def say(self, text: str, style: str = "") -> None:
        """One line, or the lines of a list."""
        self._put(Text(text, style))

    def label(self, label: str, text: str, style: str) -> None:
        """A line with a word before it, such as `error:`."""
        self._put(Text.assemble((f"{label}:", style), f" {text}"))

    def _put(self, text: Text) -> None:
        # People read whole words; a log or a script wants a line for a line.
        self.print(text, soft_wrap=not self.is_terminal)

    def say_if_typed(self, prompts: str | None) -> None:
        """What comes from a keyboard is waited for, and nobody would know."""
        if prompts == "-" and sys.stdin is not None and sys.stdin.isatty():
            self.say("reading prompts from the keyboard, one a line; Ctrl-D ends them")

    def complain(self, error: AsiImageError, *, label: str = "error") -> None:
        """An error, and what to do about it."""
        # A line break in a stranger's message, or in the name of a file, could pass for a line of ours.
        self.label(label, visible(str(error), keep_lines=isinstance(error, BadLines)), "bold red")
        if isinstance(error, APIError) and error.maybe_billed:
            self.label("note", "it may have been billed", "yellow")
        self.label("hint", visible(error.hint), "cyan")


def visible(text: str, *, keep_lines: bool = False) -> str:
    r"""The text with what is not seen shown as escapes, such as `\x1b`; tabs are blanks."""
    return "".join(_shown(character, keep_lines) for character in text)


def _shown(character: str, keep_lines: bool) -> str:
    if character == "\t" or (character == "\n" and keep_lines):
        return character.replace("\t", " ")
    unseen = unicodedata.category(character) in _UNSEEN and character not in _NEEDED
    return character.encode("unicode_escape").decode() if unseen else character


def shortened(text: str, width: int = 60) -> str:
    """The text on one line, visible, at most `width` characters of it."""
    line = " ".join(text[: width * 8].split())
    return visible(line if len(line) <= width else f"{line[: width - 1].rstrip()}…")


def print_line(text: str) -> None:
    """A line on standard output, at once: for scripts the very bytes of a path, for a terminal visible."""
    if sys.stdout is not None and sys.stdout.isatty():
        text = visible(text)
    try:
        line = os.fsencode(text)
    except UnicodeEncodeError:  # words, not a path, where Python was told to know no Unicode
        line = text.encode("ascii", "backslashreplace")
    write_out(line + b"\n")


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object in a line of ASCII, which every console can show."""
    write_out(json.dumps(value).encode() + b"\n")
