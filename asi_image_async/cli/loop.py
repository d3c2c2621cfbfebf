"""The event loop of the command: uvloop's, where `asi_image_async[uvloop]` is installed."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

__all__ = ["run_loop"]

T = TypeVar("T")


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, on the faster loop where there is one."""
    runner = asyncio.Runner(loop_factory=_loop_factory())
    try:
        return runner.run(main)
    finally:
        with _signals_deferred():  # one would leave the loop half closed, and what was done be told as a bug
            # Where it came in its own last lines, the loop takes itself to be running, and cannot be closed.
            if not runner.get_loop().is_running():
                runner.close()
            del runner, main
            gc.collect()  # in the middle of a destructor, later, it would be printed and lost


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    return new_event_loop


@contextmanager
def _signals_deferred() -> Iterator[None]:
    """What the first one raises is raised at the end; a second is not held back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = {number: handler for number, handler in handlers.items() if callable(handler)}
    came: list[int] = []

    def restore() -> None:
        for number, handler in ours.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        restore()

    for number in ours:
        signal.signal(number, note)
    try:
        yield
    finally:
        restore()
    for number, handler in ours.items():
        if number in came:
            handler(number, None)
