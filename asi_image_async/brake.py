"""How what has not begun is stopped, wherever it waits; what is under way is finished."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

__all__ = ["Brake", "Stopped"]


class Stopped(Exception):
    """The brake was pulled before this began; it was not done."""


class Brake:
    """Stops what has not begun; what is under way is finished."""

    def __init__(self) -> None:
        self.pulled = False
        self._waits: set[anyio.CancelScope | asyncio.Task[None]] = set()

    def pull(self) -> None:
        """From now on nothing begins."""
        self.pulled = True
        for wait in self._waits:
            wait.cancel()

    @contextmanager
    def stops(self) -> Iterator[None]:
        """Around a wait for something to begin: raises Stopped where the brake is, or gets, pulled."""
        if self.pulled:
            raise Stopped
        with anyio.CancelScope() as wait:
            self._waits.add(wait)
            try:
                yield
            finally:
                self._waits.discard(wait)
        if wait.cancelled_caught:
            raise Stopped

    @contextmanager
    def cancels(self, task: asyncio.Task[None]) -> Iterator[None]:
        """While this is entered: the task is cancelled where the brake is, or gets, pulled."""
        self._waits.add(task)
        if self.pulled:
            task.cancel()
        try:
            yield
        finally:
            self._waits.discard(task)
