"""`asi-image export`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from asi_image_async.emulator import Emulator

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


def test_a_dash_is_no_file_to_write(asi_image: Run) -> None:
    Path("out").mkdir()
    Path("out/metadata.jsonl").touch()
    assert asi_image("export", "out", "-", "--to", "csv").status == 2
    assert not Path("-").exists()


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
