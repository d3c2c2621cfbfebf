"""Standard output and standard error, which may be closed, full, stalled, or gone while the work goes on."""

from __future__ import annotations

import errno
import io
import math
import os
import select
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from ..errors import SinkError

__all__ = ["StandardError", "discard", "wait_for", "write_out"]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_SOON = 1.0  # seconds; what takes longer is stuck
_LOOK_AGAIN = 0.1


class StandardError(io.StringIO):
    """Standard error, for those who can do without it.

    How long a write will wait (Ctrl-S, a pipe that nobody reads) is not known beforehand, and nothing ends it
    early. So it waits in a thread that can be left behind, and is from `give_up_at` on (monotonic clock).
    """

    def __init__(self) -> None:
        super().__init__()
        self.give_up_at = math.inf

    @property
    def encoding(self) -> str:  # type: ignore[override]  # what StringIO has no use for
        return getattr(sys.stderr, "encoding", None) or "utf-8"

    def flush(self) -> None:
        """Write what has been collected; raises BrokenPipeError where nobody takes it."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        stream = sys.stderr
        if stream is None or not text:  # closed before the start
            return
        descriptor = _behind(stream)
        if descriptor is None:
            stream.write(text)
            stream.flush()
            return
        data = text.encode(self.encoding, "backslashreplace")
        try:
            _write(descriptor, data, lambda: self.give_up_at)
        except OSError as error:  # whatever else it is, the reader or the terminal is gone
            if error.errno not in _NO_ROOM:  # the disk of a log may have some for the next line
                raise BrokenPipeError from None
        except KeyboardInterrupt:
            if math.isinf(self.give_up_at):
                raise
            raise BrokenPipeError from None  # the work is done; it was the waiting that was to end


def _behind(stream: TextIO) -> int | None:
    """The descriptor to write to: none in a test, and none on Windows, whose console wants no bytes."""
    try:
        return None if os.name == "nt" else stream.fileno()
    except OSError:
        return None


def _write(descriptor: int, data: bytes, give_up_at: Callable[[], float] = lambda: math.inf) -> None:
    """Raises OSError, and KeyboardInterrupt where it took long and Ctrl-C ended the wait."""
    data = _write_now(descriptor, data)
    if not data:
        return
    failed: list[OSError] = []
    over = threading.Event()  # a join that Ctrl-C has broken off says of a thread that it has ended
    # Not through Python's stream: a thread left behind would hold its lock, and Python could not end.
    writer = threading.Thread(target=_write_all, args=(descriptor, data, failed, over), daemon=True)
    writer.start()
    try:
        wait_for(writer, give_up_at)
    except KeyboardInterrupt:
        if not over.wait(_LOOK_AGAIN):  # stuck: nothing that is said after this would come out
            discard(descriptor)
        raise
    if failed:
        raise failed[0]
    if not over.is_set():
        raise TimeoutError


def _write_now(descriptor: int, data: bytes) -> bytes:
    """Write as much as goes without waiting, and return the rest: what has room takes PIPE_BUF bytes."""
    while data and select.select([], [descriptor], [], 0)[1]:
        data = data[os.write(descriptor, data[: select.PIPE_BUF]) :]
    return data


def _write_all(descriptor: int, data: bytes, failed: list[OSError], over: threading.Event) -> None:
    try:
        while data:
            select.select([], [descriptor], [])  # whoever shares it may have set it not to wait
            data = data[os.write(descriptor, data[: select.PIPE_BUF]) :]
    except OSError as error:
        failed.append(error)
    finally:
        over.set()


def wait_for(thread: threading.Thread, give_up_at: Callable[[], float] = lambda: math.inf) -> None:
    """Wait for a thread that may be stuck; once that is likely, Ctrl-C raises KeyboardInterrupt at once."""
    thread.join(_SOON)
    if not thread.is_alive():
        return
    with _ctrl_c_at_once():
        while thread.is_alive() and time.monotonic() < give_up_at():
            thread.join(_LOOK_AGAIN)


@contextmanager
def _ctrl_c_at_once() -> Iterator[None]:
    """Around a wait that is not awaited: a loop's own handler of Ctrl-C would never come to its turn."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def write_out(data: bytes) -> None:
    """Write to standard output, whole, and at once; raises SinkError where that cannot be done."""
    if sys.stdout is None:  # closed before the start
        return
    descriptor = _behind(sys.stdout)
    try:
        if descriptor is None:
            sys.stdout.buffer.write(data)
            sys.stdout.flush()
        else:
            _write(descriptor, data)
    except OSError as error:
        gone = _nobody_reads(error, descriptor)
        with suppress(OSError):  # in a test there may be none
            discard(sys.stdout.fileno())
        if gone:
            return
        raise SinkError(
            f"cannot write to standard output: {error.strerror or error}",
            hint="Look at where the output goes. What was bought is stored.",
        ) from None


def _nobody_reads(error: OSError, descriptor: int | None) -> bool:
    """Whether it is no news to anybody: as with `| head`, or a terminal that was closed."""
    if isinstance(error, BrokenPipeError):
        return True
    return descriptor is not None and error.errno == errno.EIO and stat.S_ISCHR(os.fstat(descriptor).st_mode)


def discard(descriptor: int) -> None:
    """Let what is still to be flushed when Python ends go nowhere, instead of failing or waiting again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
