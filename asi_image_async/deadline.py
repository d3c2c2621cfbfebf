"""A time limit that does not count the time for which this process stood still."""

from __future__ import annotations

import asyncio
from types import TracebackType

__all__ = ["Deadlines"]

# A loop that comes so many seconds late was stopped (Ctrl-Z) or held up; and how many more it is given, as a
# reply may lie there to be read.
_STOOD_STILL = 0.5
_GRACE = 5.0


class Deadlines:
    """Time limits of the same length: `with deadlines.one():` is as `asyncio.timeout(seconds)`.

    But where the end was slept through, what came meanwhile can still be read. Raises TimeoutError after so
    many `seconds`. As they end in the order in which they began, one timer of the loop serves all of them: a
    timer each costs 3 % of a small request's instructions.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._running: dict[_Deadline, None] = {}  # in the order in which they are due
        self._late: set[_Deadline] = set()  # due, and slept through
        self._timer: asyncio.TimerHandle | None = None

    def one(self) -> _Deadline:
        """One that begins where its block is entered."""
        return _Deadline(self)

    def begin(self, deadline: _Deadline, loop: asyncio.AbstractEventLoop) -> None:
        deadline.due = loop.time() + self._seconds
        self._running[deadline] = None
        if self._timer is None:
            self._timer = loop.call_at(deadline.due, self._look, loop)

    def end(self, deadline: _Deadline) -> None:
        self._running.pop(deadline, None)
        self._late.discard(deadline)
        if not self._running and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def expire(self) -> None:
        """All of them end now."""
        for deadline in [*self._running, *self._late]:
            self.end(deadline)
            deadline.expire()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """The one that was due first when the timer was set is due; it may be over, and another the first."""
        self._timer = None
        now = loop.time()
        for deadline in list(self._running):
            if deadline.due > now:
                self._timer = loop.call_at(deadline.due, self._look, loop)
                return
            del self._running[deadline]
            if now > deadline.due + _STOOD_STILL:
                self._late.add(deadline)
                deadline.grace = loop.call_later(_GRACE, deadline.expire)
            else:
                deadline.expire()


class _Deadline:
    """One of them, for the task that enters it."""

    __slots__ = ("_cancelling", "_deadlines", "_expired", "_task", "due", "grace")

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._expired = False
        self.grace: asyncio.TimerHandle | None = None
        self.due = 0.0

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._deadlines.begin(self, task.get_loop())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()
        if not self._expired:
            return
        # Where nobody else has cancelled the task meanwhile, it was this (as asyncio.Timeout has it).
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def begin_again(self) -> None:
        """It has all of its time from now on: what it is for begins only now."""
        if not self._expired:
            self._end()
            self._deadlines.begin(self, self._task.get_loop())

    def _end(self) -> None:
        self._deadlines.end(self)
        if self.grace is not None:
            self.grace.cancel()

    def expire(self) -> None:
        if not self._expired:  # once: whoever tidies up is let do that
            self._expired = True
            self._task.cancel()
