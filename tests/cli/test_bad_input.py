"""Bad input gets a clear line and exit 2, before anything is sent, and never a traceback."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from locked import TOO_LONG, locked

from asi_image_async.cli.destination import Destination
from asi_image_async.emulator import Emulator
from asi_image_async.errors import ConfigurationError
from asi_image_async.locks import alone

Run = Callable[..., Any]
KEY = "sk_test_0123456789abcdef"


@pytest.fixture(autouse=True)
def _a_key(asi_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("ASI_ONE_API_KEY", KEY)
    yield
    assert asi_emulator.requests == 0


def refused(ended: Any, *words: str) -> None:
    assert ended.status == 2, ended.err
    assert ended.out == ""
    assert "error:" in ended.err.lower()
    assert "Traceback" not in ended.err
    assert KEY not in ended.err
    for word in words:
        assert word in ended.err


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.txt", None, ["there is no file"]),
        ("empty.txt", b"", ["empty.txt", "no prompts"]),
        ("latin.txt", "ein F\u00fcchslein".encode("latin-1"), ["latin.txt, line 1", "UTF-8"]),
        ("broken.jsonl", b'{"prompt": "a"}\n{"prompt": \n', ["broken.jsonl, line 2", "not JSON"]),
        ("columns.csv", b"text,id\na,1\n", ["columns.csv, line 1", "no column is called prompt"]),
        ("size.jsonl", b'{"prompt": "a", "size": "big"}\n', ["size.jsonl, line 1", "not a size"]),
    ],
)
def test_a_prompt_file_that_is_none(
    asi_image: Run, name: str, content: bytes | None, words: list[str]
) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    refused(asi_image("batch", name, "--out", "out"), *words)
    assert not Path("out").exists()


def test_every_wrong_line_is_told_on_a_line_of_its_own(asi_image: Run) -> None:
    Path("p.jsonl").write_text("{\n[]\n")
    ended = asi_image("batch", "p.jsonl", "--out", "out")
    refused(ended, "p.jsonl, line 1")
    assert "\np.jsonl, line 2" in ended.err


def test_a_prompt_file_that_is_a_directory(asi_image: Run, tmp_path: Path) -> None:
    refused(asi_image("batch", tmp_path, "--out", "out"), "is a folder")


def test_a_destination_that_is_a_file(asi_image: Run, prompts: Path) -> None:
    Path("out").write_text("mine")
    refused(asi_image("batch", prompts, "--out", "out"), "it is a file")
    refused(asi_image("batch", prompts, "--out", "out", "--dry-run"), "it is a file")
    assert Path("out").read_text() == "mine"


def test_a_destination_below_a_file(asi_image: Run, prompts: Path) -> None:
    Path("file").write_text("mine")
    refused(asi_image("batch", prompts, "--out", "file/out"), "cannot write to file/out")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc, which not even root can write to")
def test_a_destination_that_cannot_be_written(asi_image: Run, prompts: Path) -> None:
    refused(asi_image("batch", prompts, "--out", "/proc/self/out"), "cannot write to /proc/self/out")


@pytest.mark.parametrize(
    "line",
    [
        ("batch", "prompts.txt", "--out", TOO_LONG),
        ("batch", "prompts.txt", "--out", TOO_LONG, "--dry-run"),
        ("batch", "prompts.txt", "--out", f"{TOO_LONG}.tar"),
        ("status", TOO_LONG),
        ("gallery", TOO_LONG),
        ("gallery", TOO_LONG, "--watch"),
        ("export", TOO_LONG, "x.csv", "--to", "csv"),
        ("generate", "a fox", "-o", f"{TOO_LONG}/fox"),
    ],
    ids=lambda line: " ".join(line).replace(TOO_LONG, "long"),
)
@pytest.mark.usefixtures("prompts")
def test_a_name_that_is_too_long_is_no_bug(asi_image: Run, line: tuple[str, ...]) -> None:
    refused(asi_image(*line), "hint: ")


def test_a_destination_that_nobody_may_look_into() -> None:
    Path("out/.asi-image").mkdir(parents=True)
    with locked(Path("out")), pytest.raises(ConfigurationError, match="cannot look into out: Permission"):
        Destination("out", emulate=False).check()


def test_a_destination_that_no_sink_knows(asi_image: Run, prompts: Path) -> None:
    refused(asi_image("batch", prompts, "--out", "gopher://out"), "no sink for gopher://")


def test_no_key(asi_image: Run, prompts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASI_ONE_API_KEY")
    refused(asi_image("batch", prompts, "--out", "out"), "no API key", "ASI_ONE_API_KEY")
    assert not Path("out").exists()
    refused(asi_image("generate", "a fox"), "ASI_ONE_API_KEY")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rate", "fast"], ["'fast' is not a rate", "3/min"]),
        (["--rate", "0/min"], ["rate"]),
        (["--concurrency", "0"], ["--concurrency"]),
        (["--concurrency", "-1"], ["--concurrency"]),
        (["--retries", "-1"], ["--retries"]),
        (["--timeout", "0"], ["timeout"]),
        (["--timeout", "nan"], ["timeout"]),
        (["--limit", "0"], ["--limit"]),
        (["--size", "huge"], ["'huge' is not a size"]),
        (["--base-url", "api.asi1.ai/v1"], ["not a base URL", "https://"]),
        (["--emulate", "--base-url", "http://x/v1"], ["exclude each other"]),
        (["--colour"], ["--colour"]),
        (["--rate", "none", "--rate", "3/min"], ["stand alone"]),
    ],
)
def test_an_option_that_cannot_be_meant(
    asi_image: Run, prompts: Path, options: list[str], words: list[str]
) -> None:
    refused(asi_image("batch", prompts, "--out", "out", *options), *words)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("given", "hint"),
    [("", "unset variable"), ("a red fox", "asi-image generate"), ("foxes", "Check the path")],
)
def test_what_is_no_prompt_file(asi_image: Run, given: str, hint: str) -> None:
    refused(asi_image("batch", given, "--out", "out"), hint)


@pytest.mark.parametrize(
    "line",
    [
        ["status", ""],
        ["gallery", ""],
        ["export", "", "x.csv", "--to", "csv"],
        ["export", "out", "", "--to", "webdataset"],
    ],
    ids=" ".join,
)
def test_a_folder_that_is_named_by_an_unset_variable_is_not_this_one(asi_image: Run, line: list[str]) -> None:
    refused(asi_image(*line), "unset variable")


def test_a_tilde_that_no_shell_has_seen_to_makes_no_folder_of_that_name(
    asi_image: Run, prompts: Path
) -> None:
    refused(asi_image("batch", prompts, "--out=~/out"), "the ~ of ~/out/", "--out ~/out")
    assert not Path("~").exists()


def test_values_of_a_template_that_are_no_text(asi_image: Run) -> None:
    Path("styles.txt").write_text("oil\nink\n", encoding="utf-16-le")
    given = ("--template", "a {style} fox", "--set", "style=@styles.txt")
    refused(asi_image("batch", *given, "--out", "out"), "cannot read styles.txt: it is not UTF-8 text")


def test_options_of_a_gallery_that_do_nothing_together(asi_image: Run) -> None:
    refused(asi_image("gallery", "out", "--watch", "-o", "page.html"), "--watch writes no file")
    refused(asi_image("gallery", "out", "--port", 8080), "--port needs --watch")


def test_a_journal_that_another_run_holds(asi_image: Run, prompts: Path) -> None:
    Path("out/.asi-image").mkdir(parents=True)
    with open("out/.asi-image/journal.sqlite.lock", "wb") as file, alone(file):
        refused(asi_image("batch", prompts, "--out", "out"), "another run holds")


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_a_journal_that_is_damaged_is_never_overwritten(
    asi_image: Run, prompts: Path, options: list[str]
) -> None:
    journal = Path("out/.asi-image/journal.sqlite")
    journal.parent.mkdir(parents=True)
    journal.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    before = journal.read_bytes()
    refused(asi_image("batch", prompts, "--out", "out", *options), "damaged")
    refused(asi_image("status", "out"), "damaged")
    assert journal.read_bytes() == before


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("missing/fox.jpg", ["cannot write into", "missing", "hint: Make the folder, or name another file"]),
        (".", ["is a folder"]),
        ("new/", ["is a folder"]),
        ("/dev/null", ["not a plain file"]),
        ("-", ["name of a file"]),
        (TOO_LONG, ["File name too long"]),
        ("a" * 253, ["File name too long"]),  # with the suffix that it gets
        (f"{'a' * 252}.jpg", ["File name too long"]),
    ],
)
def test_a_file_that_generate_could_not_write_is_refused_before_it_is_paid_for(
    asi_image: Run, output: str, words: list[str]
) -> None:
    refused(asi_image("generate", "a fox", "-o", output), *words)


def test_a_prompt_that_says_nothing(asi_image: Run) -> None:
    refused(asi_image("generate", "  "), "prompt is empty")


def test_what_nobody_foresaw_is_one_line_and_no_traceback(
    asi_image: Run, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asi_image_async.cli import batch

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(batch, "find_requests", broken)
    ended = asi_image("batch", prompts, "--out", "out")
    assert ended.status == 1
    assert "unexpected error: RuntimeError: boom" in ended.err
    assert "Traceback" not in ended.err
