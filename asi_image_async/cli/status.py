"""`asi-image status`: what a folder has, what failed and why, and what is left."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..folder import journal_path
from ..runtime.journal.summary import JournalSummary, read_summary
from .destination import Missing, look_for_missing
from .exits import ExitStatus
from .speech import print_json, print_line, shortened

__all__ = ["status"]

_READ = 20_000  # failures, to be grouped by their reasons
_SHOWN = 10


def status(folder: str, *, json: bool) -> int:
    """Run the command; returns the exit status. Raises JournalError where there is no journal."""
    summary = read_summary(journal_path(folder), failures=_READ)
    missing = look_for_missing(folder)
    reasons = _reasons(summary)
    if json:
        print_json(_as_json(summary, missing, reasons))
    else:
        _tell(summary, missing, reasons)
    unfinished = summary.failed or summary.unknown or summary.in_flight or missing.count
    finished = summary.left == 0 and not unfinished
    return ExitStatus.DONE if finished else ExitStatus.FAILED


def _reasons(summary: JournalSummary) -> list[dict[str, Any]]:
    """The reasons, the most frequent first, each with a prompt that it befell."""
    counts = Counter((state.value, reason) for state, _, reason in summary.failures)
    examples = {(state.value, reason): prompt for state, prompt, reason in reversed(summary.failures)}
    return [
        {"state": state, "reason": reason, "count": count, "example": examples[state, reason]}
        for (state, reason), count in counts.most_common()
    ]


def _as_json(summary: JournalSummary, missing: Missing, reasons: list[dict[str, Any]]) -> dict[str, Any]:
    counts = {
        name: getattr(summary, name)
        for name in ("total", "done", "failed", "unknown", "in_flight", "left", "earlier")
    }
    return {**counts, "missing": missing.count, "reasons": reasons[:100]}


def _tell(summary: JournalSummary, missing: Missing, reasons: list[dict[str, Any]]) -> None:
    parts = [f"{summary.done} done", f"{summary.failed} failed"]
    if summary.unknown:
        parts.append(f"{summary.unknown} unknown (may have been billed without a picture)")
    if summary.in_flight:
        parts.append(f"{summary.in_flight} in flight (or were, if the run was killed)")
    parts.append("how many are left is not known" if summary.left is None else f"{summary.left} left")
    if summary.earlier:
        # A run that is not through with its list may not have come to them.
        whose = "other lists or settings" if summary.left == 0 else "this list, other lists or settings"
        parts.append(f"and {summary.earlier} done by earlier runs for {whose}")
    print_line(", ".join(parts))
    for reason in reasons[:_SHOWN]:
        count, what, example = reason["count"], reason["reason"], reason["example"]
        print_line(f"  {count} {reason['state']}: {shortened(what, 200)} (such as: {shortened(example)})")
    if len(reasons) > _SHOWN:
        print_line(f"  and {len(reasons) - _SHOWN} other reasons")
    if missing.count:
        print_line(str(missing))
