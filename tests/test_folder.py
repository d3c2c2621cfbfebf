"""A folder is read line by line while it grows; what it names outside of it is not there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from locked import TOO_LONG, locked
from service import picture

from asi_image_async.errors import ConfigurationError
from asi_image_async.export import export_folder
from asi_image_async.folder import Tail, check_folder, is_picture_of
from asi_image_async.gallery import make_gallery


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0.jpg").write_bytes(picture())
    return tmp_path


def add(folder: Path, *lines: bytes) -> None:
    with open(folder / "metadata.jsonl", "ab") as file:
        file.writelines(lines)


def prompts(tail: Tail) -> list[str]:
    return [line["prompt"] for line in tail]


def test_it_gives_what_is_new_and_no_line_before_its_end(folder: Path) -> None:
    tail = Tail(folder)
    assert prompts(tail) == []
    add(folder, b'{"file_name": "0.jpg", "prompt": "one"}\n', b'{"file_name": "0.jpg", "prompt": "half')
    assert prompts(tail) == ["one"]
    assert prompts(tail) == []
    add(folder, b' and half"}\n')
    assert prompts(tail) == ["half and half"]
    assert prompts(Tail(folder, tail.place)) == []


def test_it_begins_again_where_the_file_was_tidied_up(folder: Path) -> None:
    add(folder, *[b'{"file_name": "0.jpg", "prompt": "old"}\n'] * 3)
    tail = Tail(folder)
    assert prompts(tail) == ["old"] * 3
    (folder / "metadata.jsonl").write_bytes(b'{"file_name": "0.jpg", "prompt": "tidy"}\n')
    assert prompts(tail) == ["tidy"]


def test_a_file_that_was_tidied_up_and_has_grown_past_its_end_is_read_from_its_start(folder: Path) -> None:
    add(folder, b"torn\n", *[b'{"file_name": "0.jpg", "prompt": "old"}\n'] * 2)
    tail = Tail(folder)
    assert prompts(tail) == ["old"] * 2
    before = tail.place
    (folder / "new").write_bytes(b'{"file_name": "0.jpg", "prompt": "%b"}\n' % (b"long" * 20))
    (folder / "new").replace(folder / "metadata.jsonl")
    add(folder, b'{"file_name": "0.jpg", "prompt": "new"}\n')
    assert prompts(tail) == prompts(Tail(folder, before)) == ["long" * 20, "new"]
    assert prompts(tail) == []


@pytest.mark.parametrize("place", ["", "40", "x", "-1-1", "0-" + "9" * 5000, "9" * 5000, f"{2**66}-1", "٣-٣"])
def test_a_place_that_none_gave_is_the_start(folder: Path, place: str) -> None:
    add(folder, b'{"file_name": "0.jpg", "prompt": "one"}\n')
    assert prompts(Tail(folder, place)) == ["one"]


def test_lines_that_are_torn_of_no_picture_or_of_another_place_are_passed_over(folder: Path) -> None:
    (folder.parent / "secret.jpg").write_bytes(picture())
    (folder / ".hidden.jpg").write_bytes(picture())
    names = [
        "gone.jpg",
        "../secret.jpg",
        str(folder.parent / "secret.jpg"),
        ".hidden.jpg",
        "metadata.jsonl",
        "",
    ]
    add(folder, *(b'{"file_name": "%b", "prompt": ""}\n' % name.encode() for name in names))
    add(
        folder,
        b"[1]\n",
        b'{"file_name": 7}\n',
        b"\xff\n",
        b"\n",
        b'{"file_name": "0.jpg", "prompt": "good"}\n',
    )
    assert prompts(Tail(folder)) == ["good"]


def test_a_mark_of_bytes_before_the_first_line_and_no_end_of_the_last_are_an_editor_s(folder: Path) -> None:
    add(folder, b'\xef\xbb\xbf{"file_name": "0.jpg", "prompt": "one"}\n')
    add(folder, b'{"file_name": "0.jpg", "prompt": "two"}')
    tail = Tail(folder)
    assert prompts(tail) == ["one", "two"]
    add(folder, b'\n{"file_name": "0.jpg", "prompt": "three"}\n')
    assert prompts(tail) == ["three"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_a_file_that_was_saved_as_utf_16_is_refused(folder: Path, encoding: str) -> None:
    add(folder, '\ufeff{"file_name": "0.jpg", "prompt": "one"}\n'.encode(encoding))
    with pytest.raises(ConfigurationError, match="is UTF-16"):
        check_folder(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such file there")
def test_a_name_with_a_drive_is_of_another_place_on_windows(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "D:fox.jpg").write_bytes(picture())
    assert is_picture_of(folder, "D:fox.jpg")
    monkeypatch.setattr(sys, "platform", "win32")
    assert not is_picture_of(folder, "D:fox.jpg")
    assert is_picture_of(folder, "0.jpg")


def test_what_is_no_folder_of_a_batch_is_told(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="no folder of a batch"):
        check_folder(folder)
    add(folder)
    check_folder(folder)


def test_what_cannot_be_looked_into_is_told(folder: Path) -> None:
    add(folder)
    with locked(folder):
        with pytest.raises(ConfigurationError, match=r"cannot read .*metadata.jsonl: Permission denied"):
            check_folder(folder)
        assert prompts(Tail(folder)) == []
    with locked(folder / "metadata.jsonl"), pytest.raises(ConfigurationError, match="Permission denied"):
        check_folder(folder)


def test_a_name_that_is_too_long_is_told_by_who_is_asked_for_a_page_or_a_table() -> None:
    with pytest.raises(ConfigurationError, match="name too long"):
        make_gallery(TOO_LONG)
    with pytest.raises(ConfigurationError, match="name too long"):
        export_folder(TOO_LONG, "csv", "x.csv")
