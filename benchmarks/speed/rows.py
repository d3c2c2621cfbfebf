"""What is measured: who, over which payloads, and which figures."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import Any

_LARGE = 1_500_000


@dataclass(frozen=True)
class Payload:
    """Pictures of so many bytes, and how many of them make a measurement."""

    label: str
    size: int
    count: int


@dataclass(frozen=True)
class Entry:
    """A line of a table: who, with which options; `more` times as many pictures as others are asked for."""

    label: str
    contender: str
    options: dict[str, Any] = field(default_factory=dict)
    needs: str | None = None
    more: int = 1

    @property
    def missing(self) -> str | None:
        """The pip line that brings it, where it is not installed."""
        there = self.needs is None or importlib.util.find_spec(self.needs)
        return None if there else f"not installed: pip install {self.needs}"


@dataclass(frozen=True)
class Special(Entry):
    """A measurement of its own: many pictures, a slow reader, or a look at the loop meanwhile."""

    count: int = 100
    size: int = _LARGE
    reader: float = 0.0
    probe: bool = False


PAYLOADS = (
    Payload("2 kB", 2_000, 1_500),
    Payload("150 kB", 150_000, 600),
    Payload("1.5 MB", _LARGE, 400),
    Payload("4 MB", 4_000_000, 50),
)
ENTRIES = (
    Entry("bare socket", "bare socket"),
    Entry("aiohttp alone", "aiohttp alone"),
    Entry("ours: stream", "stream"),
    Entry("ours: generate", "generate"),
    Entry("ours: run to memory", "run to memory"),
    Entry("ours: run to disk", "run to disk"),
    # Its start is part of it.
    Entry("ours: asi-image batch", "command", more=3),
    Entry("snippet", "snippet"),
    Entry("worker loop", "worker loop"),
    Entry("worker loop, tuned", "worker loop", {"tuned": True}),
    Entry("openai", "openai", {}, "openai"),
    Entry("openai, aiohttp", "openai", {"aiohttp": True}, "openai"),
    Entry("openai, tuned", "openai", {"aiohttp": True, "tuned": True}, "openai"),
    Entry("litellm", "litellm", {}, "litellm"),
    Entry("litellm, tuned", "litellm", {"tuned": True}, "litellm"),
)
MEMORY = (
    Special("ours: stream, 100", "stream"),
    Special("ours: stream, 5,000", "stream", count=5_000),
    Special("ours: stream, 100, slow reader", "stream", reader=0.02),
    Special("ours: run to disk, 100", "run to disk"),
    Special("ours: run to disk, 5,000", "run to disk", count=5_000),
    Special("worker loop, 100", "worker loop"),
    Special("openai, 100", "openai", needs="openai"),
    Special("litellm, 100", "litellm", needs="litellm"),
)
STALLS = (
    Special("ours: stream", "stream", count=1_500, probe=True),
    Special("ours: generate", "generate", count=1_500, probe=True),
    Special("ours: run to disk", "run to disk", count=500, probe=True),
    Special("snippet", "snippet", count=300, probe=True),
    Special("worker loop", "worker loop", count=300, probe=True),
    Special("openai", "openai", count=200, probe=True, needs="openai"),
)
