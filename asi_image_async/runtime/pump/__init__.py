"""Bounded fan-out of any async function over any source: a slot first, then an item."""

from .cancelled import is_own_cancellation
from .source import Several, Source, each
from .work import pump

__all__ = ["Several", "Source", "each", "is_own_cancellation", "pump"]
