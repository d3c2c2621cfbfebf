"""The command starts quickly, says what it lacks, and takes its place among other programs."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asi_image_async.cli import display, outlets
from asi_image_async.cli.display import Display
from asi_image_async.cli.speech import Voice, shortened, visible
from asi_image_async.emulator import Emulator
from asi_image_async.errors import SinkError

Run = Callable[..., Any]
Start = Callable[..., Any]


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", code, *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=20)


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_extra_is_named_with_the_pip_line_that_brings_it(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from asi_image_async.cli import main; main()"
    ended = python(code, "--help")
    assert ended.returncode == 2
    assert ended.stderr == f"error: the command needs {missing}: pip install 'asi_image_async[cli]'\n"


def test_the_emulators_extra_is_named_too() -> None:
    code = "import sys; sys.modules['PIL'] = None; from asi_image_async.cli import main; main()"
    for line in (["generate", "fox", "--emulate"], ["emulate", "--port", "0"]):
        ended = python(code, *line)
        assert ended.returncode == 2
        assert "pip install 'asi_image_async[emulator]'" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_with_nothing_said_it_says_the_help(asi_image: Run) -> None:
    ended = asi_image()
    assert ended.status == 2
    assert ended.err == asi_image("--help").out


def test_help_says_what_an_argument_is(asi_image: Run) -> None:
    assert "A picture of a batch with --recipe." in asi_image("inspect", "--help").out


def test_help_loads_nothing_that_only_commands_need() -> None:
    code = """if True:
        import sys
        before = set(sys.modules)
        import asi_image_async
        package = set(sys.modules)
        from asi_image_async.cli import main
        try:
            main()
        except SystemExit:
            pass
        new = {name.partition('.')[0] for name in set(sys.modules) - package}
        new |= {name for name in set(sys.modules) - package if name.startswith('asi_image_async')}
        print(sorted(new), file=sys.stderr)
    """
    ended = python(code, "--help")
    assert "Usage: asi-image" in ended.stdout
    for name in ("PIL", "sqlite3", "asi_image_async.emulator", "asi_image_async.cli.batch", "rich.live"):
        assert repr(name) not in ended.stderr


def test_python_dash_m_is_the_command_and_knows_its_version(start: Start) -> None:
    from importlib.metadata import version

    ended = start("--version").end()
    assert (ended.status, ended.out) == (0, f"asi-image {version('asi_image_async')}\n")


def test_wrong_usage_exits_2(asi_image: Run) -> None:
    for line in (["bath"], ["batch"], ["batch", "p.txt"], ["generate"], ["status"]):
        ended = asi_image(*line)
        assert ended.status == 2
        assert "Traceback" not in ended.err


@pytest.mark.asi_emulator(canned=20_000)
def test_nobody_reading_is_no_error(asi_emulator: Emulator, prompts: Path) -> None:
    command = f"{sys.executable} -m asi_image_async"
    for line in (
        f"{command} batch {prompts} --out out --json --quiet | true; exit ${{PIPESTATUS[0]}}",
        f"{command} batch {prompts} --out two 2>&1 | true; exit ${{PIPESTATUS[0]}}",
        f"{command} generate fox | true; exit ${{PIPESTATUS[0]}}",
    ):
        ended = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=20)
        assert (ended.returncode, ended.stderr) == (0, "")
    assert len(list(Path("two").glob("*.jpg"))) == 3


@pytest.mark.asi_emulator(canned=20_000)
def test_closed_and_full_outputs_lose_no_picture(asi_emulator: Emulator, prompts: Path) -> None:
    command = f"{sys.executable} -m asi_image_async batch {prompts} --json --out"
    for line, status in ((f"{command} out >&- 2>&-", 0), (f"{command} two >/dev/full", 3)):
        ended = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=20)
        assert ended.returncode == status
        assert "Traceback" not in ended.stderr
    assert "error: cannot write to standard output: No space left on device" in ended.stderr
    assert "3 pictures in two/" in ended.stderr
    assert len(list(Path("out").glob("*.jpg"))) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_what_python_s_own_stream_cannot_write_as_on_windows_is_told_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outlets, "_behind", lambda _: None)
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SinkError, match="standard output: No space left"):
            outlets.write_out(b"a fox\n")


@pytest.mark.parametrize("option", ["--help", "batch --help", "--version"])
def test_help_that_cannot_be_written_is_one_line(option: str) -> None:
    line = f"{sys.executable} -m asi_image_async {option} >/dev/full"
    ended = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=20)
    assert (ended.returncode, ended.stderr) == (
        3,
        "error: cannot write to standard output: No space left on device\n",
    )


@pytest.mark.parametrize("line", ["bogus", "batch", ""])
def test_wrong_usage_that_cannot_be_told_exits_2_all_the_same(line: str) -> None:
    command = f"{sys.executable} -m asi_image_async {line} 2>/dev/full"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=20)
    assert (ended.returncode, ended.stdout) == (2, "")


@pytest.mark.parametrize("columns", ["0", "1", "nonsense"])
def test_what_a_variable_says_of_the_width_silences_nothing(
    asi_image: Run, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert "error: there is no file nowhere.txt" in asi_image("batch", "nowhere.txt", "--out", "out").err


@pytest.mark.asi_emulator(canned=20_000, latency=0.5)
def test_a_terminal_gets_a_live_bar_that_is_gone_in_the_end(
    start: Start, asi_emulator: Emulator, prompts: Path
) -> None:
    line = ("batch", prompts, "--out", "out", "--concurrency", 1, "--no-gallery")
    ended = start(*line, terminal=True).end()
    assert ended.status == 0
    assert "2 of 3" in ended.err
    assert "\u2501" in ended.err
    assert "1 in flight" in ended.err
    after = ended.err.rpartition("\x1b[2K")[2]  # what is written after the last line was wiped
    assert "3 pictures in out/, 0 failed" in after
    assert "\u2501" not in after


@pytest.mark.asi_emulator(canned=20_000, latency=0.5)
def test_without_a_terminal_there_are_no_escape_codes_even_where_colours_are_forced(
    start: Start, asi_emulator: Emulator, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    ended = start("batch", prompts, "--out", "out").end()
    assert ended.status == 0
    assert "\x1b" not in ended.err
    assert ended.err.splitlines()[0] == "3 pictures into out/, at most 8 at once"
    assert len(ended.err.splitlines()) == 3


@pytest.mark.asi_emulator(canned=20_000)
def test_a_path_that_is_no_text_is_printed_as_it_is(start: Start, asi_emulator: Emulator) -> None:
    name = os.fsdecode(b"f\xfcx.jpg")
    process = start("generate", "fox", "-o", name)
    out, _ = process.process.communicate(timeout=20)
    assert out == b"f\xfcx.jpg\n"


def test_no_control_character_reaches_the_terminal() -> None:
    assert visible("a\x1b[2Jb\rc\x9bd\u202ee\x07\n") == r"a\x1b[2Jb\rc\x9bd\u202ee\x07\n"
    assert visible("two\nlines\tand", keep_lines=True) == "two\nlines and"
    assert visible("naïve 👩‍🚀 狐") == "naïve 👩‍🚀 狐"
    assert shortened("a  b\n" + "c" * 100, 10) == "a b ccccc…"


def test_a_log_whose_disk_was_full_goes_on_with_the_next_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, write = True, os.write

    def has_room(descriptor: int, data: bytes) -> int:
        if full and descriptor == log.fileno():
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", has_room)
    with open(tmp_path / "log", "w", encoding="utf-8") as log:
        monkeypatch.setattr(sys, "stderr", log)
        voice = Voice()
        voice.say("is lost")
        full = False
        voice.say("is told")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "is told\n"


def test_a_pipe_that_was_set_not_to_wait_and_is_full_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with open(reader, "rb") as read, open(writer, "w", encoding="utf-8") as log:
        filled = 0
        try:
            while True:
                filled += os.write(writer, b"x" * 4096)
        except BlockingIOError:
            pass
        monkeypatch.setattr(sys, "stderr", log)
        saying = threading.Thread(target=Voice().say, args=("is told",))
        saying.start()
        time.sleep(0.2)
        read.read(filled)
        saying.join(5)
        assert read.read(len("is told\n")) == b"is told\n"


def test_in_a_log_nothing_new_is_said_once_a_minute_whatever_the_rate_sinks_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Waiting:
        lines = 0

        def line(self) -> str:
            self.lines += 1
            return f"{self.lines // 20} of 9 done, {90 / self.lines:.3g} a minute, {self.lines} s left"

    monkeypatch.setattr(display, "_TICK", 0.001)
    monkeypatch.setattr(display, "_LINE_EVERY", 0.001)
    view = Waiting()
    with open(tmp_path / "log", "w", encoding="utf-8") as log:
        monkeypatch.setattr(sys, "stderr", log)
        with Display(Voice(), view):  # type: ignore[arg-type]  # a log needs its lines alone
            while view.lines < 45:
                time.sleep(0.001)
    said = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert [line[0] for line in said[:3]] == ["0", "1", "2"]
