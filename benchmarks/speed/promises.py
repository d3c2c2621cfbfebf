"""What we promise of ours, as functions of what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

Found = Mapping[str, Mapping[str, Mapping[str, Any]]]  # table, line, figure


@dataclass(frozen=True)
class Promise:
    """`figure` of what was found is at most, or `least` at least, `bound`."""

    words: str
    figure: Callable[[Found], float]
    bound: float
    least: bool = False

    def judge(self, found: Found) -> dict[str, Any] | None:
        """What came of it; None where a part of it was not measured."""
        try:
            value = self.figure(found)
        except KeyError:
            return None
        kept = value >= self.bound if self.least else value <= self.bound
        return {"promise": f"{self.words} {self.bound:g}", "found": value, "kept": kept}


def _ratio(table: str, line: str, over: str, figure: str = "cpu_ms") -> Callable[[Found], float]:
    """The median of the rounds' own: a shared machine is quick in one minute and slow in the next."""

    def ratio(found: Found) -> float:
        ours, theirs = (found[table][each]["rounds"][figure] for each in (f"ours: {line}", over))
        return median(our / their for our, their in zip(ours, theirs, strict=True))

    return ratio


def _value(table: str, line: str, figure: str) -> Callable[[Found], float]:
    return lambda found: found[table][line][figure]


def _memory_grows(found: Found) -> float:
    few, many = (found["memory"][f"ours: stream, {count}"]["peak_mb"] for count in ("100", "5,000"))
    return float(many - few)


def _extras(found: Found) -> float:
    return len(found["starts"]["import"]["extras_loaded"])


_RATES = "2 kB, requests a second, stream /"
_PEAK = "peak MB, 1.5 MB each,"
PROMISES = (
    Promise("150 kB, CPU, stream / openai, at most", _ratio("150 kB", "stream", "openai"), 1 / 6),
    Promise("150 kB, CPU, stream / snippet, at most", _ratio("150 kB", "stream", "snippet"), 1 / 2.2),
    Promise("150 kB, CPU, stream / bare socket, at most", _ratio("150 kB", "stream", "bare socket"), 3),
    Promise("1.5 MB, CPU, stream / openai, at most", _ratio("1.5 MB", "stream", "openai"), 1 / 8),
    Promise("1.5 MB, CPU, stream / snippet, at most", _ratio("1.5 MB", "stream", "snippet"), 1 / 5),
    Promise("1.5 MB, CPU, stream / bare socket, at most", _ratio("1.5 MB", "stream", "bare socket"), 1.7),
    Promise("150 kB, CPU, run to disk / snippet, at most", _ratio("150 kB", "run to disk", "snippet"), 1),
    Promise("1.5 MB, CPU, run to disk / snippet, at most", _ratio("1.5 MB", "run to disk", "snippet"), 1 / 3),
    Promise(
        f"{_RATES} worker loop, at least", _ratio("2 kB", "stream", "worker loop", "per_second"), 0.75, True
    ),
    Promise(f"{_RATES} openai, at least", _ratio("2 kB", "stream", "openai", "per_second"), 5, True),
    Promise(f"{_PEAK} 5,000, at most", _value("memory", "ours: stream, 5,000", "peak_mb"), 130),
    Promise(
        f"{_PEAK} slow reader, at most", _value("memory", "ours: stream, 100, slow reader", "peak_mb"), 130
    ),
    Promise(f"{_PEAK} 5,000 to disk, at most", _value("memory", "ours: run to disk, 5,000", "peak_mb"), 130),
    Promise(f"{_PEAK} 5,000 over 100, at most", _memory_grows, 10),
    Promise("loop late, stream, p99 ms, at most", _value("stall", "ours: stream", "p99_ms"), 3),
    Promise("loop late, stream, worst ms, at most", _value("stall", "ours: stream", "worst_ms"), 15),
    Promise("loop late, p99, stream / openai, at most", _ratio("stall", "stream", "openai", "p99_ms"), 0.2),
    Promise("import over its dependencies, ms, at most", _value("starts", "import", "import_ms"), 25),
    Promise("extras loaded by the import, at most", _extras, 0),
    Promise("first request of 1,000,000, s, at most", _value("starts", "million", "first_request_s"), 1),
    Promise("100,000 resumed, s, at most", _value("starts", "resumed", "resume_s"), 5),
    Promise("requests of that, at most", _value("starts", "resumed", "resume_requests"), 0),
    Promise("asi-image --help, ms, at most", _value("starts", "help", "help_ms"), 250),
)
