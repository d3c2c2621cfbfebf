"""What a run came to: lines for people, an object for programs."""

from __future__ import annotations

from typing import Any

from ..core.backoff import Money, money
from ..errors import APIError, AsiImageError, BudgetExceededError, SinkError
from ..outcomes import Failed, RunReport
from ..progress.spans import span
from .destination import Missing
from .spare import Spare
from .speech import Voice, shortened, visible

__all__ = ["as_json", "summarize"]

_SHOWN = 5
_COUNTS = (
    "total", "succeeded", "failed", "unknown", "skipped", "requests", "retries", "retries_by_reason",
    "throttled",
    "billed_at_least", "billed_at_most", "left_out", "bytes_received", "bytes_written", "waited",
    "latency_p50", "latency_p95", "latency_p99", "elapsed",
)  # fmt: skip


def as_json(report: RunReport, missing: Missing, spare: Spare, *, interrupted: bool) -> dict[str, Any]:
    """The report as one JSON object."""
    return {
        "ok": report.ok and not interrupted,
        **{name: _rounded(getattr(report, name)) for name in _COUNTS},
        "missing": missing.count,
        "spare": spare.folder,
        "interrupted": interrupted,
        "stopped_by": None if report.stopped_by is None else _error(report.stopped_by),
        "failures": [
            {
                "index": failure.index,
                "prompt": failure.request.prompt,
                "error": {
                    **_error(failure.error),
                    "maybe_billed": failure.unknown or isinstance(failure.error, SinkError),
                },
            }
            for failure in report.failures
        ],
    }


def _rounded(value: object) -> object:
    return round(value, 4) if isinstance(value, float) else value  # of seconds


def _error(error: AsiImageError) -> dict[str, Any]:
    return {"type": type(error).__name__, "message": str(error), "hint": error.hint}


def summarize(
    voice: Voice,
    report: RunReport,
    missing: Missing,
    spare: Spare,
    *,
    place: str,
    total: int,
    again: bool,
    quiet: bool,
) -> None:
    """Say what there is, what there is not and why, and what to do about it; quiet says only the latter.

    `again`: whether the same line would ask again for what is unknown.
    """
    if not quiet:
        voice.say(_sums(report, place), "green" if report.ok else "")
    for failure in sorted(report.failures[:_SHOWN], key=lambda failure: failure.index):
        _tell(voice, failure)
    more = report.failed + report.unknown - _SHOWN
    if more > 0 and report.failures:
        voice.say(f"  and {more} more")
    for hint in dict.fromkeys(failure.error.hint for failure in report.failures[:_SHOWN]):
        if report.stopped_by is None or hint != report.stopped_by.hint:  # which is said below
            voice.label("  hint", visible(hint), "cyan")
    if report.unknown:
        voice.say(
            f"{report.unknown} may have been billed without a picture: the request went out, and none came"
            f" back. {'' if again else 'Without '}--no-resend-unknown"
            f" {'leaves them out next time' if again else 'the same line asks for them again'}.",
            "yellow",
        )
    if spare.saved or spare.lost:
        voice.say(str(spare), "yellow")
    if missing.count:
        voice.say(str(missing), "yellow")
    if report.stopped_by is not None:
        voice.complain(report.stopped_by, label="stopped")
    _say_what_next(voice, report, total, again=again)


def _sums(report: RunReport, place: str) -> str:
    there = report.succeeded + report.skipped
    parts = [f"{there} {'picture' if there == 1 else 'pictures'} in {visible(place)}"]
    if report.skipped:
        parts[0] += f" ({report.succeeded} new, {report.skipped} from an earlier run)"
    parts.append(f"{report.failed} failed")
    if report.unknown:
        parts.append(f"{report.unknown} unknown")
    return f"{', '.join(parts)}, in {span(report.elapsed)}"


def _tell(voice: Voice, failure: Failed) -> None:
    label = "  unknown" if failure.unknown else "  failed"
    said, reason = shortened(failure.request.prompt, 50), shortened(str(failure.error), 300)
    voice.label(label, f'prompt {failure.index + 1} "{said}": {reason}', "red")


def _say_what_next(voice: Voice, report: RunReport, total: int, *, again: bool) -> None:
    left = total - report.succeeded - report.skipped - report.failed - report.unknown
    wants = [f"{left} {'is' if left == 1 else 'are'} left"] if left > 0 else []
    spent = isinstance(report.stopped_by, BudgetExceededError)  # its hint says what is to be done first
    if not spent and (wants or _may_succeed(report) or (report.unknown and again)):
        wants.append("run the same line again to ask for what is missing")
    if wants:
        voice.say("; ".join(wants))


def _may_succeed(report: RunReport) -> bool:
    """Whether something failed that may not fail again."""
    failed = [failure.error for failure in report.failures if not failure.unknown]
    return any(not isinstance(error, APIError) or money(error) is not Money.REFUSED for error in failed)
