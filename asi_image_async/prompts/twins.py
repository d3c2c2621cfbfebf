"""Prompts that come again, exactly or nearly, in one pass and in memory that grows with the list only."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from .advice import content_words

__all__ = ["Twins"]

# With fewer words than these, one word more or less is another picture.
_FEWEST_WORDS = 5
# And one word exchanged, with fewer than these.
_FEWEST_FOR_ANOTHER = 10
_MOST_WORDS = 60


class Twins:
    """Told of prompts in order; says which earlier one each repeats."""

    def __init__(self) -> None:
        self._same: dict[bytes, int] = {}
        self._whole: dict[bytes, int] = {}
        self._parts: dict[bytes, int] = {}

    def same(self, prompt: str, line: int) -> int | None:
        """The line of the first prompt that is this one, but for case and blanks; else None."""
        found = self._same.setdefault(_key(prompt.casefold().split()), line)
        return found if found != line else None

    def near(self, prompt: str, line: int) -> int | None:
        """The line of an earlier prompt of these words, in any order, with one more or one less.

        Where there are many, with one exchanged too.
        """
        words = sorted(content_words(prompt))
        if not _FEWEST_WORDS <= len(words) <= _MOST_WORDS:
            return None
        # Two sets that differ in one word have a part in common that lacks one word at most.
        whole, parts = _key(words), [_key(part) for part in _parts(words)]
        found = [self._whole.get(whole), self._parts.get(whole), *map(self._whole.get, parts)]
        if len(words) >= _FEWEST_FOR_ANOTHER:
            found += map(self._parts.get, parts)
        self._whole.setdefault(whole, line)
        for part in parts:
            self._parts.setdefault(part, line)
        return min((each for each in found if each is not None), default=None)


def _parts(words: list[str]) -> Iterator[list[str]]:
    for at in range(len(words)):
        yield words[:at] + words[at + 1 :]


def _key(words: list[str]) -> bytes:
    return blake2b(" ".join(words).encode(errors="surrogatepass"), digest_size=8).digest()
