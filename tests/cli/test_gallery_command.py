"""`asi-image gallery`, and the page at the end of each batch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from asi_image_async.emulator import Emulator
from asi_image_async.errors import SinkError

from .conftest import Run


@pytest.mark.asi_emulator(canned=2000)
def test_a_batch_ends_with_a_page_that_says_where_it_is(
    asi_image: Run, prompts: Path, asi_emulator: Emulator
) -> None:
    ended = asi_image("batch", prompts, "--out", "out")
    assert ended.status == 0
    assert "out/index.html" in ended.err
    page = Path("out/index.html").read_text(encoding="utf-8")
    assert page.count("a red fox") == 2


@pytest.mark.asi_emulator(canned=2000)
def test_no_gallery_makes_none_and_the_command_makes_it_later(
    asi_image: Run, prompts: Path, asi_emulator: Emulator
) -> None:
    asi_image("batch", prompts, "--out", "out", "--no-gallery")
    assert not Path("out/index.html").exists()
    ended = asi_image("gallery", "out")
    assert (ended.status, ended.out) == (0, "out/index.html\n")
    assert asi_image("gallery", "out", "-o", "page.html").out == "page.html\n"
    assert "out/" in Path("page.html").read_text(encoding="utf-8")


@pytest.mark.asi_emulator(canned=2000)
def test_a_gallery_that_cannot_be_made_fails_no_batch(
    asi_image: Run, prompts: Path, asi_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (SinkError("the disk is full"), KeyboardInterrupt()):

        def fails(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        monkeypatch.setattr("asi_image_async.cli.gallery.make_gallery", fails)
        ended = asi_image("batch", prompts, "--out", "out")
        assert ended.status == 0
        assert "no gallery was made" in ended.err


@pytest.mark.asi_emulator(canned=2000)
def test_a_page_that_is_not_ours_is_left_alone(asi_image: Run, prompts: Path, asi_emulator: Emulator) -> None:
    Path("out").mkdir()
    Path("out/index.html").write_text("<h1>mine</h1>")
    ended = asi_image("batch", prompts, "--out", "out")
    assert ended.status == 0
    assert "no gallery was made (out/index.html is there already and is no gallery)" in ended.err
    assert asi_image("gallery", "out").status == 2
    assert Path("out/index.html").read_text() == "<h1>mine</h1>"


def test_a_page_is_written_over_an_older_one_and_over_no_file_of_the_users(
    asi_image: Run, prompts: Path, asi_emulator: Emulator
) -> None:
    asi_image("batch", prompts, "--out", "out", "--no-gallery")
    said = prompts.read_text()
    ended = asi_image("gallery", "out", "-o", prompts)
    assert (ended.status, "is no gallery" in ended.err, prompts.read_text()) == (2, True, said)
    for _ in range(2):
        assert asi_image("gallery", "out", "-o", "page.html").status == 0


@pytest.mark.asi_emulator(canned=2000)
def test_a_page_takes_the_place_of_no_folder_and_no_device(
    asi_image: Run, prompts: Path, asi_emulator: Emulator
) -> None:
    asi_image("batch", prompts, "--out", "out", "--no-gallery")
    os.mkfifo("pipe")
    for path in ("pipe", ".", ""):
        ended = asi_image("gallery", "out", "-o", path)
        assert (ended.status, "is not a plain file" in ended.err) == (2, True)
    assert Path("pipe").is_fifo()


def test_a_folder_that_is_none_is_told_with_what_to_do(asi_image: Run) -> None:
    for arguments in (("gallery", "nowhere"), ("gallery", "nowhere", "--watch")):
        ended = asi_image(*arguments)
        assert ended.status == 2
        assert "hint: Name the folder that its pictures went to." in ended.err
