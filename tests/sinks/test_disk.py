"""What a folder promises: whole pictures under names of their own, and a line for each, whatever happens."""

from __future__ import annotations

import asyncio
import errno
import itertools
import json
import os
import signal
import stat
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from full_disk import largest_file
from service import JPEG, picture

from asi_image_async import DiskSink, Generation, ImageRequest, Receipt, locks
from asi_image_async.core.decode import to_image
from asi_image_async.core.recipe import extract
from asi_image_async.errors import ConfigurationError, SinkError
from asi_image_async.files import Draft
from asi_image_async.sinks.disk import metadata as metadata_module
from asi_image_async.sinks.disk import sink as sink_module
from asi_image_async.sinks.disk.metadata import Metadata

pytestmark = pytest.mark.anyio

PNG = picture("PNG")
HOSTILE = [
    "../../escape",
    "/etc/passwd",
    "..",
    ".hidden",
    "C:\\Windows\\con",
    "\\\\server\\share",
    "con",
    "aux.jpg",
    "trailing dots...",
    "trailing blanks   ",
    "a\0b",
    "two\nlines\r\tand a tab",
    "\x1b[31mred\x07",
    "\u202egnp.exe",
    "\u200b\u2060",
    "\u2028lines\u2029of\x85others",
    "🎨" * 50,
    "é",
    "e\u0301",
    "A Fox",
    "a fox",
    "A FOX",
    "a  fox",
    "metadata.jsonl",
    ".asi-image",
    "%2e%2e%2f",
    "long " * 2000,
    "長" * 3000,
]


def make(prompt: str, *pictures: bytes, occurrence: int = 0, **fields: Any) -> Generation:
    images = tuple(to_image(data) for data in pictures or (JPEG,))
    return Generation(request=ImageRequest(prompt=prompt, **fields), images=images, occurrence=occurrence)


@asynccontextmanager
async def opened(folder: Path, **options: Any) -> Any:
    sink = DiskSink(folder, **options)
    await sink.open()
    try:
        yield sink
    finally:
        await sink.close()


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "metadata.jsonl").read_text(encoding="utf-8")
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def pictures(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and path.name != "metadata.jsonl"
    }


def leftovers(folder: Path) -> list[Path]:
    return list((folder / ".asi-image" / "tmp").iterdir())


def crash(folder: Path) -> None:
    """A run that opens the folder and is killed."""
    code = (
        "import asyncio, os, signal, sys; from asi_image_async import DiskSink;"
        "asyncio.run(DiskSink(sys.argv[1]).open()); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL


# -- what is there afterwards


async def test_a_picture_has_a_readable_name_its_bytes_and_a_line(tmp_path: Path) -> None:
    async with opened(tmp_path / "out") as sink:
        receipt = await sink.write(make("A Fox in the Snow", id=None))
    [(name, data)] = pictures(tmp_path / "out").items()
    assert name.startswith("a-fox-in-the-snow-")
    assert name.endswith(".jpg")
    assert data == JPEG
    assert receipt == Receipt((str(tmp_path / "out" / name),), len(JPEG))
    [line] = lines(tmp_path / "out")
    assert line["file_name"] == name
    assert line["prompt"] == "A Fox in the Snow"
    assert (line["width"], line["height"], line["mime_type"]) == (16, 12, "image/jpeg")
    assert leftovers(tmp_path / "out") == []


async def test_a_recipe_is_kept_beside_the_picture_or_in_it(tmp_path: Path) -> None:
    recipe = {"prompt": "a fox", "model": "asi1-mini", "size": "1024x1024", "seed": 7}
    kept = make("a fox", JPEG, PNG, seed=7, metadata={"mine": "x"}, id="fox")

    async with opened(tmp_path / "beside", recipe="sidecar") as sink:
        receipt = await sink.write(kept)
    found = pictures(tmp_path / "beside")
    assert [json.loads(data) for name, data in found.items() if name.endswith(".json")] == [recipe, recipe]
    assert [Path(each).with_name(f"{Path(each).name}.json").is_file() for each in receipt.locations] == [
        True
    ] * 2
    assert sorted(data for name, data in found.items() if not name.endswith(".json")) == sorted([JPEG, PNG])

    async with opened(tmp_path / "in", recipe="embed") as sink:
        receipt = await sink.write(kept)
    found = pictures(tmp_path / "in")
    assert [json.loads(extract(data) or "") for data in found.values()] == [recipe, recipe]
    assert receipt.bytes_written == sum(map(len, found.values())) > len(JPEG) + len(PNG)


async def test_a_recipe_that_the_picture_has_no_place_for_is_kept_beside_it(tmp_path: Path) -> None:
    gif = picture("GIF")
    async with opened(tmp_path / "out", recipe="embed") as sink:
        await sink.write(make("a fox", gif))
    found = pictures(tmp_path / "out")
    assert sorted(Path(name).suffix for name in found) == [".gif", ".json"]
    assert gif in found.values()


def test_a_recipe_is_kept_in_one_of_two_places(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="none, sidecar, embed"):
        DiskSink(tmp_path, recipe="inside")  # type: ignore[arg-type]


async def test_the_line_tells_all_that_is_known_and_columns_of_the_same_names_too(tmp_path: Path) -> None:
    request = ImageRequest(
        prompt="a fox",
        size="landscape",
        model="m",
        id="no 7",
        metadata={"mood": "calm", "prompt": "mine", "file_name": "/etc/passwd", "mime_type": 1, "id": 8},
        seed=5,
    )
    created = datetime(2025, 7, 29, 12, tzinfo=UTC)
    generation = Generation(
        request=request,
        images=(to_image(PNG),),
        created=created,
        revised_prompt="a red fox",
        attempts=2,
        elapsed=1.23456,
    )
    async with opened(tmp_path) as sink:
        await sink.write(generation)
    [line] = lines(tmp_path)
    assert line["file_name"] in pictures(tmp_path)
    assert line["file_name"].startswith("no-7-")
    assert line["prompt"] == "a fox"
    assert line["mime_type"] == "image/png"
    assert (line["mood"], line["seed"], line["id"]) == ("calm", 5, "no 7")
    given = {name: value for name, value in line.items() if name.startswith("given_")}
    assert given == {
        "given_prompt": "mine",
        "given_file_name": "/etc/passwd",
        "given_mime_type": 1,
        "given_id": 8,
    }
    assert (line["size"], line["model"], line["revised_prompt"]) == ("1792x1024", "m", "a red fox")
    assert (line["created"], line["attempts"], line["elapsed"]) == ("2025-07-29T12:00:00+00:00", 2, 1.235)


async def test_no_column_takes_the_place_of_another_of_the_user_s(tmp_path: Path) -> None:
    columns = {"width": 1, "given_width": 2, "given_given_width": 3, "given_prompt": 4}
    async with opened(tmp_path) as sink:
        await sink.write(make("a fox", metadata=columns))
    [line] = lines(tmp_path)
    assert {name: line[name] for name in columns} == columns | {"width": 16}
    assert line["given_given_given_width"] == 1


async def test_several_pictures_of_one_reply_have_a_name_and_a_line_each(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:
        receipt = await sink.write(make("a fox", JPEG, PNG, JPEG))
    names = [Path(location).name for location in receipt.locations]
    assert [Path(name).suffix for name in names] == [".jpg", ".png", ".jpg"]
    assert [line["file_name"] for line in lines(tmp_path)] == names
    assert [pictures(tmp_path)[name] for name in names] == [JPEG, PNG, JPEG]
    assert receipt.bytes_written == 2 * len(JPEG) + len(PNG)


async def test_the_name_is_of_the_request_so_twice_is_two_and_again_is_the_same(tmp_path: Path) -> None:
    for _ in range(2):
        async with opened(tmp_path) as sink:
            await sink.write(make("a fox"))
            await sink.write(make("a fox", occurrence=1))
        assert len(pictures(tmp_path)) == len(lines(tmp_path)) == 2


async def test_hostile_prompts_and_ids_stay_inside_and_never_overwrite_one_another(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    # Each prompt alone, each as an id, and several replies of the same.
    generations = [make(prompt) for prompt in HOSTILE if prompt.strip()]
    generations += [make(f"prompt {n}", id=hostile) for n, hostile in enumerate(HOSTILE)]
    generations += [make("same", id=hostile, occurrence=n) for n, hostile in enumerate(HOSTILE)]
    async with opened(folder) as sink:
        receipts = await asyncio.gather(*map(sink.write, generations))
    found = pictures(folder)
    assert len({name.casefold() for name in found}) == len(generations)
    assert {path.name for path in folder.iterdir() if path.name not in found} == {
        "metadata.jsonl",
        ".asi-image",
    }
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents] == []
    for receipt in receipts:
        [location] = receipt.locations
        assert Path(location).parent == folder
    for name in found:
        assert len(name.encode()) <= 120
        assert name == unicodedata.normalize("NFC", name)
        assert not any(unicodedata.category(c).startswith("C") for c in name)
        assert not set(name) & set('<>:"/\\|?*')
        assert not name.startswith((".", "-", " "))
        assert Path(name).stem.split(".")[0].lower() not in {"con", "aux", "nul", "prn"}
        assert Path(name).suffix == ".jpg"
    assert sorted(line["file_name"] for line in lines(folder)) == sorted(found)
    prompts = [line["prompt"] for line in lines(folder)]
    assert all(generation.request.prompt in prompts for generation in generations)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
@pytest.mark.parametrize(("umask", "mode"), [("022", 0o644), ("077", 0o600), ("002", 0o664)])
def test_its_files_have_the_permissions_that_the_user_s_other_files_have(
    tmp_path: Path, umask: str, mode: int
) -> None:
    code = f"""
import os; os.umask(0o{umask})
import asyncio, sys
from asi_image_async import DiskSink, Generation, ImageRequest
from asi_image_async.core.decode import to_image
async def main():
    for _ in range(2):  # the second time the lines are written anew
        sink = DiskSink(sys.argv[1])
        await sink.open()
        image = to_image(bytes.fromhex({JPEG.hex()!r}))
        await sink.write(Generation(request=ImageRequest(prompt="a fox"), images=(image,)))
        await sink.close()
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=True)
    files = [path for path in (tmp_path / "out").iterdir() if path.is_file()]
    assert len(files) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {mode}


async def test_many_at_once_are_all_there_when_their_writes_return(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:

        async def one(number: int) -> None:
            receipt = await sink.write(make(f"prompt {number}"))
            name = Path(receipt.locations[0]).name
            assert (tmp_path / name).read_bytes() == JPEG
            assert name.encode() in (tmp_path / "metadata.jsonl").read_bytes()

        await asyncio.gather(*map(one, range(300)))
    assert len(lines(tmp_path)) == len(pictures(tmp_path)) == 300


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which file a descriptor is of")
async def test_a_picture_its_name_and_its_line_are_flushed_before_a_write_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    real = os.fsync

    def watch(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    async with opened(tmp_path / "out") as sink:
        assert flushed == ["sink.lock", ".asi-image"]  # by which the next open knows of a crash
        flushed.clear()
        await sink.write(make("a fox"))
        part, *others = flushed
        assert part.endswith(".tmp")
        assert others == ["out", "metadata.jsonl"]


async def test_of_many_each_is_written_before_one_is_flushed_and_flushed_before_one_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def watch(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def step(*given: Any) -> None:
            steps.append(name)
            real(*given)

        monkeypatch.setattr(owner, name, step)

    async with opened(tmp_path) as sink:
        for name in ("__init__", "flush", "take_name"):
            watch(Draft, name)
        await asyncio.gather(*(sink.write(make(f"a fox {number}", JPEG, PNG)) for number in range(100)))
    groups = [[name, *same] for name, same in itertools.groupby(steps)]
    assert len(groups) % 3 == 0
    assert [group[0] for group in groups] == ["__init__", "flush", "take_name"] * (len(groups) // 3)
    assert 2 < max(map(len, groups)) <= 1 + 2 * 16  # and no more files are open at once
    assert len(pictures(tmp_path)) == 200


@pytest.mark.parametrize("step", ["__init__", "flush", "take_name"])
async def test_one_that_fails_leaves_nothing_behind_and_the_others_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    real, calls = getattr(Draft, step), itertools.count()

    def failing(*given: Any) -> None:
        if next(calls) == 7:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(*given)

    monkeypatch.setattr(Draft, step, failing)
    many = [make(f"a fox {number}", JPEG, PNG) for number in range(20)]
    async with opened(tmp_path) as sink:
        open_files = len(os.listdir("/dev/fd"))
        found = await asyncio.gather(*map(sink.write, many), return_exceptions=True)
        assert [isinstance(each, SinkError) for each in found].count(True) == 1
        assert leftovers(tmp_path) == []
        assert len(os.listdir("/dev/fd")) == open_files
    assert len(lines(tmp_path)) == 2 * 19


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which file a descriptor is of")
async def test_tidied_lines_are_flushed_before_the_crash_that_they_came_from_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "out") as sink:
        await sink.write(make("a fox"))
    crash(tmp_path / "out")
    marks: dict[str, int] = {}
    real = os.fsync

    def watch(descriptor: int) -> None:
        real(descriptor)
        name = Path(f"/proc/self/fd/{descriptor}").resolve().name
        marks.setdefault(name, (tmp_path / "out" / ".asi-image" / "sink.lock").stat().st_size)

    monkeypatch.setattr(os, "fsync", watch)
    async with opened(tmp_path / "out"):
        [lines, folder] = [marks[name] for name in marks if name == "out" or name.endswith(".tmp")]
        assert lines == folder == 1


async def test_a_sink_that_is_not_open_says_so_and_writes_nothing(tmp_path: Path) -> None:
    sink = DiskSink(tmp_path)
    for _ in range(2):
        with pytest.raises(SinkError, match="not open"):
            await sink.write(make("a fox"))
        assert pictures(tmp_path) == {}
        await sink.open()
        await sink.close()


async def test_a_sink_that_is_open_is_not_opened_by_another_run(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:
        with pytest.raises(SinkError, match="is open already"):
            await sink.open()
        await sink.write(make("a fox"))
    assert len(pictures(tmp_path)) == 1


async def test_it_can_be_opened_again(tmp_path: Path) -> None:
    sink = DiskSink(tmp_path)
    for prompt in ("a", "b"):
        await sink.open()
        await sink.write(make(prompt))
        await sink.close()
    assert [line["prompt"] for line in lines(tmp_path)] == ["a", "b"]


async def test_a_cancelled_write_is_whole_or_not_there(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:
        for number in range(20):
            with anyio.move_on_after(0.0005 * number):
                await sink.write(make(f"prompt {number}"))
    assert sorted(line["file_name"] for line in lines(tmp_path)) == sorted(pictures(tmp_path))
    assert leftovers(tmp_path) == []


# -- after a crash


async def test_what_a_crash_left_is_tidied_at_the_next_open(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:
        for prompt in ("a", "b", "c"):
            await sink.write(make(prompt))
    crash(tmp_path)
    kept = lines(tmp_path)
    (tmp_path / kept[2]["file_name"]).unlink()
    again = {**kept[0], "attempts": 9}
    with open(tmp_path / "metadata.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(again) + '\n{"other": 1}\nnull\n\n{"file_name": "torn')
    (tmp_path / ".asi-image" / "tmp" / ".half.tmp").write_bytes(JPEG[:10])
    async with opened(tmp_path):
        assert sorted(lines(tmp_path), key=str) == sorted([kept[1], again], key=str)
        assert leftovers(tmp_path) == []
    assert len(pictures(tmp_path)) == 2


async def test_a_last_line_that_lost_only_its_end_is_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:
        await sink.write(make("a"))
    crash(tmp_path)
    path = tmp_path / "metadata.jsonl"
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    async with opened(tmp_path) as sink:
        await sink.write(make("b"))
    assert [line["prompt"] for line in lines(tmp_path)] == ["a", "b"]


async def test_what_an_editor_put_before_the_first_line_costs_no_picture_its_line(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:
        for prompt in ("a", "b"):
            await sink.write(make(prompt))
    crash(tmp_path)
    path = tmp_path / "metadata.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    async with opened(tmp_path):
        assert [line["prompt"] for line in lines(tmp_path)] == ["a", "b"]


async def test_lines_that_were_saved_as_utf_16_are_refused_and_stay(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:
        await sink.write(make("a"))
    crash(tmp_path)
    path = tmp_path / "metadata.jsonl"
    saved = path.read_text(encoding="utf-8").encode("utf-16")
    path.write_bytes(saved)
    with pytest.raises(ConfigurationError, match="is UTF-16"):
        await DiskSink(tmp_path).open()
    assert path.read_bytes() == saved


async def test_without_a_crash_the_lines_are_the_user_s_to_edit(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:
        await sink.write(make("a"))
    with open(tmp_path / "metadata.jsonl", "a", encoding="utf-8") as file:
        file.write('{"file_name": "mine.png", "prompt": "by hand"}')  # and an editor without a last newline
    for prompt in ("b", "c"):
        async with opened(tmp_path) as sink:
            await sink.write(make(prompt))
    assert [line["prompt"] for line in lines(tmp_path)] == ["a", "by hand", "b", "c"]


async def test_a_picture_that_comes_again_after_a_crash_has_one_line_in_the_end(tmp_path: Path) -> None:
    """Killed between its line and the journal's: the next run asks for it again, onto the same name."""
    async with opened(tmp_path) as sink:
        await sink.write(make("a"))
    async with opened(tmp_path) as sink:
        await sink.write(make("b"))
        await sink.write(make("a"))
    assert sorted(line["prompt"] for line in lines(tmp_path)) == ["a", "b"]


async def test_a_crash_beside_a_sink_that_goes_on_is_tidied_once_that_has_ended(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:
        crash(tmp_path)
        leftover = tmp_path / ".asi-image" / "tmp" / ".half.tmp"
        leftover.write_bytes(b"")
        with open(tmp_path / "metadata.jsonl", "a", encoding="utf-8") as file:
            file.write('{"file_name": "never.jpg"}\n')
        async with opened(tmp_path):
            assert leftover.exists()  # it might be the other's
        await sink.write(make("a"))
        assert leftover.exists()
    async with opened(tmp_path):
        assert not leftover.exists()
    assert [line["prompt"] for line in lines(tmp_path)] == ["a"]


async def test_a_line_that_comes_while_the_others_are_tidied_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metadata.jsonl"
    for name in "ab":
        (tmp_path / name).write_bytes(b"")
    path.write_bytes(b'{"file_name": "a"}\n')
    read = metadata_module._read

    def read_while_more_come(of: Path) -> Iterator[tuple[str, bytes]]:
        yield from read(of)
        with path.open("ab") as file:
            file.write(b'{"file_name": "b"}\n')

    monkeypatch.setattr(metadata_module, "_read", read_while_more_come)
    metadata_module.tidy(tmp_path, tmp_path)
    assert [line["file_name"] for line in lines(tmp_path)] == ["a", "b"]


async def test_what_a_sink_is_writing_is_left_alone_by_the_first_that_goes_and_the_next_that_comes(
    tmp_path: Path,
) -> None:
    first = DiskSink(tmp_path)
    await first.open()
    async with opened(tmp_path):
        unfinished = tmp_path / ".asi-image" / "tmp" / ".half.tmp"
        unfinished.write_bytes(b"")
        await first.close()
        async with opened(tmp_path):
            assert unfinished.exists()
        assert unfinished.exists()


async def test_without_locks_what_another_sink_may_be_writing_is_left_alone_for_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    monkeypatch.setattr(locks, "AVAILABLE", False)
    async with opened(tmp_path):
        draft, abandoned = (tmp_path / ".asi-image" / "tmp" / name for name in (".half.tmp", ".old.tmp"))
        draft.write_bytes(b"")
        abandoned.write_bytes(b"")
        os.utime(abandoned, (0, 0))
        async with opened(tmp_path):
            assert leftovers(tmp_path) == [draft]
        assert leftovers(tmp_path) == [draft]


# -- two at once


async def test_two_sinks_on_one_folder_do_each_other_no_harm(tmp_path: Path) -> None:
    async with opened(tmp_path) as one, opened(tmp_path) as other:
        writes = [(one, other)[n % 2].write(make(f"prompt {n}")) for n in range(60)]
        writes += [sink.write(make("the same")) for sink in (one, other)]
        async with opened(tmp_path):
            await asyncio.gather(*writes)
    assert sorted(line["file_name"] for line in lines(tmp_path)) == sorted(pictures(tmp_path))
    assert len(pictures(tmp_path)) == 61


async def test_two_processes_on_one_folder_do_each_other_no_harm(tmp_path: Path) -> None:
    code = f"""
import asyncio, sys
from asi_image_async import DiskSink, Generation, ImageRequest
from asi_image_async.core.decode import to_image
image = to_image(bytes.fromhex({JPEG.hex()!r}))
async def main():
    for begin in range(0, 60, 20):  # comes and goes, so that each may tidy while the other writes
        sink = DiskSink(sys.argv[1])
        await sink.open()
        await asyncio.gather(*(
            sink.write(Generation(request=ImageRequest(prompt=f"{{sys.argv[2]}} {{n}}"), images=(image,)))
            for n in range(begin, begin + 20)
        ))
        await sink.write(Generation(request=ImageRequest(prompt="the same"), images=(image,)))
        await sink.close()
asyncio.run(main())
"""
    command = (sys.executable, "-c", code, str(tmp_path))
    processes = [subprocess.Popen([*command, name]) for name in "ab"]
    for process in processes:
        assert await asyncio.to_thread(process.wait, 20) == 0
    async with opened(tmp_path):
        pass
    assert sorted(line["file_name"] for line in lines(tmp_path)) == sorted(pictures(tmp_path))
    assert len(pictures(tmp_path)) == 121


# -- places that cannot be written


async def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "nothing").symlink_to(tmp_path / "gone")
    (tmp_path / "out" / "metadata.jsonl").mkdir(parents=True)
    for place, words in (
        ("nothing", "nothing: it is a link to nothing"),
        ("out", "metadata.jsonl: Is a directory"),
    ):
        with pytest.raises(SinkError, match=words):
            await DiskSink(tmp_path / place).open()


def bad_place(tmp_path: Path, kind: str) -> Path:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "out").mkdir()
    if kind == "metadata":
        (tmp_path / "out" / "metadata.jsonl").mkdir()
    if kind == "state":
        (tmp_path / "out" / ".asi-image").write_text("")
    return {
        "a file": tmp_path / "file",
        "in a file": tmp_path / "file" / "out",
        "read-only": Path("/proc/asi"),
        "NUL": tmp_path / "a\0b",
        "too long": tmp_path / ("x" * 300),
    }.get(kind, tmp_path / "out")


@pytest.mark.parametrize("kind", ["a file", "in a file", "read-only", "NUL", "too long", "metadata", "state"])
async def test_a_place_that_cannot_be_written_is_a_sink_error_that_says_what_to_do(
    tmp_path: Path, kind: str
) -> None:
    sink = DiskSink(bad_place(tmp_path, kind))
    with pytest.raises(SinkError, match="cannot write to") as refused:
        await sink.open()
    assert "Choose a folder" in refused.value.hint
    await sink.close()
    assert (tmp_path / "file").read_text() == "mine"


async def test_what_could_not_be_opened_is_not_held(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").mkdir()
    sink = DiskSink(tmp_path)
    with pytest.raises(SinkError):
        await sink.open()
    (tmp_path / "metadata.jsonl").rmdir()
    leftover = tmp_path / ".asi-image" / "tmp" / ".half.tmp"
    leftover.write_bytes(b"")
    async with opened(tmp_path):
        assert not leftover.exists()  # nobody else is there any more
    del sink


async def test_a_folder_that_was_removed_in_mid_run_is_a_sink_error(tmp_path: Path) -> None:
    import shutil

    async with opened(tmp_path / "out") as sink:
        await sink.write(make("a"))
        shutil.rmtree(tmp_path / "out")
        with pytest.raises(SinkError, match="cannot write to"):
            await sink.write(make("b"))
    assert not (tmp_path / "out").exists()


async def test_a_folder_that_another_one_replaced_in_mid_run_is_a_sink_error(tmp_path: Path) -> None:
    async with opened(tmp_path / "out") as sink:
        await sink.write(make("a"))
        (tmp_path / "out").rename(tmp_path / "moved")
        async with opened(tmp_path / "out") as another:
            await another.write(make("c"))
            with pytest.raises(SinkError, match="was moved or replaced"):
                await sink.write(make("b"))
    assert [line["prompt"] for line in lines(tmp_path / "moved")] == ["a"]
    assert [line["prompt"] for line in lines(tmp_path / "out")] == ["c"]


@pytest.mark.parametrize("edit", ["replaced", "removed"])
async def test_lines_that_are_edited_in_mid_run_are_added_to(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, edit: str
) -> None:
    async with opened(tmp_path) as sink:
        await sink.write(make("a"))
        metadata = tmp_path / "metadata.jsonl"
        if edit == "removed":
            metadata.unlink()
        else:
            (tmp_path / "new").write_bytes(metadata.read_bytes().replace(b'"prompt":"a"', b'"prompt":"A"'))
            (tmp_path / "new").replace(metadata)
        await sink.write(make("b"))
    assert [line["prompt"] for line in lines(tmp_path)] == (["b"] if edit == "removed" else ["A", "b"])
    assert "was replaced" in caplog.text


async def test_a_flush_that_failed_is_not_believed_the_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Metadata.flush, itertools.count()

    def failing(metadata: Metadata) -> None:
        if next(calls) == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(metadata)

    async with opened(tmp_path) as sink:
        monkeypatch.setattr(Metadata, "flush", failing)
        found = sink._write([make("a"), make("b")])
    assert [type(each) for each in found] == [SinkError, SinkError]


async def test_a_full_disk_leaves_no_part_of_a_picture(tmp_path: Path) -> None:
    big = picture("BMP", (400, 300))
    image = to_image(JPEG)
    large = Generation(
        request=ImageRequest(prompt="large"), images=(type(image)(big, "image/jpeg", ".jpg", 1, 1),)
    )
    async with opened(tmp_path) as sink:
        await sink.write(make("a"))
        with largest_file(5000), pytest.raises(SinkError, match="cannot write to"):
            await sink.write(large)
        await sink.write(make("b"))
    assert set(pictures(tmp_path).values()) == {JPEG}
    assert [line["prompt"] for line in lines(tmp_path)] == ["a", "b"]
    assert leftovers(tmp_path) == []


async def test_a_full_disk_leaves_no_half_line_and_the_picture_comes_again_when_there_is_room(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as sink:
        await sink.write(make("a"))
        size = (tmp_path / "metadata.jsonl").stat().st_size
        before = lines(tmp_path)
        # Room for the picture (about 600 bytes) and for half of the line.
        await sink.write(make("b", metadata={"long": "x" * 2000}))
        both = lines(tmp_path)
        end = (tmp_path / "metadata.jsonl").stat().st_size
        with largest_file(end + 100), pytest.raises(SinkError, match="No space left") as full:
            await sink.write(make("c"))
        assert "Make room" in full.value.hint
        assert (tmp_path / "metadata.jsonl").stat().st_size == end
        assert lines(tmp_path) == both
        await sink.write(make("c"))
    assert size < end
    assert before[0]["prompt"] == "a"
    assert [line["prompt"] for line in lines(tmp_path)] == ["a", "b", "c"]
    assert len(pictures(tmp_path)) == 3


@pytest.mark.parametrize(("owner", "step"), [(Metadata, "flush"), (sink_module, "sync_directory")])
async def test_lines_that_are_written_again_as_their_flush_failed_are_there_once_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, step: str
) -> None:
    async with opened(tmp_path) as sink:
        real, calls = getattr(owner, step), itertools.count()

        def failing(*given: Any) -> None:
            if next(calls) == 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(*given)

        monkeypatch.setattr(owner, step, failing)
        await asyncio.gather(
            *(sink.write(make(f"a fox {number}")) for number in range(12)), return_exceptions=True
        )
    assert len(lines(tmp_path)) == len(pictures(tmp_path)) == 12


async def test_what_cannot_be_discarded_takes_none_of_those_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Draft.flush, itertools.count()

    def failing(draft: Draft) -> None:
        real(draft)
        if next(calls) == 5:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def stuck(path: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(Draft, "flush", failing)
    monkeypatch.setattr(os, "unlink", stuck)
    async with opened(tmp_path) as sink:
        many = [sink.write(make(f"a fox {number}")) for number in range(12)]
        found = await asyncio.gather(*many, return_exceptions=True)
    monkeypatch.undo()
    assert [isinstance(each, SinkError) for each in found].count(True) == 1
    assert len(lines(tmp_path)) == len(pictures(tmp_path)) == 11


async def test_a_line_that_finds_no_room_takes_none_of_those_beside_it(tmp_path: Path) -> None:
    many = [make(f"picture {number}", metadata={"x": "x" * (90_000 * (number == 5))}) for number in range(12)]
    async with opened(tmp_path) as sink:
        with largest_file(50_000):
            found = await asyncio.gather(*map(sink.write, many), return_exceptions=True)
    assert [isinstance(each, SinkError) for each in found] == [number == 5 for number in range(12)]
    assert {line["prompt"] for line in lines(tmp_path)} == {
        f"picture {number}" for number in range(12) if number != 5
    }


async def test_with_too_few_open_files_it_says_what_to_do_and_goes_on_when_there_are_enough(
    tmp_path: Path,
) -> None:
    resource = pytest.importorskip("resource")
    async with opened(tmp_path) as sink:
        await sink.write(make("a"))
        with open(os.devnull) as next_one:
            old = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (next_one.fileno(), old[1]))
            try:
                with pytest.raises(SinkError, match="Too many open files") as few:
                    await sink.write(make("b"))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, old)
        assert "ulimit -n" in few.value.hint
        await sink.write(make("b"))
    assert [line["prompt"] for line in lines(tmp_path)] == ["a", "b"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
async def test_a_device_that_is_always_full_is_told_with_what_to_do(tmp_path: Path) -> None:
    crash(tmp_path)  # what it left is not to be looked for in a device: that never ends
    (tmp_path / "metadata.jsonl").unlink()
    (tmp_path / "metadata.jsonl").symlink_to("/dev/full")
    async with opened(tmp_path) as sink:
        with pytest.raises(SinkError, match="No space left") as full:
            await sink.write(make("a"))
    assert "Make room" in full.value.hint
    assert isinstance(full.value.__cause__, OSError)
    assert full.value.__cause__.errno == errno.ENOSPC


def test_where_names_have_no_letters_it_says_so_before_anything_is_bought(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from asi_image_async import DiskSink; asyncio.run(DiskSink(sys.argv[1]).open())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "out"],
        env={**os.environ, "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert "SinkError: cannot write to" in ended.stderr
    assert "which lacks letters" in ended.stderr
    assert not (tmp_path / "out").exists()
