"""Ctrl-C once and twice, a closed terminal, and what asks a process to end."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import time
from collections.abc import Callable
from typing import Any, Self

__all__ = ["Interrupts"]

_AT_ONCE = 0.2  # seconds
_HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none


class Interrupts:
    """While entered, the first signal calls `first`, the next one `second`; a third ends the process.

    SIGINT (Ctrl-C) and SIGTERM count alike. SIGHUP, a closed terminal, is never the second: the shell tells
    it and the system too, and nobody is impatient there. Nor is a SIGTERM at once after another: `timeout`
    tells its child and then all of its group. A signal that the process was started to ignore,
    as shells do for commands in the background and nohup does, stays ignored. Only in the main thread.
    """

    def __init__(self, first: Callable[[], object], second: Callable[[], object]) -> None:
        self._calls = [first, second]
        self._before: dict[signal.Signals, Any] = {}
        self.received: signal.Signals | None = None
        self.twice = False
        self._terminated_at = -math.inf

    @property
    def status(self) -> int | None:
        """The exit status by the first signal, as shells have it; None where there was none."""
        return None if self.received is None else 128 + self.received

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in filter(None, (signal.SIGINT, signal.SIGTERM, _HANGUP)):
            before = signal.getsignal(number)
            if before == signal.SIG_IGN:
                continue
            self._before[number] = before
            try:
                loop.add_signal_handler(number, self._hear, number)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda got, _: loop.call_soon_threadsafe(self._hear, got))
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            if not self.twice:
                _forget(number)
                signal.signal(number, before)

    def _hear(self, number: int) -> None:
        again = self.received is not None
        if number == signal.SIGTERM:
            before, self._terminated_at = self._terminated_at, time.monotonic()
            if self._terminated_at - before < _AT_ONCE:
                return
        self.received = self.received or signal.Signals(number)
        if number is _HANGUP and self._before.pop(number, None) is not None:
            # For good, and at once: it may be told again at any time. To take the loop's handler away first
            # would leave a moment in which it kills.
            signal.signal(number, signal.SIG_IGN)
        # Several that came at once have been queued by the loop before the first of them was heard.
        if not self._calls or (number is _HANGUP and again):
            return
        call = self._calls.pop(0)
        if not self._calls:
            self.twice = True
            for each in self._before:  # should the end hang, the next one is not ours to swallow
                _forget(each)
                signal.signal(each, signal.SIG_DFL)
        call()


def _forget(number: signal.Signals) -> None:
    with contextlib.suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().remove_signal_handler(number)
