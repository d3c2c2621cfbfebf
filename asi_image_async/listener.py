"""The user's observer, told of every event: what it raises does no harm."""

from __future__ import annotations

import asyncio
import logging

from .events import Event
from .protocols import Observer

__all__ = ["Listener"]

logger = logging.getLogger("asi_image_async")


class Listener:
    """Calls an observer, if there is one; what it raises is logged once, and it is told on."""

    def __init__(self, observer: Observer | None) -> None:
        self._observer = observer
        self._has_failed = False

    def __call__(self, event: Event) -> None:
        if self._observer is None:
            return
        try:
            self._observer(event)
        except (Exception, asyncio.CancelledError):  # nothing is awaited here: it is not ours
            if not self._has_failed:
                self._has_failed = True
                logger.exception("the observer raised; it is told on, and this is logged once")
