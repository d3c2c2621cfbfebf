"""Ctrl-C at any moment, once and twice, and Ctrl-Z: the same line again carries on and pays once.

ASI_CHAOS=long gives sixty of them.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from chaos.batch import everything_agrees, whole_pictures
from chaos.scale import Figures, scaled
from terminal import Ended, Process, Start, in_flight, starting

from asi_image_async.emulator import Emulator

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals"),
]

LANES = 2
TRIES = scaled(3, 30)  # in each lane
COUNT = scaled(60, 320)
INTERRUPTED = (128 + signal.SIGINT, -signal.SIGINT)  # the latter where Python was ending: 130 for a shell
WIDTH = 4
# What comes before is Python's own beginning.
STARTED = "our code is reached"
CODE = f"""
import os, sys
from asi_image_async.cli import main
sys.addaudithook(lambda what, of: what == "import" and of[0] == "typer.main" and os.write(2, b"{STARTED}"))
main()
"""
PROGRAM = (sys.executable, "-c", CODE)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.chdir(tmp_path)
    with starting() as start:
        yield start


# --- a batch that is interrupted again and again


@dataclass
class Lane:
    """One batch, and what its interrupted runs said."""

    start: Start
    name: str
    stopped: int = 0
    unknown: int = 0
    longest: float = 0.0

    @property
    def out(self) -> Path:
        return Path(self.name)

    @property
    def prompts(self) -> list[str]:
        return [f"fox {number} of {self.name}" for number in range(COUNT)]

    def go(self, seed: int) -> None:
        """Interrupt it at random moments, each time followed by the same line, and let the last one end."""
        chance = random.Random(seed)
        Path(f"{self.name}.txt").write_text("\n".join(self.prompts))
        for _ in range(TRIES):
            self._note(self._interrupt(chance))
        last = self._begin().end()
        assert last.status == 0, last
        asyncio.run(everything_agrees(self.out, self.prompts))

    def _begin(self) -> Process:
        line = ("batch", f"{self.name}.txt", "--out", self.out, "--concurrency", WIDTH, "--json")
        return self.start(*line, program=PROGRAM)

    def _interrupt(self, chance: random.Random) -> Ended:
        process = self._begin()
        process.until("at most 4 at once" if chance.random() < 0.7 else STARTED)
        time.sleep(chance.uniform(0, 0.4))
        pressed = process.send(signal.SIGINT)
        if chance.random() < 0.5:
            time.sleep(chance.uniform(0, 0.1))
            pressed = process.send(signal.SIGINT)
        ended = process.end()
        self.longest = max(self.longest, time.monotonic() - pressed)
        return ended

    def _note(self, ended: Ended) -> None:
        assert ended.status in (0, *INTERRUPTED), ended
        assert "Traceback" not in ended.err, ended.err
        if ended.out:
            self.stopped += ended.json["interrupted"]
            self.unknown += ended.json["unknown"]


@pytest.mark.asi_emulator(canned=2000, latency=0.1)
def test_ctrl_c_at_any_moment_loses_nothing_and_buys_again_only_what_it_told_as_unknown(
    start: Start, asi_emulator: Emulator
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    lanes = [Lane(start, f"out{number}") for number in range(LANES)]
    with ThreadPoolExecutor(LANES) as pool:
        list(pool.map(Lane.go, lanes, range(seed, seed + LANES)))
    delivered = sum(len(whole_pictures(lane.out)) for lane in lanes)
    unknown = sum(lane.unknown for lane in lanes)
    again = asi_emulator.billed - delivered
    assert sum(lane.stopped for lane in lanes) > LANES * TRIES / 10  # in mid-run, and not before or after
    assert delivered == LANES * COUNT
    assert again <= unknown
    Figures(
        fault="Ctrl-C at a random moment, once or twice",
        tries=LANES * TRIES,
        delivered=delivered,
        lost=max(0, again - unknown),
        billed_twice=max(0, again - unknown),
        longest_hang=max(lane.longest for lane in lanes),
    ).tell()


# --- at the very beginning, and at the very end


@pytest.mark.asi_emulator(canned=2000, latency=1.0)  # so that it cannot have ended before
def test_ctrl_c_while_the_command_starts_up_is_quiet(start: Start, asi_emulator: Emulator) -> None:
    Path("prompts.txt").write_text("a fox")
    for number in range(scaled(3, 12)):
        process = start("batch", "prompts.txt", "--out", f"out{number}", program=PROGRAM)
        process.until(STARTED)
        time.sleep(random.uniform(0, 0.25))
        process.send(signal.SIGINT)
        ended = process.end()
        assert ended.status in INTERRUPTED, ended
        assert "Traceback" not in ended.err, ended.err


@pytest.mark.asi_emulator(canned=2000)
def test_ctrl_c_during_the_closing_summary_is_quiet_and_the_report_is_told(
    start: Start, asi_emulator: Emulator
) -> None:
    Path("prompts.txt").write_text("a fox")
    for number in range(scaled(3, 9)):
        process = start("batch", "prompts.txt", "--out", f"out{number}", "--json")
        process.until("1 picture in out")
        time.sleep(random.uniform(0, 0.03))
        process.send(signal.SIGINT)
        ended = process.end()
        assert ended.status in (0, *INTERRUPTED), ended
        assert ended.json["succeeded"] == 1
        assert "Traceback" not in ended.err, ended.err


def test_ctrl_c_in_the_middle_of_an_import_is_quiet(start: Start) -> None:
    Path("prompts.txt").write_text("a fox")
    code = "import functools, os, signal; from asi_image_async.cli import main; "
    # What is raised there comes out as a RuntimeError up to Python 3.11.
    code += "functools.cached_property.__set_name__ = lambda *_: os.kill(os.getpid(), signal.SIGINT); main()"
    ended = start("lint", "prompts.txt", program=(sys.executable, "-c", code)).end()
    assert (ended.status, ended.err) == (-signal.SIGINT, "")


def test_ctrl_c_while_python_ends_is_quiet(start: Start) -> None:
    code = "import atexit, os, signal; from asi_image_async.cli import main; "
    code += "atexit.register(os.kill, os.getpid(), signal.SIGINT); main()"
    ended = start("--version", program=(sys.executable, "-c", code)).end()
    assert (ended.status, ended.err) == (-signal.SIGINT, "")


# --- stopped for a while, as by Ctrl-Z


@pytest.mark.asi_emulator(canned=2_000_000, latency=0.2)
@pytest.mark.parametrize("timeout", [60.0, 0.8], ids=["within the time of a request", "for longer than that"])
def test_a_run_that_is_stopped_and_goes_on_later_loses_nothing(
    start: Start, asi_emulator: Emulator, timeout: float
) -> None:
    prompts = [f"fox {number}" for number in range(12)]
    Path("prompts.txt").write_text("\n".join(prompts))
    line = ("batch", "prompts.txt", "--out", "out", "--concurrency", WIDTH, "--timeout", timeout, "--json")
    process = start(*line)
    in_flight(asi_emulator, WIDTH)
    process.send(signal.SIGSTOP)
    time.sleep(scaled(1.7, 3.0))
    process.send(signal.SIGCONT)
    ended = process.end()
    assert (ended.status, ended.json["succeeded"], ended.json["unknown"]) == (0, len(prompts), 0)
    asyncio.run(everything_agrees(Path("out"), prompts))
    assert asi_emulator.billed == len(prompts)
    length = "longer than a request may take" if timeout < 1 else "seconds"
    fault = f"stopped for {length} in mid-run, as by Ctrl-Z"
    Figures(fault=fault, tries=1, delivered=len(prompts), lost=0, billed_twice=0).tell()
