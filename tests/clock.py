"""An event loop whose clock only the waiting moves: hours pass in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _NoWaiting(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is not None:
            self.now += max(timeout, 1e-9)  # as on a real clock, some time always passes
        return ready


def on_a_fake_clock(main: Coroutine[Any, Any, Any]) -> Any:
    """Run `main` where `loop.time()` starts at 0 and jumps to whatever is waited for."""
    selector = _NoWaiting()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main)
