"""What a folder of pictures has: its metadata.jsonl line by line, and from its journal what failed."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import JournalError
from ..folder import Tail
from ..runtime.journal.summary import read_summary

__all__ = ["Entries", "Entry", "find_failures", "find_filters", "read_entries", "to_entry"]

Entry = dict[str, Any]
_Choice = str | int | float

# A page of more would no longer be quick.
_MOST = 20_000
_MOST_FAILURES = 2_000
_MOST_VALUES = 40  # a column with more is none to choose from
# Names in a line that are ours (sinks.disk), under the names that the page has for them.
_OURS = {
    "file_name": "file", "prompt": "prompt", "revised_prompt": "revised", "size": "size", "model": "model",
    "created": "created", "elapsed": "elapsed", "attempts": "attempts",
}  # fmt: skip
_NOT_SHOWN = frozenset({"width", "height", "mime_type"})


@dataclass(frozen=True)
class Entries:
    """The newest `pictures` of a folder, oldest first, of `total`; metadata.jsonl is read to `place`."""

    pictures: list[Entry]
    total: int
    place: str


def read_entries(folder: Path) -> Entries:
    """The pictures that have a line and are there. Of a name that comes again, the last counts."""
    newest: deque[Entry] = deque(maxlen=_MOST)
    total = 0
    tail = Tail(folder)
    for line in tail:
        newest.append(to_entry(line))
        total += 1
    last = {entry["file"]: entry for entry in newest}
    return Entries(list(last.values()), total - len(newest) + len(last), tail.place)


def find_failures(journal: Path) -> list[Entry]:
    """What the last run could not get, with the reasons; nothing where there is no journal."""
    try:
        summary = read_summary(journal, failures=_MOST_FAILURES)
    except JournalError:
        return []
    return [
        {"prompt": prompt, "status": state.value, "reason": reason}
        for state, prompt, reason in summary.failures
    ]


def find_filters(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """What there is to choose from: size, model and status, and the columns of the list with few values."""
    own: dict[str, Counter[_Choice]] = {"size": Counter(), "model": Counter(), "status": Counter()}
    columns: dict[str, Counter[_Choice]] = {}
    for entry in entries:
        for name, counts in own.items():
            counts[_choice(entry.get(name))] += 1
        for name, value in entry.get("columns", {}).items():
            counts = columns.setdefault(name, Counter())
            if len(counts) <= _MOST_VALUES and not isinstance(value, dict | list):
                counts[_choice(value)] += 1
    for counts in columns.values():
        if counts.total() < len(entries):
            counts[""] += 1  # those without
    return [
        {"name": name, "own": table is own, "values": sorted(counts, key=str)}
        for table in (own, columns)
        for name, counts in table.items()
        if 2 <= len(counts) <= _MOST_VALUES and max(len(str(value)) for value in counts) <= 80
    ]


def _choice(value: Any) -> _Choice:
    """What the page's script writes in one way is one choice: 7 and 7.0 are, and true is not 1."""
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return str(value)
    if isinstance(value, bool):
        return str(value).lower()
    is_whole = isinstance(value, float) and value.is_integer()
    return int(value) if is_whole else value


def to_entry(line: dict[str, Any]) -> Entry:
    """A line of metadata.jsonl, as the page knows it."""
    entry: Entry = {"status": "done"}
    entry |= {ours: line[key] for key, ours in _OURS.items() if line.get(key) is not None}
    entry["prompt"] = str(line.get("prompt", ""))
    if line.get("width") and line.get("height"):
        entry["pixels"] = f"{line['width']} x {line['height']}"
    columns = {key: value for key, value in line.items() if key not in _OURS and key not in _NOT_SHOWN}
    return entry | ({"columns": columns} if columns else {})
