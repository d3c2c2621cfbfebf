"""One prompt becomes one picture in a file, whose path stands alone on standard output."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from service import picture

from asi_image_async import Generation, ImageRequest, models
from asi_image_async.cli.generate import _save_all
from asi_image_async.cli.speech import Voice
from asi_image_async.core.decode import to_image
from asi_image_async.emulator import Emulator, Fault
from asi_image_async.errors import SinkError

Run = Callable[..., Any]
quick = pytest.mark.asi_emulator(canned=20_000)


@pytest.fixture
def spare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where what cannot be written to its place is saved."""
    folder = tmp_path / "spare"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@quick
def test_the_name_comes_from_the_prompt_and_a_file_that_is_there_is_kept(
    asi_image: Run, asi_emulator: Emulator
) -> None:
    names = [asi_image("generate", "A tiny house, at ../night!").out for _ in range(3)]
    assert names == [f"a-tiny-house-at-night{n}.jpg\n" for n in ("", "-2", "-3")]
    assert len({Path(name.strip()).read_bytes() for name in names}) == 1


@quick
def test_a_chosen_name_is_kept_and_one_without_a_suffix_gets_the_right_one(
    asi_image: Run, asi_emulator: Emulator
) -> None:
    assert asi_image("generate", "fox", "-o", "fox").out == "fox.jpg\n"
    ended = asi_image("generate", "fox", "-o", "fox.jpeg")
    assert (ended.status, ended.out, ended.err) == (0, "fox.jpeg\n", ended.err)
    assert "note:" not in ended.err


@quick
def test_a_name_that_promises_another_kind_is_kept_and_the_truth_is_told(
    asi_image: Run, asi_emulator: Emulator
) -> None:
    ended = asi_image("generate", "fox", "-o", "fox.png")
    assert (ended.status, ended.out) == (0, "fox.png\n")
    assert "note: fox.png is a JPEG picture" in ended.err
    assert Path("fox.png").read_bytes().startswith(b"\xff\xd8")


@quick
def test_size_and_model_are_sent(asi_image: Run, asi_emulator: Emulator) -> None:
    asi_image("generate", "fox", "--size", "landscape", "--model", "asi1")
    assert asi_emulator.received[0].body == {"prompt": "fox", "size": "1792x1024", "model": "asi1"}


def test_emulate_needs_no_key(asi_image: Run) -> None:
    ended = asi_image("generate", "fox", "--size", "64x64", "--emulate")
    assert (ended.status, ended.out) == (0, "fox.jpg\n")
    assert "drawing by the emulator" in ended.err


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        pytest.param(Fault("error", status=400), 1, id="refused"),
        pytest.param(Fault("error", status=500), 1, id="server"),
        pytest.param(Fault("error", status=401), 3, id="key"),
        pytest.param(Fault("error", status=404), 3, id="endpoint"),
        pytest.param(Fault("error", status=402), 4, id="quota"),
        pytest.param(Fault("error", status=429, retry_after=4000), 4, id="long wait"),
        pytest.param(Fault("drop-after"), 1, id="unknown"),
    ],
)
def test_the_exit_status_says_how_it_went(
    asi_image: Run, request: pytest.FixtureRequest, fault: Fault, status: int
) -> None:
    request.node.add_marker(pytest.mark.asi_emulator(faults=[fault]))
    request.getfixturevalue("asi_emulator")
    ended = asi_image("generate", "fox", "--retries", 0)
    assert (ended.status, ended.out) == (status, "")
    assert ended.err.count("error:") == ended.err.count("hint:") == 1
    assert list(Path().iterdir()) == []


@pytest.mark.asi_emulator(latency=5.0)
def test_a_picture_that_may_have_been_billed_is_told(asi_image: Run, asi_emulator: Emulator) -> None:
    ended = asi_image("generate", "fox", "--timeout", 0.1)
    assert "no whole reply within 0.1 s" in ended.err
    assert "it may have been billed" in ended.err


@quick
@quick
def test_what_a_batch_has_left_is_not_overwritten(asi_image: Run, asi_emulator: Emulator) -> None:
    Path("p.txt").write_text("a fox\n")
    asi_image("batch", "p.txt", "--out", "out", "--no-gallery")
    [picture] = Path("out").glob("*.jpg")
    asked = asi_emulator.requests
    kept = ["metadata.jsonl", picture.name, picture.stem, ".asi-image/journal.sqlite"]
    for name in kept:
        ended = asi_image("generate", "fox", "-o", Path("out", name))
        assert (ended.status, "belongs to the batch" in ended.err) == (2, True)
    moved = Path("elsewhere.jpg")
    picture.rename(moved)
    picture.symlink_to(moved.absolute())
    assert asi_image("generate", "fox", "-o", picture).status == 2
    assert asi_emulator.requests == asked
    Path("latest.jpg").symlink_to(picture.absolute())  # which is replaced, not what it leads to
    for mine in ("out/mine.jpg", "latest.jpg"):
        assert asi_image("generate", "fox", "-o", mine).status == 0


@pytest.mark.parametrize("where", [("-o", "fox.jpg"), ()], ids=["a chosen place", "any"])
def test_a_picture_that_is_paid_for_is_saved_elsewhere_where_its_place_is_gone(
    asi_image: Run,
    asi_emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    spare: Path,
    where: tuple[str, ...],
) -> None:
    real, failed = models.write_durably, []

    def once_full(path: Path, data: bytes) -> None:
        if not failed:
            failed.append(path)
            raise OSError(28, "No space left on device")
        real(path, data)

    monkeypatch.setattr(models, "write_durably", once_full)
    ended = asi_image("generate", "fox", *where)
    assert ended.status == 3
    assert "No space left on device" in ended.err
    assert not list(tmp_path.glob("*.jpg"))
    saved = Path(ended.err.split("The picture is in ")[1].strip().removesuffix("."))
    assert saved.is_relative_to(spare)
    assert saved.read_bytes().startswith(b"\xff\xd8")


def test_of_several_pictures_each_that_cannot_be_written_is_saved_elsewhere(
    monkeypatch: pytest.MonkeyPatch, spare: Path
) -> None:
    real = models.write_durably

    def full_but_there(path: Path, data: bytes) -> None:
        if not path.is_relative_to(spare):
            raise OSError(28, "No space left on device")
        real(path, data)

    monkeypatch.setattr(models, "write_durably", full_but_there)
    request = ImageRequest(prompt="fox")
    images = tuple(to_image(picture(kind)) for kind in ("JPEG", "PNG"))
    with pytest.raises(SinkError) as raised:
        asyncio.run(_save_all(Voice(), Generation(request=request, images=images), request, "fox"))
    kept = sorted(path for path in spare.rglob("*") if path.is_file())
    assert {path.suffix for path in kept} == {".jpg", ".png"}
    assert all(str(path) in raised.value.hint for path in kept)


def test_a_name_that_is_too_long_for_the_second_of_two_pictures_loses_it_not(spare: Path) -> None:
    request = ImageRequest(prompt="fox")
    images = tuple(to_image(picture("JPEG")) for _ in range(2))
    with pytest.raises(SinkError, match="File name too long") as raised:
        asyncio.run(_save_all(Voice(), Generation(request=request, images=images), request, "a" * 250))
    (kept,) = spare.rglob("*.jpg")
    assert str(kept) in raised.value.hint


@quick
def test_a_folder_that_is_named_as_any_picture_is_in_nobodys_way(
    asi_image: Run, asi_emulator: Emulator
) -> None:
    Path("picture").mkdir()
    assert asi_image("generate", "fox").out == "fox.jpg\n"


@quick
@pytest.mark.usefixtures("spare")
def test_a_picture_that_is_there_but_may_not_survive_a_crash_is_left_there(
    asi_image: Run, asi_emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = models.write_durably

    def unsure(path: Path, data: bytes) -> None:
        real(path, data)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(models, "write_durably", unsure)
    ended = asi_image("generate", "fox")
    assert ended.status == 3
    (there,) = tmp_path.glob("*.jpg")
    assert there.read_bytes().startswith(b"\xff\xd8")
