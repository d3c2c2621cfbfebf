"""`asi-image lint`: the documentation's advice on prompts, line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ..prompts import read_prompts
from ..prompts.advice import ADVICE
from ..prompts.lint import LONGEST, Finding, lint_prompts
from .exits import ExitStatus
from .speech import Voice, print_json, print_line, shortened

__all__ = ["lint"]


def lint(prompts: str, *, strict: bool, json: bool) -> int:
    """Run the command; returns the exit status. Raises ConfigurationError for what is no prompt file."""
    Voice().say_if_typed(prompts)
    counts: Counter[str] = Counter()
    told: list[dict[str, Any]] = []
    for finding in lint_prompts(read_prompts(prompts).numbered()):
        counts.update(_kinds(finding))
        if json:
            told.append(_as_json(finding))
        elif not finding.is_clean or finding.judgement.missing:
            _tell(finding)
    if json:
        print_json({"counts": dict(counts), "prompts": told})
    else:
        print_line(_summary(counts))
    return ExitStatus.FAILED if strict and counts["not clean"] else ExitStatus.DONE


def _kinds(finding: Finding) -> Iterator[str]:
    yield "prompts"
    yield finding.judgement.verdict
    if finding.same_as:
        yield "the same"
    if finding.near:
        yield "nearly the same"
    if finding.too_long:
        yield "too long"
    if not finding.is_clean:
        yield "not clean"


def _tell(finding: Finding) -> None:
    judgement = finding.judgement
    print_line(f"line {finding.line}: {judgement.verdict} ({judgement.score}): {shortened(finding.prompt)}")
    for advice in _advice(finding):
        print_line(f"    {advice}")


def _advice(finding: Finding) -> Iterator[str]:
    if finding.same_as:
        yield f"the same as line {finding.same_as}: it would be a second picture"
    if finding.near:
        yield f"nearly the same as line {finding.near}"
    if finding.too_long:
        yield f"{len(finding.prompt)} characters: what is beyond {LONGEST} may be cut off"
    for name in finding.judgement.missing:
        yield f"{name}: {ADVICE[name]}"


def _as_json(finding: Finding) -> dict[str, Any]:
    judgement = finding.judgement
    return {
        "line": finding.line,
        "prompt": finding.prompt,
        "score": judgement.score,
        "verdict": judgement.verdict,
        "missing": list(judgement.missing),
        "same_as": finding.same_as,
        "near": finding.near,
        "too_long": finding.too_long,
    }


def _summary(counts: Counter[str]) -> str:
    parts = [f"{counts[verdict]} {verdict}" for verdict in ("good", "fair", "poor")]
    parts += [
        f"{counts[kind]} {kind}" for kind in ("the same", "nearly the same", "too long") if counts[kind]
    ]
    noun = "prompt" if counts["prompts"] == 1 else "prompts"
    return f"{counts['prompts']} {noun}: {', '.join(parts)}"
