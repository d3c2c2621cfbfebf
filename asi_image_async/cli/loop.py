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
        with _ctrl_c_deferred():  # it would leave the loop half closed, and what was done be told as a bug
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
def _ctrl_c_deferred() -> Iterator[None]:
    """Raises KeyboardInterrupt at the end, where the first one came meanwhile; a second is not held back."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    pressed = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if pressed:
        raise KeyboardInterrupt
