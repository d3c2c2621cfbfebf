"""The terminal is closed, nobody reads, a pipe is full: no picture is lost, and nothing hangs."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos.batch import journal_of, nothing_is_half, whole_pictures
from chaos.scale import Figures
from terminal import Process, Start, in_flight, starting, until

from asi_image_async.emulator import Emulator, Fault
from asi_image_async.runtime.journal import Journal
from asi_image_async.runtime.journal.summary import read_summary

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals"),
]

OUT = Path("out")
MANY = 40
COMMAND = [sys.executable, "-m", "asi_image_async"]
slow = pytest.mark.asi_emulator(canned=2000, latency=0.3)
never = pytest.mark.asi_emulator(canned=2000, latency=60.0)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.chdir(tmp_path)
    with starting() as start:
        yield start


def prompts(count: int) -> Path:
    path = Path("prompts.txt")
    path.write_text("".join(f"fox {number}\n" for number in range(count)))
    return path


def begin(start: Start, count: int, *options: str, width: int = 4, **given: Any) -> Process:
    return start("batch", prompts(count), "--out", OUT, "--concurrency", width, *options, **given)


def all_that_was_billed_is_stored(emulator: Emulator) -> None:
    nothing_is_half(OUT)
    summary = read_summary(journal_of(OUT))
    assert len(whole_pictures(OUT)) == summary.done == emulator.billed > 0
    assert summary.unknown == summary.failed == 0


def ended_early(report: dict[str, Any], emulator: Emulator) -> None:
    """Stopped, and what was in flight was finished."""
    assert (report["succeeded"], report["unknown"], report["interrupted"]) == (emulator.billed, 0, True)
    assert emulator.billed < MANY
    all_that_was_billed_is_stored(emulator)


def at_rest(emulator: Emulator) -> None:
    """Wait until nothing is in flight and all of it is written down."""
    until(lambda: not emulator.in_flight and read_summary(journal_of(OUT)).done == emulator.billed)


# --- the terminal is closed


@slow
def test_a_terminal_closed_in_mid_run_finishes_what_is_in_flight_and_the_same_line_asks_for_the_rest(
    start: Start, asi_emulator: Emulator
) -> None:
    process = begin(start, MANY, "--json", terminal=True)
    in_flight(asi_emulator, 4)
    time.sleep(0.3)  # the bar is drawn, and goes on being drawn
    process.hang_up()
    closed = time.monotonic()
    report = json.loads(process.wait())
    took = time.monotonic() - closed
    assert process.process.returncode == 128 + signal.SIGHUP
    ended_early(report, asi_emulator)

    assert begin(start, MANY, width=MANY).end().status == 0
    all_that_was_billed_is_stored(asi_emulator)
    assert asi_emulator.billed == MANY
    fault = "the terminal closed in mid-run"
    Figures(fault=fault, tries=1, delivered=MANY, lost=0, billed_twice=0, longest_hang=took).tell()


@slow
def test_a_closed_terminal_whose_shell_ends_too_tells_it_twice_and_gives_up_nothing(
    start: Start, asi_emulator: Emulator
) -> None:
    shell = start("--norc", "--noprofile", "-i", program=("bash",), terminal=True)
    line = [*COMMAND, "batch", str(prompts(MANY)), "--out", str(OUT), "--concurrency", "4", "--json"]
    shell.type(f"{' '.join(line)} > report.json\n".encode())
    in_flight(asi_emulator, 4)
    shell.hang_up()
    until(lambda: Path("report.json").read_text().endswith("\n"))
    report = json.loads(Path("report.json").read_text())
    ended_early(report, asi_emulator)


@slow
def test_a_closed_terminal_ends_nothing_where_nohup_was_said_and_is_not_missed(
    start: Start, asi_emulator: Emulator
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = begin(start, 8, "--json", terminal=True, stdout=None)
    finally:
        signal.signal(signal.SIGHUP, before)
    in_flight(asi_emulator, 4)
    process.hang_up()
    process.wait()
    assert process.process.returncode == 0
    all_that_was_billed_is_stored(asi_emulator)
    assert asi_emulator.billed == 8


# --- nobody reads standard error


@slow
def test_a_reader_of_standard_error_that_goes_away_is_not_missed(
    start: Start, asi_emulator: Emulator
) -> None:
    process = begin(start, 8, "--json")
    in_flight(asi_emulator, 4)
    process.hang_up()
    assert json.loads(process.wait())["ok"]
    assert process.process.returncode == 0
    all_that_was_billed_is_stored(asi_emulator)
    assert asi_emulator.billed == 8


def stuck(start: Start, emulator: Emulator) -> Process:
    """A run that was told to stop, and whose reader of standard error takes no more."""
    process = begin(start, MANY, "--json", crowded=True)
    process.until("at most 4 at once")
    in_flight(emulator, 4)
    process.crowd()
    process.send(signal.SIGINT)
    return process


@slow
def test_a_stuck_reader_of_standard_error_holds_up_no_picture_and_is_told_all_once_it_reads(
    start: Start, asi_emulator: Emulator
) -> None:
    process = stuck(start, asi_emulator)
    at_rest(asi_emulator)
    time.sleep(0.5)
    assert process.process.poll() is None  # as every command, it waits for whom it has something to say
    ended = process.end()
    assert ended.status == 130
    assert f"{asi_emulator.billed} pictures in out/, 0 failed" in ended.err
    ended_early(ended.json, asi_emulator)


@slow
def test_ctrl_c_ends_the_waiting_for_a_stuck_reader_and_the_report_is_told(
    start: Start, asi_emulator: Emulator
) -> None:
    process = stuck(start, asi_emulator)
    at_rest(asi_emulator)
    time.sleep(1.2)
    pressed = process.send(signal.SIGINT)
    ended_early(json.loads(process.wait()), asi_emulator)
    assert time.monotonic() - pressed < 10
    assert process.process.returncode == 130


@never
def test_a_stuck_reader_of_standard_error_does_not_hold_up_ctrl_c_twice(
    start: Start, asi_emulator: Emulator
) -> None:
    process = stuck(start, asi_emulator)
    time.sleep(0.3)
    pressed = process.send(signal.SIGINT)
    report = json.loads(process.wait())
    took = time.monotonic() - pressed
    assert took < 10
    assert process.process.returncode == 130
    assert (report["succeeded"], report["unknown"]) == (0, 4)
    assert read_summary(journal_of(OUT)).unknown == 4
    fault = "Ctrl-C twice, standard error full and not read"
    Figures(fault=fault, tries=1, delivered=0, lost=0, billed_twice=0, longest_hang=took).tell()


@slow
def test_where_nobody_reads_from_the_start_ctrl_c_ends_it_before_anything_is_asked_for(
    start: Start, asi_emulator: Emulator
) -> None:
    process = begin(start, 8, crowded=True)
    process.crowd()
    threads = Path(f"/proc/{process.process.pid}/task")
    if threads.is_dir():  # on Linux: how long it takes to begin is not known
        until(lambda: len(list(threads.iterdir())) > 1)
    time.sleep(2.5)
    pressed = process.send(signal.SIGINT)
    process.wait()
    assert time.monotonic() - pressed < 10
    assert process.process.returncode == 130
    assert asi_emulator.requests == 0


@slow
def test_a_reader_that_never_reads_again_is_given_up_a_while_after_the_end(
    start: Start, asi_emulator: Emulator
) -> None:
    code = "import asi_image_async.cli.display as display; display._PATIENCE = 1.0; "
    code += "from asi_image_async.cli import main; main()"
    process = begin(start, 8, "--json", crowded=True, program=(sys.executable, "-c", code))
    process.until("at most 4 at once")
    process.crowd()
    assert json.loads(process.wait())["ok"]
    assert process.process.returncode == 0
    all_that_was_billed_is_stored(asi_emulator)
    assert asi_emulator.billed == 8


@slow
def test_a_terminal_that_is_stopped_holds_up_no_picture(start: Start, asi_emulator: Emulator) -> None:
    process = begin(start, 8, terminal=True)
    in_flight(asi_emulator, 4)
    process.type(b"\x13")  # Ctrl-S
    until(lambda: read_summary(journal_of(OUT)).done == 8)
    process.type(b"\x11")
    ended = process.end()
    assert ended.status == 0
    assert "8 pictures in out/, 0 failed" in ended.err
    all_that_was_billed_is_stored(asi_emulator)
    assert asi_emulator.billed == 8


# --- nobody reads standard output


async def another_run_could_begin() -> None:
    async with Journal(journal_of(OUT)):
        pass


@pytest.mark.asi_emulator(canned=2000, faults=[Fault("error", status=400, prompt="bad")])
@pytest.mark.parametrize("reads", [True, False], ids=["who reads late", "who never reads"])
def test_a_report_larger_than_the_pipe_waits_for_its_reader_and_the_run_is_over(
    start: Start, asi_emulator: Emulator, reads: bool
) -> None:
    lines = [f"{'bad' if number % 5 else 'good'} {number} {'x' * 1000}\n" for number in range(125)]
    Path("prompts.txt").write_text("".join(lines))
    process = start("batch", "prompts.txt", "--out", OUT, "--json")
    process.until("the same request will fail again")
    time.sleep(1.2)
    assert process.process.poll() is None
    asyncio.run(another_run_could_begin())
    assert len(whole_pictures(OUT)) == 25
    if reads:
        assert len(json.loads(process.wait())["failures"]) == 100
        assert process.process.returncode == 1
        return
    pressed = process.send(signal.SIGINT)
    process.process.wait(timeout=5)
    assert time.monotonic() - pressed < 10
    assert process.process.returncode == 130
    assert "Traceback" not in process.end().err
