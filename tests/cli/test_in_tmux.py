"""What a person sees in a real terminal while a batch goes on, narrow and wide."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from needed import find

Pane = Callable[[str], list[str]]


@pytest.fixture(params=[80, 200])
def width(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def pane(width: int, tmp_path: Path) -> Iterator[Pane]:
    """A terminal with a batch in it: waits for some words in it, and gives its lines."""
    Path("prompts.txt").write_text("\n".join(f"dunes under a moon, number {n}" for n in range(12)))
    line = (
        f"{shlex.quote(sys.executable)} -m asi_image_async batch prompts.txt --out out --emulate"
        " --rate 6/5s --price 0.01 --max-cost 1; sleep 60"
    )
    tmux = [find("tmux"), "-f", "/dev/null", "-S", str(tmp_path / "tmux")]
    size = ["-x", str(width), "-y", "24"]
    command = f"trap true INT; unset COLUMNS; TERM=xterm-256color; {line}"  # it outlives a Ctrl-C
    subprocess.run([*tmux, "new-session", "-d", *size, command], check=True)

    def until(words: str) -> list[str]:
        for _ in range(400):
            shown = subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, text=True, check=True)
            if words in shown.stdout:
                return shown.stdout.rstrip().splitlines()
            time.sleep(0.05)
        raise AssertionError(shown.stdout)

    yield until
    subprocess.run([*tmux, "kill-server"], check=True)


def test_the_bar_says_what_it_waits_for_in_three_whole_lines_and_goes(pane: Pane, width: int) -> None:
    pane("waiting for the rate limit")
    drawn, into, bar, how, names = pane(" 6 of 12 ")
    assert drawn.startswith("these are drawings by the emulator")
    assert into == "12 pictures into out/, at most 8 at once, 6/5s"
    assert re.fullmatch(r" 6 of 12 ━+[╺╸]?━* +50% +0:0\d left", bar)
    assert re.fullmatch(
        r"[\d.,]+ a minute · 0 in flight · waiting for the rate limit, \d s · 0\.06 spent", how
    )
    assert names.startswith("dunes-under-a-moon-number-")
    assert len(bar) <= min(width, 110)
    ended = pane("to look through them")
    assert ended[2].startswith("12 pictures in out/, 0 failed")
    assert not [line for line in ended if "━" in line]


def test_ctrl_c_leaves_nothing_of_the_bar_behind(pane: Pane, tmp_path: Path) -> None:
    pane("waiting for the rate limit")
    assert pane(" 6 of 12 ")[-1].endswith("…")  # to the edge, where the ^C comes
    subprocess.run([find("tmux"), "-S", str(tmp_path / "tmux"), "send-keys", "C-c"], check=True)
    assert not [line for line in pane("6 are left") if "━" in line]
