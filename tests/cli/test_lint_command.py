"""`asi-image lint`, and `batch` with a template."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asi_image_async.emulator import Emulator

from .conftest import Run

GOOD = "A misty mountain valley at dawn with golden sunlight filtering through pine trees"


def test_it_tells_line_by_line_what_is_missing_and_sums_up(asi_image: Run) -> None:
    Path("list.csv").write_text(f"prompt,size\nbond,\n{GOOD},\nBond,\n", encoding="utf-8")
    ended = asi_image("lint", "list.csv")
    assert ended.status == 0
    assert "line 2: poor (0): bond" in ended.out
    assert "perspective: name a viewpoint" in ended.out
    assert "the same as line 2" in ended.out
    assert ended.out.endswith("3 prompts: 1 good, 0 fair, 2 poor, 1 the same\n")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (GOOD, 0),
        ("bond", 1),
        (f"{GOOD}\n{GOOD}", 1),
        (f"{GOOD}\n{GOOD} and snow", 1),
        (GOOD + " x" * 1000, 1),
    ],
    ids=["good", "poor", "the same", "nearly the same", "too long"],
)
def test_strict_is_for_ci(asi_image: Run, text: str, status: int) -> None:
    Path("list.txt").write_text(f"{text}\n", encoding="utf-8")
    assert asi_image("lint", "list.txt").status == 0
    assert asi_image("lint", "list.txt", "--strict").status == status


def test_json_has_every_prompt(asi_image: Run) -> None:
    Path("list.txt").write_text(f"bond\n{GOOD}\n", encoding="utf-8")
    found = asi_image("lint", "list.txt", "--json").json
    assert found["counts"] == {"prompts": 2, "poor": 1, "not clean": 1, "good": 1}
    assert [(each["line"], each["score"], each["verdict"]) for each in found["prompts"]] == [
        (1, 0, "poor"), (2, 75, "good"),
    ]  # fmt: skip


def test_what_is_no_prompt_file_is_told_as_batch_tells_it(asi_image: Run) -> None:
    ended = asi_image("lint", "nowhere.txt")
    assert (ended.status, ended.out) == (2, "")
    assert "there is no file nowhere.txt" in ended.err


@pytest.mark.asi_emulator(canned=2000)
def test_a_template_is_counted_before_anything_is_sent_and_then_drawn(
    asi_image: Run, asi_emulator: Emulator
) -> None:
    Path("subjects.txt").write_text("a fox\n\na ship, in a storm\n", encoding="utf-8")
    line = ("batch", "--template", "{style}: {subject}", "--set", "style=oil, ink,", "--set",
            "subject=@subjects.txt", "--out", "out")  # fmt: skip
    assert "prompts: 4" in asi_image(*line, "--dry-run").out
    assert asi_emulator.requests == 0
    assert asi_image(*line).status == 0
    lines = map(json.loads, Path("out/metadata.jsonl").read_text(encoding="utf-8").splitlines())
    assert {(each["prompt"], each["style"]) for each in lines} == {
        ("oil: a fox", "oil"), ("ink: a fox", "ink"),
        ("oil: a ship, in a storm", "oil"), ("ink: a ship, in a storm", "ink"),
    }  # fmt: skip
    assert asi_image(*line).status == 0
    assert asi_emulator.requests == 4


def test_values_in_a_file_are_its_lines_as_prompts_are(asi_image: Run) -> None:
    Path("subjects.txt").write_bytes("a fox\u2028at night\x0c\x85by day\r\na ship\r\n".encode())
    line = ("batch", "--template", "{subject}", "--set", "subject=@subjects.txt", "--out", "out", "--dry-run")
    assert "prompts: 2," in asi_image(*line, "--emulate").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "there are no prompts"),
        (("list.txt", "--template", "a"), "not from both"),
        (("list.txt", "--set", "a=b"), "--set needs a --template"),
        (("--template", "{a}", "--set", "a"), "sets nothing"),
        (("--template", "{a}", "--set", "a="), "has no values"),
        (("--template", "{a}", "--set", "a=1", "--set", "a=2"), "a name twice"),
        (("--template", "{a}", "--set", "a=@nowhere"), "cannot read nowhere"),
        (("--template", "{a}"), "{a} has no values"),
    ],
)
def test_a_wrong_line_is_told_with_what_to_do(asi_image: Run, arguments: tuple[str, ...], words: str) -> None:
    Path("list.txt").write_text("a fox\n", encoding="utf-8")
    ended = asi_image("batch", *arguments, "--out", "out", "--emulate")
    assert ended.status == 2
    assert words in ended.err
    assert "hint:" in ended.err
    assert not Path("out").exists()
