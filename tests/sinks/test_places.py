"""What `open_sink` promises: the right sink for a destination, or a clear word that there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from asi_image_async import DiskSink, open_sink
from asi_image_async.errors import ConfigurationError


@pytest.mark.parametrize(
    ("destination", "directory"),
    [
        ("out", "out"),
        ("out/", "out"),
        ("a.b/out.d", "a.b/out.d"),
        ("/tmp/out", "/tmp/out"),
        (Path("out"), "out"),
        ("C:\\out", "C:\\out"),
        ("  out", "  out"),
        ("file:///tmp/out", "/tmp/out"),
        ("FILE:///tmp/out", "/tmp/out"),
        ("file:///tmp/two%20words", "/tmp/two words"),
        ("file://localhost/tmp/out", "/tmp/out"),
        ("pictures.png/", "pictures.png"),
        ("写真", "写真"),
    ],
)
def test_a_folder_is_a_folder(destination: str | Path, directory: str) -> None:
    sink = open_sink(destination)
    assert isinstance(sink, DiskSink)
    assert sink.directory == Path(directory)


def test_a_folder_that_is_there_is_one_whatever_its_name_ends_in(tmp_path: Path) -> None:
    (tmp_path / "shards.tar").mkdir()
    assert isinstance(open_sink(tmp_path / "shards.tar"), DiskSink)


@pytest.mark.parametrize(
    ("destination", "named"),
    [
        ("s3://bucket/prefix", "s3://"),
        ("gs://bucket", "gs://"),
        ("https://example.com/out", "https://"),
        ("shards/{00000..}.tar", ".tar file"),
        ("images.parquet", ".parquet file"),
        (f"{'a' * 300}.tar", ".tar file"),
        ("out/fox.PNG", ".png file"),
        ("", "empty"),
        ("  ", "empty"),
        ("file://", "empty"),
        ("file://elsewhere/out", "elsewhere"),
    ],
)
def test_what_no_sink_can_write_is_refused_by_name(destination: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as refused:
        open_sink(destination)
    assert "folder" in refused.value.hint


@pytest.mark.parametrize("destination", ["shards/{00000..}.tar", "images.parquet"])
def test_what_is_exported_is_told_how(destination: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        open_sink(destination)
    assert "asi-image export out/ PATH" in refused.value.hint


def test_asking_for_a_sink_makes_nothing_yet(tmp_path: Path) -> None:
    open_sink(tmp_path / "out")
    assert not (tmp_path / "out").exists()
