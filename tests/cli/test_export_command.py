"""`asi-image export`."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from asi_image_async.emulator import Emulator
from asi_image_async.export import Line, Lines

from .conftest import Run


@pytest.mark.asi_emulator(canned=2000)
def test_it_writes_what_was_drawn_and_prints_the_paths(
    asi_image: Run, prompts: Path, asi_emulator: Emulator
) -> None:
    asi_image("batch", prompts, "--out", "out", "--no-gallery")
    for to, path, file in (
        ("csv", "out.csv", "out.csv"),
        ("parquet", "out.parquet", "out.parquet"),
        ("webdataset", "shards", "shards/pictures-000000.tar"),
    ):
        ended = asi_image("export", "out", path, "--to", to)
        assert (ended.status, ended.out) == (0, f"{file}\n")
        assert f"3 pictures as {to}" in ended.err
        assert Path(file).stat().st_size > 0


@pytest.mark.asi_emulator(canned=2000)
def test_a_table_may_go_down_a_pipe(asi_image: Run, prompts: Path, asi_emulator: Emulator) -> None:
    asi_image("batch", prompts, "--out", "out", "--no-gallery")
    line = [sys.executable, "-m", "asi_image_async", "export", "out", "/dev/stdout", "--to", "csv"]
    ended = subprocess.run(line, capture_output=True, text=True, check=True)
    assert len(ended.stdout.splitlines()) == 1 + 3
    assert ended.stdout.startswith("file_name,")


@pytest.mark.asi_emulator(canned=2000)
@pytest.mark.parametrize("path", ["-", "/dev/stdout"])
def test_what_standard_output_leads_to_is_added_to(
    asi_image: Run, prompts: Path, asi_emulator: Emulator, path: str
) -> None:
    asi_image("batch", prompts, "--out", "out", "--no-gallery")
    command = f"{shlex.quote(sys.executable)} -m asi_image_async export out {path} --to"
    subprocess.run(f"echo before >all; {command} csv >>all; echo after >>all", shell=True, check=True)
    first, *_, last = lines = Path("all").read_text().splitlines()
    assert (first, len(lines), last) == ("before", 1 + 1 + 3 + 1, "after")
    ended = subprocess.run(f"{command} parquet | head -c 4", shell=True, check=True, capture_output=True)
    assert (ended.stdout, b"error" in ended.stderr) == (b"PAR1", False)
    assert asi_image("export", "out", path, "--to", "webdataset").status == 2


@pytest.mark.asi_emulator(canned=2000)
def test_a_process_that_is_asked_to_end_leaves_nothing_half_written(
    asi_image: Run, prompts: Path, asi_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asi_image("batch", prompts, "--out", "out", "--no-gallery")
    found = Lines.__iter__

    def some(lines: Lines) -> Iterator[Line]:
        yield from found(lines)
        if half := list(Path().glob(".*.tmp")):
            halves.extend(half)
            signal.raise_signal(signal.SIGTERM)

    halves: list[Path] = []

    monkeypatch.setattr(Lines, "__iter__", some)
    before = signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        assert asi_image("export", "out", "out.csv", "--to", "csv").status == 143
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [half.exists() for half in halves] == [False]


def test_a_form_that_is_none_is_told(asi_image: Run, tmp_path: Path) -> None:
    Path("out").mkdir()
    Path("out/metadata.jsonl").touch()
    ended = asi_image("export", "out", "x.zip", "--to", "zip")
    assert ended.status == 2
    assert "There are webdataset, parquet, csv." in ended.err


@pytest.mark.asi_emulator(canned=2000)
def test_a_picture_that_is_gone_is_not_left_out_without_a_word(
    asi_image: Run, prompts: Path, asi_emulator: Emulator
) -> None:
    asi_image("batch", prompts, "--out", "out", "--no-gallery")
    next(Path("out").glob("*.jpg")).unlink()
    ended = asi_image("export", "out", "out.csv", "--to", "csv")
    assert (ended.status, ended.out) == (0, "out.csv\n")
    assert "2 pictures as csv" in ended.err
    assert "1 finished picture is no longer in the folder" in " ".join(ended.err.split())
