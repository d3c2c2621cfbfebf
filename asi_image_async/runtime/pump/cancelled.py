"""Whose a cancellation is."""

from __future__ import annotations

import asyncio

__all__ = ["is_own_cancellation"]


def is_own_cancellation(error: BaseException) -> bool:
    """Whether this is the cancellation of the task that asks.

    A call, a source or a sink may raise CancelledError of its own, from a task that it awaited and another
    cancelled. Passed on as ours it would end the slot without a word, and its item be missing.
    """
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
