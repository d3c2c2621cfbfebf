from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from asi_image_async.cli.app import app

KEY = "sk_test_0123456789abcdef"
SECONDS = 20.0  # nothing here takes as long, unless it hangs


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


Run = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def asi_image() -> Run:
    """Run the command within this process; a key is set unless the test takes it away."""

    def run(*arguments: str | Path, stdin: str | bytes = "") -> Ended:
        result = CliRunner().invoke(app, [*map(str, arguments)], input=stdin, prog_name="asi-image")
        return Ended(result.exit_code, result.stdout, result.stderr)

    return run


class Process:
    """The command in a process of its own; `terminal`: on a pseudo terminal of 80 columns, or on pipes."""

    def __init__(
        self, arguments: tuple[str | Path, ...], *, terminal: bool, stdin: int | None = None
    ) -> None:
        reader, writer = pty.openpty() if terminal else os.pipe()
        if terminal:
            termios.tcsetwinsize(writer, (24, 80))
        self._reader = reader
        self.shown = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "asi_image_async", *map(str, arguments)],
            stdin=writer if terminal else (subprocess.DEVNULL if stdin is None else stdin),
            stdout=subprocess.PIPE,
            stderr=writer,
            start_new_session=True,
            preexec_fn=_take_terminal if terminal else None,
        )
        os.close(writer)

    def until(self, text: str) -> str:
        """Read standard error until it has the text."""
        deadline = time.monotonic() + SECONDS
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if not self._read():
                raise AssertionError(f"ended without {text!r}: {self.shown}")
        return self.shown

    def type(self, keys: bytes) -> None:
        """Press keys on the terminal."""
        os.write(self._reader, keys)

    def end(self) -> Ended:
        """Wait for its end."""
        while self._read():
            pass
        out, _ = self.process.communicate(timeout=SECONDS)
        return Ended(self.process.returncode, out.decode(), self.shown)

    def _read(self) -> bool:
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
        os.close(self._reader)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start the command in a process of its own, and leave none behind."""
    started: list[Process] = []

    def start(*arguments: str | Path, terminal: bool = False, stdin: int | None = None) -> Process:
        started.append(Process(arguments, terminal=terminal, stdin=stdin))
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """A prompt file with three prompts, one of them twice."""
    path = tmp_path / "prompts.txt"
    path.write_text("a red fox\na blue whale\na red fox\n", encoding="utf-8")
    return path
