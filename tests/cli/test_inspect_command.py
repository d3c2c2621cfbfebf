"""`asi-image inspect` prints what a picture was asked for with, wherever the batch has kept it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from service import JPEG

from asi_image_async.core.recipe import embed

from .conftest import Run


@pytest.fixture(params=["sidecar", "embed"])
def fox(request: pytest.FixtureRequest, asi_image: Run, tmp_path: Path) -> Path:
    """A picture of a batch, with its recipe."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "a red fox\\n\\u001b[31m", "size": "256x256", "seed": 7, "mine": "x"}\n')
    ended = asi_image("batch", prompts, "--out", "out", "--emulate", "--recipe", request.param)
    assert ended.status == 0, ended.err
    (picture,) = Path("out").glob("*.jpg")
    assert picture.with_name(f"{picture.name}.json").exists() == (request.param == "sidecar")
    return picture


def test_it_prints_the_request_line_by_line(fox: Path, asi_image: Run) -> None:
    ended = asi_image("inspect", fox)
    assert ended.status == 0
    assert [line.strip() for line in ended.out.splitlines()] == [
        "prompt: a red fox\\n\\x1b[31m",
        "model: asi1-mini",
        "size: 256x256",
        "seed: 7",
    ]


def test_as_json_it_is_a_line_that_batch_takes(fox: Path, asi_image: Run, tmp_path: Path) -> None:
    ended = asi_image("inspect", fox, "--json")
    assert json.loads(ended.out) == {
        "prompt": "a red fox\n\x1b[31m", "model": "asi1-mini", "size": "256x256", "seed": 7,
    }  # fmt: skip
    again = tmp_path / "again.jsonl"
    again.write_text(ended.out)
    ended = asi_image("batch", again, "--out", "out", "--emulate", "--dry-run", "--json")
    assert json.loads(ended.out)["done"] == 1


def test_a_picture_without_one_says_how_to_have_it(asi_image: Run, prompts: Path) -> None:
    asi_image("batch", prompts, "--out", "out", "--emulate", "--limit", "1")
    (picture,) = Path("out").glob("*.jpg")
    ended = asi_image("inspect", picture)
    assert (ended.status, ended.out) == (1, "")
    assert "no recipe" in ended.err
    assert "--recipe" in ended.err


@pytest.mark.parametrize("file", ["none.jpg", ".", "a\0b", "/dev/zero"])
def test_what_is_no_file_is_named(file: str, asi_image: Run) -> None:
    ended = asi_image("inspect", file)
    assert ended.status == 2
    assert "cannot read" in ended.err


def test_a_sidecar_that_is_no_recipe_is_none(asi_image: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    for text in ("", "[1]", "{", "{}", '{"prompt": NaN}', '{"prompt": "x", "n": 1e999}', "[" * 100_000):
        (tmp_path / "a.jpg.json").write_text(text)
        assert asi_image("inspect", "a.jpg").status == 1


def test_a_place_that_is_none_is_told_before_anything_is_asked(asi_image: Run, prompts: Path) -> None:
    ended = asi_image("batch", prompts, "--out", "out", "--emulate", "--recipe", "inside")
    assert ended.status == 2
    assert "none, sidecar, embed" in ended.err
    assert not Path("out").exists()


def test_what_is_no_recipe_in_a_picture_hides_none_beside_it(asi_image: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(embed(JPEG, "not JSON") or b"")
    (tmp_path / "a.jpg.json").write_text(json.dumps({"prompt": "a fox", "\x1b[31m" + "k" * 3000: 1}))
    ended = asi_image("inspect", "a.jpg")
    assert ended.status == 0
    first, second = ended.out.splitlines()
    assert first.strip() == "prompt: a fox"
    assert len(second) < 40
    assert "\x1b" not in ended.out
