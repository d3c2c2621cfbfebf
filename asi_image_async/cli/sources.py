"""Where the prompts of a batch come from: a file, or a template and what its names stand for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from ..errors import ConfigurationError
from ..models import ImageRequest
from ..prompts import Expansion, PromptFile, names_in, read_prompts

__all__ = ["FirstFew", "find_requests"]

_FORMS = {
    ".txt": "a prompt a line",
    ".jsonl": "JSON, an object or a text a line",
    ".ndjson": "JSON, an object or a text a line",
    ".csv": "a table, cells parted by commas",
    ".tsv": "a table, cells parted by tabs",
}
_SET_HINT = "Write --set style=oil,ink, or --set subject=@subjects.txt for a line each."


class FirstFew:
    """The first `limit` of some requests, or all of them; `form`: what they were read as."""

    def __init__(self, requests: PromptFile | Expansion, limit: int | None) -> None:
        self._requests = requests
        self._limit = limit
        self.form = _FORMS[requests.kind] if isinstance(requests, PromptFile) else "a template"

    def __len__(self) -> int:
        length = len(self._requests)
        return length if self._limit is None else min(length, self._limit)

    def __iter__(self) -> Iterator[ImageRequest]:
        return islice(iter(self._requests), self._limit)


def find_requests(
    prompts: str | None, template: str | None, sets: Sequence[str], *, size: str, model: str
) -> PromptFile | Expansion:
    """The requests that the options name. Raises ConfigurationError."""
    if template is None:
        if prompts is None:
            raise ConfigurationError(
                "there are no prompts", hint="Name a file, or - for standard input; or give a --template."
            )
        if sets:
            raise ConfigurationError("--set needs a --template", hint=_SET_HINT)
        return read_prompts(prompts, size=size, model=model)
    if prompts is not None:
        raise ConfigurationError(
            f"prompts come from {prompts} or from the --template, not from both",
            hint="Leave out one of them.",
        )
    values = dict(map(_values, sets))
    if len(values) < len(sets):
        raise ConfigurationError("--set gives a name twice", hint=_SET_HINT)
    for name in names_in(template):
        if name not in values:
            raise ConfigurationError(f"the template's {{{name}}} has no values", hint=_SET_HINT)
    return Expansion(template, values, size=size, model=model)


def _values(text: str) -> tuple[str, list[str]]:
    """`style=oil,ink`, or `subject=@subjects.txt`."""
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name.isidentifier():
        raise ConfigurationError(f"--set {text[:40]!r} sets nothing", hint=_SET_HINT)
    parts = _lines(Path(value[1:])) if value.startswith("@") else value.split(",")
    values = [part.strip() for part in parts if part.strip()]
    if not values:
        raise ConfigurationError(f"--set {name} has no values", hint=_SET_HINT)
    return name, values


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if "\0" in text:  # UTF-16 without its mark, as a rule
            raise ValueError
        return text.split("\n")  # as of prompts: U+2028 ends no line
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigurationError(f"cannot read {path}: {reason}", hint=_SET_HINT) from None
