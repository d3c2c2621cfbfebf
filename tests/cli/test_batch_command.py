"""A prompt file becomes a folder of pictures, and the same line again asks for nothing twice."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from asi_image_async import models
from asi_image_async.core.decode import to_image
from asi_image_async.core.wire import Reply, read_reply
from asi_image_async.emulator import Emulator, Fault
from asi_image_async.errors import InvalidResponseError
from asi_image_async.runtime.journal.summary import read_summary
from asi_image_async.sinks.disk import sink

Run = Callable[..., Any]
quick = pytest.mark.asi_emulator(canned=20_000)


def full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.fixture
def _full_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room for no picture, but for what is temporary in `tmp_path`."""
    monkeypatch.setattr(sink, "Draft", full)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


full_folder = pytest.mark.usefixtures("_full_folder")


@quick
def test_a_disk_that_is_still_full_is_told_as_in_mid_run(
    asi_image: Run, asi_emulator: Emulator, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "Metadata", full)
    ended = asi_image("batch", prompts, "--out", "out")
    assert (ended.status, "No space left on device" in ended.err) == (3, True)
    assert asi_emulator.requests == 0


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pictures(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jpg"))


@quick
def test_the_same_line_again_sends_no_request_and_exits_0(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    first = asi_image("batch", prompts, "--out", "out")
    assert first.status == 0, first.err
    assert "3 pictures in out/, 0 failed" in first.err
    assert asi_emulator.requests == len(pictures(Path("out"))) == 3

    again = asi_image("batch", prompts, "--out", "out")
    assert again.status == 0
    assert "3 pictures in out/ (0 new, 3 from an earlier run), 0 failed" in again.err
    assert asi_emulator.requests == 3


@quick
def test_a_folder_may_be_named_like_a_picture(asi_image: Run, asi_emulator: Emulator, prompts: Path) -> None:
    ended = asi_image("batch", prompts, "--out", "holiday.png/")
    assert ended.status == 0, ended.err
    assert len(pictures(Path("holiday.png"))) == 3


@quick
def test_a_list_that_grew_is_asked_for_what_is_new(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    asi_image("batch", prompts, "--out", "out")
    prompts.write_text("a green frog\n" + prompts.read_text())
    again = asi_image("batch", prompts, "--out", "out", "--json")
    assert (again.json["succeeded"], again.json["skipped"]) == (1, 3)
    assert asi_emulator.requests == 4


@quick
def test_prompts_come_from_standard_input_too(asi_image: Run, asi_emulator: Emulator) -> None:
    ended = asi_image("batch", "-", "--out", "out", stdin="one\ntwo\n")
    assert ended.status == 0, ended.err
    assert "2 pictures into out/, at most 8 at once, read as a prompt a line\n" in ended.err
    assert len(pictures(Path("out"))) == 2


@quick
@pytest.mark.parametrize(("rate", "words"), [("none", ", no rate limit\n"), ("auto", " at once\n")])
def test_a_rate_is_none_or_learnt_where_that_is_said(
    asi_image: Run, asi_emulator: Emulator, prompts: Path, rate: str, words: str
) -> None:
    ended = asi_image("batch", prompts, "--out", "out", "--rate", rate)
    assert ended.status == 0, ended.err
    assert words in ended.err


@quick
def test_limit_takes_the_first_prompts_of_the_file(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    assert asi_image("batch", prompts, "--out", "out", "--limit", 1, "--json").json["total"] == 1
    assert asi_image("batch", prompts, "--out", "out", "--limit", 9, "--json").json["skipped"] == 1
    assert asi_emulator.billed == 3


@quick
def test_size_and_model_are_what_the_file_does_not_say(asi_image: Run, asi_emulator: Emulator) -> None:
    Path("p.jsonl").write_text('{"prompt": "a", "size": "512x512"}\n{"prompt": "b"}\n')
    asi_image("batch", "p.jsonl", "--out", "out", "--size", "portrait", "--model", "asi1")
    bodies = {received.body["prompt"]: received.body for received in asi_emulator.received}
    assert bodies["a"] | bodies["b"] == {"prompt": "b", "size": "1024x1792", "model": "asi1"}
    assert bodies["a"]["size"] == "512x512"


@quick
def test_a_file_that_takes_long_to_check_is_said_to_be_checked(
    asi_image: Run, asi_emulator: Emulator, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "checking" not in asi_image("batch", prompts, "--out", "out").err
    monkeypatch.setattr("asi_image_async.cli.batch._LARGE", 10)
    assert asi_image("batch", prompts, "--out", "out").err.startswith("checking ")
    assert "checking" not in asi_image("batch", prompts, "--out", "out", "--quiet").err


@quick
def test_json_is_the_report_and_nothing_else_on_standard_output(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    report = asi_image("batch", prompts, "--out", "out", "--json").json
    for name in ("elapsed", "bytes_received", "latency_p50", "latency_p95", "latency_p99"):
        assert report.pop(name) > 0
    assert report.pop("waited") >= 0
    assert report == {
        "ok": True,
        "total": 3,
        "succeeded": 3,
        "failed": 0,
        "unknown": 0,
        "skipped": 0,
        "requests": 3,
        "retries": 0,
        "retries_by_reason": {},
        "billed_at_least": 3,
        "billed_at_most": 3,
        "left_out": 0,
        "throttled": 0,
        "bytes_written": 60_000,
        "interrupted": False,
        "stopped_by": None,
        "failures": [],
        "missing": 0,
        "spare": None,
    }


@quick
def test_a_picture_that_could_not_be_had_is_told_with_its_reason(
    asi_image: Run, asi_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = itertools.cycle([to_image, None])

    def every_other(data: bytes) -> models.Image:
        if (known := next(kinds)) is None:
            raise InvalidResponseError("its link is\x1b gone", maybe_billed=True)
        return known(data)

    def twice(*incoming: Any) -> Reply:
        reply = read_reply(*incoming)
        return reply._replace(pictures=2 * reply.pictures)

    monkeypatch.setattr("asi_image_async.exchange.read_reply", twice)
    monkeypatch.setattr("asi_image_async.exchange.to_image", every_other)
    Path("p.txt").write_text("a fox")
    ended = asi_image("batch", "p.txt", "--out", "out", "--json", "--quiet")
    report = ended.json
    assert (report["succeeded"], report["left_out"]) == (1, 1)
    assert (report["billed_at_least"], report["billed_at_most"]) == (1, 2)
    assert r"warning: one of 2 pictures of a reply is left out: its link is\x1b gone" in ended.err
    assert read_summary(Path("out/.asi-image/journal.sqlite")).spent == 2


@pytest.mark.asi_emulator(faults=[Fault("error", prompt="whale", status=400, message="no \x1b[31mwhales")])
def test_a_failure_is_told_with_its_reason_and_what_to_do(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    ended = asi_image("batch", prompts, "--out", "out")
    assert ended.status == 1
    assert "2 pictures in out/, 1 failed" in ended.err
    assert r'failed: prompt 2 "a blue whale": 400: no \x1b[31mwhales' in ended.err
    assert "\x1b" not in ended.err
    assert ended.err.count("hint: Change the prompt") == 1
    assert "run the same line again" not in ended.err  # it would fail again

    (failure,) = asi_image("batch", prompts, "--out", "out", "--json").json["failures"]
    assert (failure["index"], failure["prompt"]) == (1, "a blue whale")
    error = failure["error"]
    assert (error["type"], error["maybe_billed"]) == ("BadRequestError", False)
    assert error["message"].startswith("400: no")
    assert error["hint"]


@pytest.mark.asi_emulator(faults=[Fault("error", prompt="whale", status=500)])
def test_after_a_failure_that_may_not_come_again_the_same_line_is_advised(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    ended = asi_image("batch", prompts, "--out", "out", "--retries", 0)
    assert "run the same line again to ask for what is missing" in ended.err


@pytest.mark.asi_emulator(faults=[Fault("drop-after", prompt="whale")], canned=20_000)
def test_what_may_have_been_billed_is_said_and_can_be_left_out(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    ended = asi_image("batch", prompts, "--out", "out")
    assert ended.status == 1
    assert "1 unknown" in ended.err
    assert "1 may have been billed without a picture" in ended.err
    assert asi_emulator.requests == 3

    ended = asi_image("batch", prompts, "--out", "out", "--no-resend-unknown")
    assert "Without --no-resend-unknown the same line asks for them again" in ended.err
    assert "to ask for what is missing" not in ended.err
    left_out = asi_image("batch", prompts, "--out", "out", "--no-resend-unknown", "--json")
    assert (left_out.status, left_out.json["requests"], left_out.json["unknown"]) == (1, 0, 1)
    asked_again = asi_image("batch", prompts, "--out", "out", "--json")
    assert asked_again.json["requests"] == 1


@pytest.mark.asi_emulator(api_key="sk_another")
def test_a_refused_key_stops_the_run_with_3_and_is_named(
    asi_image: Run, asi_emulator: Emulator, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASI_ONE_API_KEY", "sk_secret_of_mine")
    ended = asi_image("batch", prompts, "--out", "out", "--concurrency", 1, "--json")
    assert ended.status == 3
    assert ended.json["stopped_by"]["type"] == "AuthenticationError"
    assert "stopped: 401: failed to authenticate user" in ended.err
    assert "hint: Check the key" in ended.err
    assert "sk_secret_of_mine" not in ended.err + ended.out
    assert asi_emulator.requests == 1


def test_an_unknown_endpoint_stops_the_run_with_3(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    elsewhere = asi_emulator.base_url.replace("/v1", "/v9")
    ended = asi_image("batch", prompts, "--out", "out", "--base-url", elsewhere)
    assert ended.status == 3
    assert "stopped: 404" in ended.err


@full_folder
def test_a_folder_that_breaks_in_mid_run_ends_it_with_3(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    ended = asi_image("batch", prompts, "--out", "out", "--concurrency", 1)
    assert ended.status == 3
    assert "No space left on device" in ended.err
    assert "Make room on the disk" in ended.err
    assert "1 was bought and could not be stored: it is in " in ended.err
    assert "; the same line buys it again" in ended.err
    told = asi_image("batch", prompts, "--out", "out", "--concurrency", 1, "--json").json
    (failure,) = told["failures"]
    assert (failure["error"]["type"], failure["error"]["maybe_billed"]) == ("SinkError", True)
    (kept,) = Path(told["spare"]).iterdir()
    assert kept.name.startswith("a-red-fox-")
    Image.open(kept).load()


@pytest.mark.asi_emulator(faults=[Fault("error", prompt="refused", status=400)], canned=20_000)
@full_folder
def test_what_was_bought_is_kept_elsewhere_however_many_were_refused_before(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    prompts.write_text("".join(f"refused {number}\n" for number in range(105)) + "good\n")
    told = asi_image("batch", prompts, "--out", "out", "--json").json
    assert told["billed_at_least"] == len(list(Path(told["spare"]).iterdir())) == 1


@quick
@full_folder
def test_ctrl_c_while_pictures_are_kept_elsewhere_loses_none(
    asi_image: Run, asi_emulator: Emulator, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = models.write_durably

    def slow(path: Path, data: bytes) -> None:
        if not list(path.parent.iterdir()):  # the first of them
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
        real(path, data)

    monkeypatch.setattr(models, "write_durably", slow)
    ended = asi_image("batch", prompts, "--out", "out", "--json")
    assert ended.status == 130
    assert len(list(Path(ended.json["spare"]).iterdir())) == asi_emulator.billed >= 2
    assert "were bought and could not be stored" in ended.err


@pytest.mark.skipif(sys.platform != "linux", reason="only there is a file's name any bytes")
@quick
def test_files_of_others_may_have_names_that_are_no_text(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    Path("out").mkdir()
    Path(os.fsdecode(b"out/caf\xe9.txt")).touch()
    ended = asi_image("batch", prompts, "--out", "out")
    assert (ended.status, "3 pictures in out/" in ended.err) == (0, True)
    assert asi_image("status", "out").status == 0


@quick
@full_folder
def test_what_has_no_room_anywhere_is_told_as_lost(
    asi_image: Run, asi_emulator: Emulator, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "write_durably", full)
    ended = asi_image("batch", prompts, "--out", "out", "--concurrency", 1)
    assert ended.status == 3
    assert "could not be stored: there was no room elsewhere either; the same line buys it again" in ended.err


@pytest.mark.asi_emulator(quota=1, quota_status=402, canned=20_000)
def test_a_spent_quota_ends_the_run_with_4(asi_image: Run, asi_emulator: Emulator, prompts: Path) -> None:
    ended = asi_image("batch", prompts, "--out", "out", "--concurrency", 1)
    assert ended.status == 4
    assert "1 picture in out/" in ended.err
    assert "2 are left" in ended.err


@pytest.mark.asi_emulator(faults=[Fault("error", status=429, retry_after=4000)])
def test_a_long_wait_asked_for_by_the_service_ends_the_run_with_4(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    assert asi_image("batch", prompts, "--out", "out").status == 4


@pytest.mark.asi_emulator(faults=[Fault("error", prompt="whale", status=400)], canned=20_000)
def test_fail_fast_stops_at_the_first_failure_with_1(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    ended = asi_image("batch", prompts, "--out", "out", "--concurrency", 1, "--fail-fast")
    assert ended.status == 1
    assert "1 is left" in ended.err
    assert asi_emulator.requests == 2


@pytest.mark.asi_emulator(faults=[Fault("garbage")])
def test_replies_that_nobody_can_read_stop_the_run_with_3(
    asi_image: Run, asi_emulator: Emulator, tmp_path: Path
) -> None:
    (tmp_path / "many.txt").write_text("\n".join(f"fox {number}" for number in range(20)))
    ended = asi_image("batch", tmp_path / "many.txt", "--out", "out", "--concurrency", 1)
    assert (ended.status, asi_emulator.requests) == (3, 3)


@pytest.mark.asi_emulator(faults=[Fault("error", status=500)])
def test_retries_counts_the_tries_after_the_first(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    assert asi_image("batch", prompts, "--out", "out", "--limit", 1, "--retries", 0).status == 1
    assert asi_emulator.requests == 1
    assert asi_image("batch", prompts, "--out", "out", "--limit", 1, "--retries", 1).status == 1
    assert asi_emulator.requests == 3


@quick
def test_quiet_says_nothing_where_all_went_well(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    ended = asi_image("batch", prompts, "--out", "out", "--quiet")
    assert (ended.status, ended.out, ended.err) == (0, "", "")


def test_emulate_needs_no_key_and_says_that_these_are_drawings(asi_image: Run, prompts: Path) -> None:
    ended = asi_image("batch", prompts, "--out", "out", "--size", "64x64", "--emulate")
    assert ended.status == 0, ended.err
    assert "drawings by the emulator" in ended.err
    assert len(pictures(Path("out"))) == 3


@quick
def test_drawings_and_pictures_of_the_service_never_mix(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    asi_image("batch", prompts, "--out", "drawn", "--size", "64x64", "--emulate")
    asi_image("batch", prompts, "--out", "bought", "--size", "64x64")
    before = files(Path("bought")) | files(Path("drawn"))

    ended = asi_image("batch", prompts, "--out", "bought", "--size", "64x64", "--emulate")
    assert (ended.status, "would mix drawings" in ended.err) == (2, True)
    ended = asi_image("batch", prompts, "--out", "drawn", "--size", "64x64")
    assert (ended.status, "holds drawings of the emulator" in ended.err) == (2, True)
    assert files(Path("bought")) | files(Path("drawn")) == before


@quick
def test_a_folder_that_a_program_has_filled_is_not_drawn_into(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    asi_image("batch", prompts, "--out", "bought", "--size", "64x64")
    Path("bought/.asi-image/journal.sqlite").rename(
        "elsewhere.sqlite"
    )  # where a program may have its journal
    before = files(Path("bought"))
    ended = asi_image("batch", prompts, "--out", "bought", "--size", "64x64", "--emulate")
    assert (ended.status, "would mix drawings" in ended.err) == (2, True)
    assert files(Path("bought")) == before


@quick
@pytest.mark.parametrize("lost", [Path.unlink, lambda journal: journal.write_bytes(b"")])
def test_where_the_journal_is_lost_it_says_that_pictures_are_paid_for_again(
    asi_image: Run,
    asi_emulator: Emulator,
    prompts: Path,
    lost: Callable[[Path], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = ("batch", prompts, "--out", "out", "--size", "64x64")
    assert "paid for again" not in asi_image(*line).err
    assert "paid for again" not in asi_image(*line, "--dry-run").err
    lost(Path("out/.asi-image/journal.sqlite"))
    with monkeypatch.context() as wrong:
        wrong.setenv("ASI_ONE_API_KEY", "sk_not_the_one")
        assert asi_image(*line).status == 3  # and nothing is bought
    assert "warning: out/ has pictures and no journal" in asi_image(*line, "--dry-run").err
    assert "warning: out/ has pictures and no journal" in asi_image(*line, "--quiet").err
    assert "paid for again" not in asi_image(*line).err


@quick
def test_a_dry_run_says_what_would_be_asked_and_sends_and_writes_nothing(
    asi_image: Run, asi_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("p.csv").write_text("prompt,size,seed,colour\na,512x512,7,red\nb,,,\nb,,,\nc,,,\n")
    asi_image("batch", "p.csv", "--out", "out", "--limit", 2, "--rate", "100/h")
    monkeypatch.delenv("ASI_ONE_API_KEY")
    before, sent = files(Path("out")), asi_emulator.requests

    ended = asi_image("batch", "p.csv", "--out", "out", "--dry-run", "--rate", "1/min")
    assert ended.status == 0, ended.err
    assert "4, of which 2 are done already" in ended.out
    assert "read as: a table, cells parted by commas\n" in ended.out
    assert "would ask for: 2\n" in ended.out
    assert "columns sent: seed\n" in ended.out
    assert "columns kept: colour\n" in ended.out
    assert "sizes: 1024x1024 (3), 512x512 (1)" in ended.out
    # What was sent for the two before is some moments old.
    assert re.search("(2 min|1 min 5[0-9] s) until the last one is asked for, at 1/min", ended.out)
    assert files(Path("out")) == before
    assert asi_emulator.requests == sent

    plan = asi_image("batch", "p.csv", "--out", "out", "--rate", "1/h", "--dry-run", "--json").json
    assert 7100 < plan["seconds_at_least"] <= 7200  # two are left, and one has just been sent

    plan = asi_image("batch", "p.csv", "--out", "new", "--dry-run", "--json").json
    assert (plan["prompts"], plan["done"], plan["to_ask"]) == (4, 0, 4)
    assert not Path("new").exists()


@quick
def test_a_dry_run_counts_exactly_after_the_list_was_edited(asi_image: Run, asi_emulator: Emulator) -> None:
    Path("p.txt").write_text("a\nb\nc\n")
    asi_image("batch", "p.txt", "--out", "out")
    Path("p.txt").write_text("c\nc\nd\n")
    plan = asi_image("batch", "p.txt", "--out", "out", "--dry-run", "--json").json
    assert (plan["done"], plan["to_ask"]) == (1, 2)


@pytest.mark.asi_emulator(
    faults=[
        Fault("error", prompt="whale", status=400, message="no whales"),
        Fault("drop-after", prompt="squid"),
    ],
    canned=20_000,
)
def test_status_tells_what_is_done_failed_and_left_and_why(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    prompts.write_text("a whale\nanother whale\na squid\na fox\n")
    asi_image("batch", prompts, "--out", "out")
    ended = asi_image("status", "out")
    assert ended.status == 1
    assert ended.out.startswith("1 done, 2 failed, 1 unknown")
    assert "2 failed: 400: no whales (such as: a" in ended.out

    found = asi_image("status", "out", "--json").json
    assert {name: found[name] for name in ("total", "done", "failed", "unknown", "left")} == {
        "total": 4,
        "done": 1,
        "failed": 2,
        "unknown": 1,
        "left": 0,
    }
    assert found["reasons"][0]["count"] == 2


@quick
def test_status_exits_0_when_all_is_done_and_2_where_there_is_no_journal(
    asi_image: Run, asi_emulator: Emulator, prompts: Path, tmp_path: Path
) -> None:
    asi_image("batch", prompts, "--out", "out")
    assert asi_image("status", "out").status == 0
    ended = asi_image("status", tmp_path)
    assert ended.status == 2
    assert "there is no journal" in ended.err


@quick
def test_a_finished_picture_that_was_taken_away_is_told_and_not_bought_again_unasked(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    asi_image("batch", prompts, "--out", "out")
    taken = next(Path("out").glob("a-blue-whale-*"))
    taken.rename("whale.jpg")
    told = f"1 finished picture is no longer in the folder (such as {taken.name})"

    for options in ([], ["--quiet"]):
        again = asi_image("batch", prompts, "--out", "out", *options)
        assert (again.status, told in again.err) == (0, True), again.err
    assert asi_image("batch", prompts, "--out", "out", "--json").json["missing"] == 1
    assert asi_emulator.requests == 3

    ended = asi_image("status", "out")
    assert (ended.status, told in ended.out) == (1, True), ended.out
    assert asi_image("status", "out", "--json").json["missing"] == 1
    Path("whale.jpg").rename(taken)
    assert asi_image("status", "out").status == 0


@quick
def test_in_a_folder_that_was_moved_nothing_is_missing(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    asi_image("batch", prompts, "--out", "out")
    Path("out").rename("elsewhere")
    ended = asi_image("status", "elsewhere", "--json")
    assert (ended.status, ended.json["missing"], ended.json["done"]) == (0, 0, 3)


@quick
def test_metadata_of_the_folder_can_be_read_by_others(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    asi_image("batch", prompts, "--out", "out")
    lines = [json.loads(line) for line in Path("out/metadata.jsonl").read_text().splitlines()]
    assert {line["prompt"] for line in lines} == {"a red fox", "a blue whale"}


@quick
def test_a_budget_ends_the_batch_with_4_and_the_same_line_buys_nothing_more(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    line = ("batch", prompts, "--out", "out", "--max-cost", "0.02", "--price", "0.01")
    for _ in range(2):
        ended = asi_image(*line)
        assert ended.status == 4
        assert "the budget of 2 images is spent" in ended.err
        assert "hint: Raise the budget, then run the same again.\n1 is left\n" in ended.err
    assert Path("out/index.html").is_file()
    assert asi_emulator.billed == 2


def test_a_budget_without_a_price_is_wrong_usage(asi_image: Run, prompts: Path) -> None:
    apart = asi_image("batch", prompts, "--out", "out", "--max-cost", "1e308", "--price", "1e-10")
    assert (apart.status, "max_cost and price_per_image are too far apart" in apart.err) == (2, True)
    ended = asi_image("batch", prompts, "--out", "out", "--max-cost", "5")
    assert ended.status == 2
    assert "--max-cost needs a --price above 0" in ended.err


@quick
def test_a_days_share_that_is_spent_ends_the_batch_with_4_where_that_is_asked_for(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    for made in (2, 0):
        ended = asi_image("batch", prompts, "--out", "out", "--rate", "2/day", "--stop-on-quota", "--json")
        assert ended.status == 4
        assert ended.json["succeeded"] == made
        assert "until" in ended.json["stopped_by"]["message"]
    assert asi_emulator.requests == 2


@quick
def test_a_share_that_outlasts_the_calendar_ends_the_batch_too(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    ended = asi_image("batch", prompts, "--out", "out", "--rate", "1/9999999d", "--stop-on-quota")
    assert (ended.status, asi_emulator.requests) == (4, 1)
    assert re.search(r"the rate limit leaves nothing to ask for, for \d+ d", ended.err)


@quick
def test_a_dry_run_knows_what_the_budget_leaves(
    asi_image: Run, asi_emulator: Emulator, prompts: Path
) -> None:
    line = ("batch", prompts, "--out", "out", "--max-cost", "0.02", "--price", "0.01")
    plan = asi_image(*line, "--dry-run", "--json").json
    assert (plan["to_ask"], plan["beyond_budget"]) == (2, 1)
    assert " beyond budget: 1\n" in asi_image(*line, "--dry-run").out
    asi_image(*line)
    assert asi_image(*line, "--dry-run", "--json").json["to_ask"] == 0
    assert asi_emulator.requests == 2


@quick
def test_a_dry_run_of_many_says_at_once_how_many(asi_image: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asi_image_async.cli.batch._MANY", 6)
    line = (
        "batch",
        "--template",
        "a {x} {y}",
        "--set",
        "x=a,b,c",
        "--set",
        "y=1,2",
        "--out",
        "out",
        "--dry-run",
    )
    assert asi_image(*line).err.startswith("looking at 6 prompts\n")


@quick
def test_a_dry_run_counts_pictures_not_prompts_against_a_budget(asi_image: Run) -> None:
    Path("p.csv").write_text("prompt,n\na,4\nb,4\nc,4\n")
    for price, to_ask in (("1", 1), ("0.5", 2), ("5", 0)):
        line = ("batch", "p.csv", "--out", "out", "--max-cost", "5", "--price", price)
        plan = asi_image(*line, "--dry-run", "--json").json
        assert (plan["to_ask"], plan["beyond_budget"]) == (to_ask, 3 - to_ask)
        assert plan["cost_at_most"] == to_ask * 4 * float(price)
    assert (
        " costs at most: 12\n" in asi_image("batch", "p.csv", "--out", "out", "--price", "1", "--dry-run").out
    )
    assert "cost" not in asi_image("batch", "p.csv", "--out", "out", "--dry-run").out


@quick
def test_a_dry_run_ends_as_a_run_does_at_the_first_that_the_budget_has_no_room_for(
    asi_image: Run, asi_emulator: Emulator
) -> None:
    Path("p.csv").write_text("prompt,n\na,1\nb,4\nc,1\n")
    line = ("batch", "p.csv", "--out", "out", "--max-cost", "3", "--price", "1", "--concurrency", 1, "--json")
    plan = asi_image(*line, "--dry-run").json
    assert (plan["to_ask"], plan["beyond_budget"]) == (1, 2)
    assert asi_image(*line).json["requests"] == asi_emulator.requests == 1


@quick
def test_a_table_on_standard_input_is_read_as_one(asi_image: Run, asi_emulator: Emulator) -> None:
    ended = asi_image("batch", "-", "--out", "out", stdin="id,prompt\n7,a cat\n")
    assert ended.status == 0, ended.err
    assert [received.prompt for received in asi_emulator.received] == ["a cat"]
