"""What could be better about a list of prompts, found before it is paid for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..models import ImageRequest
from .advice import Judgement, judge_prompt
from .twins import Twins

__all__ = ["LONGEST", "Finding", "lint_prompts"]

# The service documents no bound; other programs that ask it cut prompts at 2,000 to 3,200 characters.
LONGEST = 2000


@dataclass(frozen=True)
class Finding:
    """What there is to say of the prompt on a line.

    `same_as`, `near`: the line of an earlier prompt that is the same but for case and blanks, or nearly. That
    it comes again in another size or with other fields is meant, and not told.
    """

    line: int
    prompt: str
    judgement: Judgement
    same_as: int | None = None
    near: int | None = None

    @property
    def too_long(self) -> bool:
        """Whether the end may be cut off."""
        return len(self.prompt) > LONGEST

    @property
    def is_clean(self) -> bool:
        """Whether `--strict` has nothing against it."""
        return self.judgement.verdict != "poor" and not (self.too_long or self.same_as or self.near)


def lint_prompts(numbered: Iterable[tuple[int, ImageRequest]]) -> Iterator[Finding]:
    """One finding for each request, in order."""
    kinds: dict[str, Twins] = {}
    for line, request in numbered:
        kind = f"{request.size} {request.model} {sorted(request.sent_beside.items())}"
        twins = kinds.setdefault(kind, Twins())
        same_as = twins.same(request.prompt, line)
        near = twins.near(request.prompt, line) if same_as is None else None
        yield Finding(line, request.prompt, judge_prompt(request.prompt), same_as, near)
