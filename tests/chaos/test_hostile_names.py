"""Prompts, ids and names made to do harm: each prompt has its own picture, and no terminal obeys it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from chaos.batch import journal_of, lines_of, nothing_is_half
from chaos.hostile import ERRORS, ESCAPES, FORGED, HOSTILE, ODD, PATHS
from chaos.scale import LONG, Figures, scaled
from chaos.words import Said, command
from hypothesis import given, settings
from hypothesis import strategies as st
from service import JPEG, Service, reply
from typer.testing import CliRunner

from asi_image_async import DiskSink, Generation, ImageRequest
from asi_image_async.cli.app import app
from asi_image_async.core.decode import to_image

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminal"),
]


def asked_for(texts: Iterable[str]) -> list[dict[str, Any]]:
    """Rows of a prompt file: each text as a prompt and as an id, with columns named like ours."""
    ours = {
        "file_name": "../../escape",
        "mime_type": "mine",
        "__proto__": {"mime_type": "text/html"},
        "width": "1",
    }
    rows: list[dict[str, Any]] = [{"prompt": text} for text in texts if text.strip()]
    rows += [
        {"prompt": f"picture {n}", "id": text, "model": text, text: text, **ours}
        for n, text in enumerate(texts)
    ]
    rows += [{"prompt": "the same", "id": text} for text in texts]
    return rows


def drawing(service: Service) -> None:
    """Every picture has its prompt in it: what overwrites another is seen."""

    async def draw(number: int, _: web.Request) -> web.Response:
        data = JPEG + service.prompts[number].encode()
        return reply({"data": [{"b64_json": base64.b64encode(data).decode(), "revised_prompt": ESCAPES}]})

    service.answer = draw


def contents(folder: Path, but: Path) -> dict[Path, bytes | None]:
    """Every file and folder that is not in `but`."""
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if path != but and but not in path.parents
    }


def is_safe_everywhere(name: str) -> bool:
    """Whether Windows, macOS and Linux take it for the name of a file, and a person can read it."""
    stem = name.partition(".")[0].upper()
    return (
        len(name.encode()) <= 255
        and len(unicodedata.normalize("NFD", name).encode("utf-16-le")) <= 510
        and not re.fullmatch(r"CON|PRN|AUX|NUL|(COM|LPT)[0-9¹²³]|CONIN\$|CONOUT\$|CLOCK\$", stem)
        and name[0] not in "-.~ "
        and name[-1] not in ". "
        and not set(name) & set("<>:\"/\\|?*'$")
        and not any(unicodedata.category(character)[0] in "CZ" for character in name)
    )


def are_apart(names: Iterable[str]) -> bool:
    """Whether they are different files on every file system, whatever letters it takes for the same."""
    names = list(names)
    return all(
        len({fold(unicodedata.normalize(form, name)) for name in names}) == len(names)
        for form in ("NFC", "NFD", "NFKC", "NFKD")
        for fold in (str.casefold, str.lower, str.upper)
    )


def each_has_its_own(out: Path, rows: list[dict[str, Any]]) -> int:
    """A picture and a line for each row, with its very words; returns how many."""
    nothing_is_half(out)
    lines = lines_of(out)
    pictures = {path.name for path in out.iterdir()} - {"metadata.jsonl", ".asi-image", "index.html"}
    assert pictures == {line["file_name"] for line in lines}
    assert len(pictures) == len(lines) == len(rows)
    assert all(map(is_safe_everywhere, pictures))
    assert are_apart(pictures)
    wanted = Counter((row["prompt"], row.get("id")) for row in rows)
    assert Counter((line["prompt"], line.get("id")) for line in lines) == wanted
    for line in lines:
        assert (out / line["file_name"]).read_bytes() == JPEG + line["prompt"].encode()
        assert (line["width"], line["mime_type"]) == (16, "image/jpeg")
    return len(pictures)


async def test_hostile_prompts_and_ids_have_a_picture_each_and_nothing_outside_the_folder_is_touched(
    service: Service, tmp_path: Path
) -> None:
    drawing(service)
    here = tmp_path / "a" / "deep" / "folder"
    here.mkdir(parents=True)
    for bystander in ("../../escape", "../escape.jpg", "con.jpg", "passwd"):
        (here / bystander).write_bytes(b"not yours")
    rows = asked_for([*HOSTILE, f"{tmp_path}/a/escape", f"{here}/passwd"])
    (here / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = contents(tmp_path, but=here / "out")
    for requests in (len(rows), len(rows)):  # the second run asks for nothing
        said = await command("batch", "prompts.jsonl", "--out", "out", base_url=service.base_url, folder=here)
        assert (said.status, len(service.bodies)) == (0, requests), said.text
    assert contents(tmp_path, but=here / "out") == before
    delivered = each_has_its_own(here / "out", rows)
    assert Counter(service.prompts) == Counter(row["prompt"] for row in rows)
    Figures(
        fault="hostile prompts and ids",
        tries=len(rows),
        delivered=delivered,
        lost=len(rows) - delivered,
        billed_twice=len(service.bodies) - len(rows),
    ).tell()


_pieces = st.sampled_from(
    [*"/\\.:%~ -\0\n\x1b\u202e\u0301\u200d", "..", "con", "CON", "nul", "é", "🦊", "長", "ß", "İ"]
)
_texts = st.lists(_pieces | st.text(max_size=8), max_size=12).map("".join) | st.sampled_from(HOSTILE)
_requests = st.lists(st.tuples(_texts.filter(str.strip), st.none() | _texts), min_size=1, max_size=10)


@settings(max_examples=scaled(5, 100), deadline=None)
@given(given=_requests)
def test_whatever_a_list_says_each_line_of_it_has_a_picture_of_its_own_within_the_folder(
    tmp_path_factory: pytest.TempPathFactory, given: list[tuple[str, str | None]]
) -> None:
    around = tmp_path_factory.mktemp("around")
    requests = [ImageRequest(prompt=prompt, id=id) for prompt, id in given]
    seen: Counter[str] = Counter()

    async def store() -> None:
        sink = DiskSink(around / "out")
        await sink.open()
        for request in requests:
            image = to_image(JPEG + request.prompt.encode())
            occurrence = seen[request.prompt]
            seen[request.prompt] += 1
            await sink.write(Generation(request=request, images=(image,), occurrence=occurrence))
        await sink.close()

    asyncio.run(store())
    assert contents(around, but=around / "out") == {}
    each_has_its_own(around / "out", [{"prompt": prompt, "id": id} for prompt, id in given])


def failing(service: Service) -> None:
    async def fail(number: int, _: web.Request) -> web.Response:
        return ERRORS[number % len(ERRORS)]()

    service.answer = fail


def is_harmless(said: Said) -> None:
    """No escape, no line that passes for one of ours, and not a mebibyte of words."""
    assert said.obeyed == "", said.text
    assert "unexpected error" not in said.text
    assert not re.search("^(error|hint): forged", said.text, re.MULTILINE), said.text
    assert len(said.text) < 100_000  # a bar is drawn five times a second


NAME = (ESCAPES + FORGED).replace("/", "").replace("\0", "")


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
async def test_no_terminal_obeys_a_prompt_or_the_service_or_the_name_of_a_folder(
    service: Service, tmp_path: Path, terminal: bool
) -> None:
    async def run(*arguments: str, status: int = 1) -> None:
        said = await command(*arguments, base_url=service.base_url, folder=tmp_path, terminal=terminal)
        is_harmless(said)
        assert said.status == status, said.text

    failing(service)
    rows = [
        {"prompt": f"{n}{text}", "model": ESCAPES, ESCAPES: FORGED} for n, text in enumerate([*ODD, *PATHS])
    ]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    await run("batch", "prompts.jsonl", "--out", NAME, "--retries", "0", status=3)  # three nobody can read
    assert journal_of(tmp_path / NAME).stat().st_size < 500_000  # a mebibyte of words is not kept either
    await run("status", NAME)
    if LONG:
        await run("batch", "prompts.jsonl", "--out", NAME, "--retries", "0", "--fail-fast", "--json")
        await run("status", NAME, "--json")
        for _ in ERRORS if terminal else ():  # each as the end of a command
            await run("generate", ESCAPES, "-o", "x.jpg", "--retries", "0")


WRONG = {
    "a rate": [f"{NAME}.jsonl", "--out", NAME, "--rate", f"3/min{NAME}"],
    "columns": [f"{NAME}.csv", "--out", NAME],
    "not Unicode": [f"{NAME}.txt", "--out", NAME],
    "no file": [f"{NAME}.gone", "--out", NAME],
    "no folder": [f"{NAME}.jsonl", "--out", f"{NAME}.txt", "--emulate"],
    "no host": [f"{NAME}.jsonl", "--out", f"file://[{NAME}"],
    "another host": [f"{NAME}.jsonl", "--out", f"file://{NAME}/out"],
    "a base URL": [f"{NAME}.jsonl", "--out", "out", "--base-url", NAME],
    "a size": [f"{NAME}.jsonl", "--out", "out", "--size", NAME],
    "an option": [f"--{NAME}"],
    "too many": [NAME, NAME, "--out", NAME],
    "a rehearsal": [f"{NAME}.jsonl", "--out", NAME, "--dry-run", "--rate", "3/min\r\x0b"],
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_with_a_name_is_told_so_that_no_terminal_obeys_it(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASI_ONE_API_KEY", "sk_chaos_0123456789abcdef")
    row = {"prompt": ESCAPES, "model": ESCAPES, ESCAPES: FORGED, FORGED: 1}
    Path(f"{NAME}.jsonl").write_text(json.dumps(row))
    Path(f"{NAME}.csv").write_text(f"prompt,{'x' * 50_000}{NAME!r},{'x' * 50_000}{NAME!r}\n1,2,3\n")
    Path(f"{NAME}.txt").write_bytes(b"\xff\n\0\n")
    ended = CliRunner().invoke(app, ["batch", *WRONG[what]], prog_name="asi-image")
    said = Said(ended.exit_code, ended.stdout_bytes + ended.stderr_bytes)
    is_harmless(said)
    assert said.status == (0 if what == "a rehearsal" else 2), said.text


@pytest.mark.parametrize("terminal", scaled([True], [True, False]))
async def test_a_path_is_its_very_bytes_for_a_script_and_can_be_seen_by_a_person(
    service: Service, tmp_path: Path, terminal: bool
) -> None:
    path = b"caf\xe9 \x1b[8m\x9b\n.jpg"
    said = await command(
        "generate", "a fox", "-o", path, base_url=service.base_url, folder=tmp_path, terminal=terminal
    )
    assert (tmp_path / os.fsdecode(path)).read_bytes() == JPEG
    if terminal:
        assert said.text.splitlines()[-1] == r"caf\udce9 \x1b[8m\udc9b\n.jpg"
    else:
        assert said.bytes == path + b"\n"


FOLDERS = [
    b"-\x1b[8m\n\xe9.", b"a\nb", b"caf\xe9", b"con", b" a", "e\u0301".encode(), "\u202etxt".encode(),
    b"x" * 255, b"out/../in", b"a\\b",
]  # fmt: skip


@pytest.mark.parametrize("name", scaled(FOLDERS[:1], FOLDERS), ids=ascii)
async def test_whatever_a_folder_is_called_a_second_run_asks_for_nothing_and_misses_nothing(
    service: Service, tmp_path: Path, name: bytes
) -> None:
    drawing(service)
    (tmp_path / "prompts.txt").write_text("a fox\nan owl\n")
    out = b"--out=" + name
    for _ in range(2):
        said = await command("batch", "prompts.txt", out, base_url=service.base_url, folder=tmp_path)
        assert (said.status, len(service.bodies)) == (0, 2), said.text
        assert "no longer in the folder" not in said.text
    if LONG:
        said = await command("status", "--", name, base_url=service.base_url, folder=tmp_path)
        assert (said.status, said.text) == (0, "2 done, 0 failed, 0 left\n")
    each_has_its_own(tmp_path / os.fsdecode(name), [{"prompt": "a fox"}, {"prompt": "an owl"}])


def test_of_a_folder_that_came_from_others_nothing_is_removed_that_is_not_ours(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    (theirs / ".asi-image").mkdir(parents=True)
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "thesis.txt").write_text("mine")
    (theirs / ".asi-image" / "tmp").symlink_to(tmp_path / "documents")

    async def store() -> None:
        sink = DiskSink(theirs)
        await sink.open()
        await sink.close()

    asyncio.run(store())
    assert [path.name for path in (tmp_path / "documents").iterdir()] == ["thesis.txt"]
