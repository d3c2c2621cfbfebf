"""The command in a process of its own, on a pseudo terminal or on pipes, and what a person does to it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asi_image_async.emulator import Emulator

SECONDS = 20.0  # nothing here takes as long, unless it hangs
CTRL_C = b"\x03"


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """What stands on standard output, which is one object and nothing else."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


class Process:
    """The command, on a pseudo terminal of 80 columns, or on pipes.

    `program`: what is run instead. `crowded`: others could write to the pipe of standard error too.
    """

    def __init__(
        self,
        arguments: tuple[object, ...],
        *,
        program: tuple[str, ...] = (sys.executable, "-m", "asi_image_async"),
        terminal: bool = False,
        stdin: int | None = None,
        stdout: int | None = subprocess.PIPE,
        crowded: bool = False,
    ) -> None:
        self._reader, self._writer = pty.openpty() if terminal else os.pipe()
        if terminal:
            termios.tcsetwinsize(self._writer, (24, 80))
        self.shown = ""
        self.process = subprocess.Popen(
            [*program, *map(str, arguments)],
            stdin=self._writer if terminal else (subprocess.DEVNULL if stdin is None else stdin),
            stdout=stdout or self._writer,
            stderr=self._writer,
            start_new_session=True,
            preexec_fn=_take_terminal if terminal else None,
        )
        if not crowded:
            self.stay_alone()

    def until(self, text: str, *, seconds: float = SECONDS) -> str:
        """Read standard error until it has the text."""
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if not self._read(seconds):
                raise AssertionError(f"ended without {text!r}: {self.shown}")
        return self.shown

    def type(self, keys: bytes) -> None:
        """Press keys on the terminal."""
        os.write(self._reader, keys)

    def send(self, number: signal.Signals) -> float:
        """Send a signal; gives when that was."""
        self.process.send_signal(number)
        return time.monotonic()

    def crowd(self) -> None:
        """Leave no room in the pipe of standard error, as where its reader is stuck."""
        os.set_blocking(self._writer, False)
        for size in (4096, 1):
            with suppress(BlockingIOError):
                while True:
                    os.write(self._writer, b"." * size)
        os.set_blocking(self._writer, True)

    def stay_alone(self) -> None:
        """Nobody else can write to the pipe from here on."""
        os.close(self._writer)
        self._writer = -1

    def hang_up(self) -> None:
        """Close the terminal, or stop listening to the pipe for good."""
        os.close(self._reader)
        self._reader = -1

    def wait(self) -> str:
        """Wait for its end without a look at standard error; gives what stands on standard output."""
        out, _ = self.process.communicate(timeout=SECONDS)
        return (out or b"").decode()

    def end(self) -> Ended:
        """Wait for its end."""
        if self._writer >= 0:
            self.stay_alone()
        while self._read():
            pass
        return Ended(out=self.wait(), status=self.process.returncode, err=self.shown)

    def _read(self, seconds: float = SECONDS) -> bool:
        ready, _, _ = select.select([self._reader], [], [], seconds)
        assert ready, f"it hangs: {self.shown}"
        try:
            data = os.read(self._reader, 65536)
        except OSError:  # how a pseudo terminal tells its end
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)

    def close(self) -> None:
        """Leave nothing running."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate(timeout=SECONDS)
        for descriptor in (self._reader, self._writer):
            if descriptor >= 0:
                os.close(descriptor)


def in_flight(emulator: Emulator, count: int) -> None:
    """Wait until so many requests are in flight."""
    until(lambda: emulator.in_flight >= count)


def until(true: Callable[[], bool]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


Start = Callable[..., Process]


@contextmanager
def starting() -> Iterator[Start]:
    """Start commands, and leave none behind."""
    started: list[Process] = []

    def start(*arguments: str | Path | int, **given: Any) -> Process:
        started.append(Process(arguments, **given))
        return started[-1]

    try:
        yield start
    finally:
        for process in started:
            process.close()
