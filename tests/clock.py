"""An event loop whose clock only the waiting moves: hours pass in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any


class Threads:
    """Counts what is being waited for in threads."""

    def __init__(self) -> None:
        self.busy = 0

    def counted(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """A function that has a thread do its work, with the count kept."""

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.busy += 1
            try:
                return await function(*args, **kwargs)
            finally:
                self.busy -= 1

        return call


class _NoWaiting(selectors.SelectSelector):
    now = 0.0
    threads: Threads | None = None

    def select(self, timeout: float | None = None) -> Any:
        busy = self.threads is not None and self.threads.busy
        ready = super().select(1.0 if busy and timeout != 0 else 0)
        if not ready and busy:
            return ready
        if not ready and timeout is None and self.threads is None and len(self.get_map()) == 1:
            raise RuntimeError("everybody waits, and nobody is left to wake them")
        if not ready and timeout is not None:
            self.now += max(timeout, 1e-9)  # as on a real clock, some time always passes
        return ready


def on_a_fake_clock(main: Coroutine[Any, Any, Any], threads: Threads | None = None) -> Any:
    """Run `main` where `loop.time()` starts at 0 and jumps to whatever is waited for.

    While `threads` are at work no time passes.
    """
    selector = _NoWaiting()
    selector.threads = threads
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main)
