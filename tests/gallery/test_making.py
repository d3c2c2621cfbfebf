"""A page is made of whatever a folder has, and thumbnails once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from service import picture

from asi_image_async.errors import ConfigurationError, SinkError
from asi_image_async.gallery import make_gallery
from asi_image_async.gallery.entries import find_filters, read_entries
from asi_image_async.gallery.thumbnails import make_thumbnails

from .conftest import Fill


def test_of_a_name_that_comes_again_the_last_line_counts(fill: Fill) -> None:
    folder = fill({"file_name": "a.jpg", "prompt": "first"}, {"file_name": "a.jpg", "prompt": "last"})
    entries = read_entries(folder)
    assert ([entry["prompt"] for entry in entries.pictures], entries.total) == (["last"], 1)


def test_what_the_page_writes_in_one_way_is_one_choice() -> None:
    values = [7, 7.0, 1e-05, True, 1, None]
    entries = [{"size": "s", "model": "m", "status": "done", "columns": {"v": value}} for value in values]
    assert find_filters(entries) == [{"name": "v", "own": False, "values": ["", 1, 1e-05, 7, "true"]}]


def test_a_column_of_many_values_is_no_filter() -> None:
    entries = [
        {"size": "s", "model": "m", "status": "done", "columns": {"no": n, "odd": n % 2}} for n in range(100)
    ]
    assert find_filters(entries) == [{"name": "odd", "own": False, "values": [0, 1]}]


def test_where_no_thumbnail_can_be_written_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture("PNG", (900, 600)))
    (tmp_path / "taken").write_text("a file")
    for place in (tmp_path / "taken", Path("/proc/self/small")):
        assert make_thumbnails(tmp_path, ["a.png"], place) == set()


def test_a_thumbnail_is_small_made_once_and_again_where_the_picture_is_another(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture("PNG", (900, 600)))
    made = make_thumbnails(tmp_path, ["a.png"], tmp_path / "small")
    assert made == {"a.png"}
    thumbnail = tmp_path / "small" / "a.png.jpg"
    with Image.open(thumbnail) as small:
        assert small.size == (320, 213)
    for newer in (10, -10):
        before = thumbnail.stat()
        make_thumbnails(tmp_path, ["a.png"], tmp_path / "small")
        assert thumbnail.stat().st_ino == before.st_ino
        os.utime(tmp_path / "a.png", (before.st_mtime + newer, before.st_mtime + newer))
        make_thumbnails(tmp_path, ["a.png"], tmp_path / "small")
        assert thumbnail.stat().st_ino != before.st_ino


def test_what_pillow_cannot_read_has_none_and_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff" + b"x" * 100)
    (tmp_path / "whole.jpg").write_bytes(picture())
    told: list[int] = []
    made = make_thumbnails(tmp_path, ["broken.jpg", "whole.jpg", "gone.jpg"], tmp_path / "small", told.append)
    assert made == {"whole.jpg"}
    assert told == [1, 2, 3]


def test_without_pillow_the_pictures_themselves_are_shown(fill: Fill) -> None:
    folder = fill({"prompt": "a fox"})
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "from asi_image_async.gallery import make_gallery; print(make_gallery(sys.argv[1]))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    assert "has_thumbnails=False" in said.stdout
    assert '"thumbnail"' not in (folder / "index.html").read_text(encoding="utf-8")


def test_what_is_no_folder_of_a_batch_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no metadata"):
        make_gallery(tmp_path)


def test_a_page_that_cannot_be_written_is_told(fill: Fill, tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="cannot write"):
        make_gallery(fill({}), tmp_path / "no folder" / "index.html")


def test_a_page_on_another_drive_has_the_whole_address_of_the_pictures(
    fill: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill({})

    def on_another_drive(*_: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", on_another_drive)
    page = make_gallery(folder, tmp_path / "page.html").path.read_text(encoding="utf-8")
    assert f'"pictures":"{folder.resolve().as_uri()}/"' in page


def test_a_line_that_nobody_here_wrote_does_no_harm(fill: Fill) -> None:
    folder = fill({"size": [1024, 1024], "model": {"name": "a"}}, {"prompt": "a fox"})
    with open(folder / "metadata.jsonl", "a", encoding="utf-8") as file:
        file.write('{"file_name": "%s.jpg", "prompt": "a name too long"}\n' % ("a" * 300))
    made = make_gallery(folder, None)
    assert made.path.exists()
    assert [entry["prompt"] for entry in read_entries(folder).pictures] == ["picture 0", "a fox"]
