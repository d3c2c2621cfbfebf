"""What the journal promises: what it said it wrote is there after any crash; nothing strange is touched."""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from locked import TOO_LONG, locked

from asi_image_async.errors import JournalError
from asi_image_async.runtime.journal import Journal, State, writing
from asi_image_async.runtime.journal.summary import (
    JournalSummary,
    find_missing,
    read_sends,
    read_states,
    read_summary,
)

pytestmark = pytest.mark.anyio

FOX, HARE = b"fox".ljust(16), b"hare".ljust(16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def digests(count: int) -> list[bytes]:
    return [number.to_bytes(16, "big") for number in range(count)]


async def fill(path: Path, count: int, detail: str = "out/fox.jpg") -> None:
    async with Journal(path) as journal:
        claims = await asyncio.gather(*map(journal.claim, digests(count)))
        await asyncio.gather(*(journal.record(claim.key, State.DONE, detail) for claim in claims))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the journal, but for the lock beside it and SQLite's shared memory."""
    return {
        file.name: file.read_bytes()
        for file in folder.iterdir()
        if file.is_file() and not file.name.endswith((".lock", "-shm"))
    }


def child(code: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
    lines = (
        "import asyncio, os, signal, sqlite3, sys",
        "from asi_image_async.runtime.journal import Journal, State",
        "path, *_ = sys.argv[1:]",
        code,
    )
    command = [sys.executable, "-c", "\n".join(lines), *map(str, arguments)]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stdin=subprocess.PIPE, **options)  # type: ignore[call-overload]


@contextmanager
def another_process_holding(path: Path) -> Iterator[subprocess.Popen[str]]:
    code = """
async def main():
    async with Journal(path):
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""
    with child(code, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


# -- what is known of an item


async def test_a_request_that_stands_twice_in_a_list_is_two_items(path: Path) -> None:
    async with Journal(path) as journal:
        claims = [await journal.claim(digest) for digest in (FOX, HARE, FOX, FOX)]
    assert [claim.occurrence for claim in claims] == [0, 0, 1, 2]
    assert len({claim.key for claim in claims}) == 4
    assert {claim.state for claim in claims} == {None}


async def test_the_next_run_counts_from_the_beginning_and_knows_what_was_finished(path: Path) -> None:
    async with Journal(path) as journal:
        first, second = await journal.claim(FOX), await journal.claim(FOX)
        await journal.record(first.key, State.DONE, "a.jpg\nb.jpg")
        await journal.record(second.key, State.FAILED, "400: no", "a fox")
    async with Journal(path) as journal:
        again = [await journal.claim(FOX) for _ in range(3)]
    assert [(claim.state, claim.detail) for claim in again] == [
        (State.DONE, "a.jpg\nb.jpg"),
        (State.FAILED, "400: no"),
        (None, ""),
    ]
    assert [claim.key for claim in again[:2]] == [first.key, second.key]


async def test_the_last_word_on_an_item_holds(path: Path) -> None:
    async with Journal(path) as journal:
        claim = await journal.claim(FOX)
        for state in (State.UNKNOWN, State.FAILED, State.DONE):
            await journal.record(claim.key, state, state, "a fox")
    summary = read_summary(path)
    assert (summary.done, summary.failed, summary.unknown, summary.failures) == (1, 0, 0, ())


async def test_claims_at_the_same_time_are_each_another_item(path: Path) -> None:
    async with Journal(path) as journal:
        claims = await asyncio.gather(*(journal.claim(FOX) for _ in range(2500)))
    assert [claim.occurrence for claim in claims] == list(range(2500))


async def test_the_salt_is_of_the_place_and_stays(tmp_path: Path) -> None:
    salts = []
    for name in ("a", "a", "b"):
        async with Journal(tmp_path / name) as journal:
            salts.append(journal.salt)
    assert salts[0] == salts[1] != salts[2]
    assert {len(salt) for salt in salts} == {16}


async def test_a_place_whose_name_is_not_unicode_can_be_written_down(path: Path) -> None:
    async with Journal(path) as journal:
        claim = await journal.claim(FOX)
        await journal.record(claim.key, State.DONE, os.fsdecode(b"caf\xe9/fox.jpg"))
    async with Journal(path) as journal:
        assert (await journal.claim(FOX)).detail == r"caf\udce9/fox.jpg"


def test_it_can_be_used_again_in_another_event_loop(path: Path) -> None:
    journal = Journal(path)

    async def use() -> tuple[bytes, State | None]:
        async with journal:
            claim = await journal.claim(FOX)
            await journal.record(claim.key, State.DONE, "")
            return journal.salt, claim.state

    before, after = asyncio.run(use()), asyncio.run(use())
    assert before[0] == after[0]
    assert (before[1], after[1]) == (None, State.DONE)


async def test_a_temporary_one_is_forgotten_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    for _ in range(2):
        async with Journal(None) as journal:
            claim = await journal.claim(FOX)
            assert claim.state is None
            await journal.record(claim.key, State.DONE, "x" * 5_000_000)
    assert list(tmp_path.iterdir()) == []


# -- what it has said it wrote is there


async def test_many_records_at_once_are_few_commits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    statements: list[str] = []
    really_open = writing.open_database

    def watched(path: Path | None) -> sqlite3.Connection:
        database = really_open(path)
        database.set_trace_callback(statements.append)
        return database

    monkeypatch.setattr(writing, "open_database", watched)
    await fill(path, 3000)
    assert sum("REPLACE INTO items" in statement for statement in statements) == 3000
    assert statements.count("COMMIT") < 300


async def test_a_record_that_has_returned_survives_kill_9(path: Path) -> None:
    code = """
async def main():
    async with Journal(path) as journal:
        async def one(number):
            claim = await journal.claim(number.to_bytes(16, "big"))
            await journal.record(claim.key, State.DONE, "")
            print(number, flush=True)
            if number == 150:
                os.kill(os.getpid(), signal.SIGKILL)
        for begin in range(0, 1000, 10):
            await asyncio.gather(*map(one, range(begin, begin + 10)))
asyncio.run(main())
"""
    with child(code, path) as process:
        said = [int(line) for line in process.communicate()[0].split()]
    assert process.returncode == -signal.SIGKILL
    assert len(said) > 140
    async with Journal(path) as journal:
        claims = await asyncio.gather(*map(journal.claim, digests(1000)))
    assert {claims[number].state for number in said} == {State.DONE}
    assert {claim.state for claim in claims[170:]} == {None}


async def test_a_record_whose_asker_was_cancelled_is_written_all_the_same(path: Path) -> None:
    async with Journal(path) as journal:
        claim = await journal.claim(FOX)
        recording = asyncio.create_task(journal.record(claim.key, State.DONE, ""))
        await asyncio.sleep(0)
        recording.cancel()
        with pytest.raises(asyncio.CancelledError):
            await recording
    assert read_summary(path).done == 1


async def test_closing_writes_what_still_waits(path: Path) -> None:
    async with Journal(path) as journal:
        keys = [(await journal.claim(digest)).key for digest in digests(50)]
        go_on = threading.Event()
        holding_up = asyncio.create_task(journal._do(lambda _: go_on.wait(10)))
        waiting = [asyncio.create_task(journal.record(key, State.DONE, "")) for key in keys]
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.05, go_on.set)
    assert read_summary(path).done == 50
    await asyncio.gather(holding_up, *waiting)


async def test_after_it_was_closed_it_says_so(path: Path) -> None:
    journal = Journal(path)
    with pytest.raises(JournalError, match="not open"):
        await journal.claim(FOX)
    async with journal:
        pass
    with pytest.raises(JournalError, match="not open"):
        await journal.record(FOX, State.DONE, "")


async def test_when_the_disk_is_full_each_is_told_and_once_there_is_room_it_goes_on(path: Path) -> None:
    """A database that may not grow answers as one on a full disk does."""
    async with Journal(path) as journal:
        keys = [(await journal.claim(digest)).key for digest in digests(100)]
        await journal._do(lambda database: database.execute("PRAGMA max_page_count = 10"))
        recording = [journal.record(key, State.DONE, "x" * 4000) for key in keys]
        async with asyncio.timeout(10):
            results = await asyncio.gather(*recording, return_exceptions=True)
        refused = [result for result in results if result is not None]
        assert len(refused) > 80
        assert all(isinstance(error, JournalError) for error in refused)
        assert "full" in str(refused[0])
        assert "disk is not full" in refused[0].hint  # type: ignore[union-attr]
        kept = sum(result is None for result in results)
        assert (await journal.claim(keys[0])).occurrence == 0  # reading goes on
        assert read_summary(path).done == kept
        await journal._do(lambda database: database.execute("PRAGMA max_page_count = 100000"))
        await asyncio.gather(*(journal.record(key, State.DONE, "") for key in keys))
    assert read_summary(path).done == 100


async def test_how_long_an_earlier_list_was_is_forgotten_when_the_next_begins(path: Path) -> None:
    async with Journal(path) as journal:
        await journal.note("total", 5)
    assert read_summary(path).total == 5
    async with Journal(path):
        pass
    assert read_summary(path).total is None


async def test_what_was_on_its_way_when_a_run_was_killed_is_unknown_and_spent(path: Path) -> None:
    async with Journal(path) as journal:
        gone, back, made = [(await journal.claim(digest)).key for digest in digests(3)]
        for key in (gone, back, made):
            journal.departed(key, "a fox", 2)
        journal.landed(back)
        await journal.record(made, State.DONE, "", spent=1)
    assert read_summary(path).spent == 3
    for _again in range(2):
        async with Journal(path) as journal:
            states = [claim.state for claim in await journal.claim_all(digests(3))]
        assert states == [State.UNKNOWN, None, State.DONE]
        summary = read_summary(path)
        assert (summary.unknown, summary.spent) == (1, 3)
        assert summary.failures == ((State.UNKNOWN, "a fox", "in flight when the run was killed"),)


# -- held by one run at a time


async def test_a_second_holder_is_refused_by_name(path: Path) -> None:
    async with Journal(path):
        with pytest.raises(JournalError, match=f"another run holds .*process {os.getpid()}"):
            await Journal(path).__aenter__()
    async with Journal(path):
        pass


@pytest.mark.parametrize("system", ["flock", "sqlite"])
async def test_it_is_held_with_either_kind_of_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    monkeypatch.setattr("asi_image_async.locks.AVAILABLE", system == "flock")
    async with Journal(path):
        with pytest.raises(JournalError, match="another run holds"):
            await Journal(path).__aenter__()
    async with Journal(path):
        pass


async def test_a_copy_that_this_process_makes_lets_no_other_process_in(path: Path, tmp_path: Path) -> None:
    async with Journal(path):
        shutil.copytree(path.parent, tmp_path.parent / f"{tmp_path.name}-copy")
        with child("asyncio.run(Journal(path).__aenter__())", path, stderr=subprocess.PIPE) as process:
            _, said = process.communicate(timeout=30)
    assert "another run holds" in said


async def test_another_program_s_lock_is_waited_for(path: Path) -> None:
    async with Journal(path) as journal:
        waits = await journal._do(lambda database: database.execute("PRAGMA busy_timeout").fetchone())
    assert waits == (60_000,)


@pytest.mark.parametrize("ending", ["-wal", ".lock"])
async def test_where_a_file_beside_it_is_removed_while_in_use_it_says_so(path: Path, ending: str) -> None:
    async with Journal(path) as journal:
        (claim,) = await journal.claim_all([FOX])
        Path(f"{path}{ending}").unlink()
        with pytest.raises(JournalError, match="moved, removed or replaced"):
            await journal.record(claim.key, State.DONE, "")


async def test_one_that_is_a_link_is_used_as_the_file_itself(path: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    path.symlink_to(tmp_path / "real" / "journal.sqlite")
    await fill(path, 3)
    async with Journal(path) as journal:
        assert (await journal.claim(digests(1)[0])).state is State.DONE
        assert read_summary(path).total is None


async def test_one_journal_by_two_names_is_held_once(path: Path, tmp_path: Path) -> None:
    await fill(path, 1)
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "link.sqlite").symlink_to(path)
    async with Journal(path):
        with pytest.raises(JournalError, match="another run holds"):
            await Journal(other / "link.sqlite").__aenter__()


async def test_a_holder_in_another_process_is_named_and_kill_9_frees_what_it_held(path: Path) -> None:
    with another_process_holding(path) as process:
        with pytest.raises(JournalError, match=f"another run holds .*process {process.pid}") as refused:
            await Journal(path).__aenter__()
        assert "Wait" in refused.value.hint
        process.send_signal(signal.SIGKILL)
        process.wait()
        async with Journal(path) as journal:
            assert (await journal.claim(FOX)).state is None


async def test_one_object_is_open_once(path: Path) -> None:
    async with Journal(None) as journal:
        with pytest.raises(JournalError, match="open already"):
            await journal.__aenter__()
        assert (await journal.claim(FOX)).occurrence == 0


async def test_opening_that_was_cancelled_holds_nothing(path: Path) -> None:
    for pause in (0.0, 0.001, 0.003):
        opening = asyncio.create_task(Journal(path).__aenter__())
        await asyncio.sleep(pause)
        if opening.cancel():
            with pytest.raises(asyncio.CancelledError):
                await opening
        else:
            await opening.result().__aexit__(None, None, None)
        async with Journal(path):
            pass


async def test_a_cancelled_run_has_let_go_of_it_when_it_has_ended(path: Path) -> None:
    for _ in range(5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), Journal(path) as journal:
                await journal._do(lambda _: threading.Event().wait(0.05))
        async with Journal(path):
            pass


# -- what is not to be touched


async def refused(path: Path, sentence: str, folder: Path) -> None:
    """Both a run and a look at it are refused by name, and every file is as it was."""
    before = contents(folder)
    with pytest.raises(JournalError, match=sentence):
        await Journal(path).__aenter__()
    assert contents(folder) == before
    with pytest.raises(JournalError, match=sentence):
        read_summary(path)
    assert contents(folder) == before


async def use_all(path: Path, count: int) -> str:
    """A run in which all items stand, and a look: what it was refused with."""
    try:
        async with Journal(path) as journal:
            claims = await asyncio.gather(*map(journal.claim, digests(count)))
            await asyncio.gather(*(journal.record(one.key, State.DONE, one.detail) for one in claims))
        return "" if read_summary(path).done >= count else "items are missing"
    except JournalError as error:
        return str(error)


@pytest.mark.parametrize("killed", [False, True], ids=["closed", "killed"])
async def test_one_of_a_newer_version_is_refused_and_untouched(
    path: Path, tmp_path: Path, killed: bool
) -> None:
    await fill(path, 10)
    if killed:  # what it wrote last is still in the log beside it
        code = """
database = sqlite3.connect(path, isolation_level=None)
database.execute("PRAGMA user_version = 2")
os.kill(os.getpid(), signal.SIGKILL)
"""
        with child(code, path) as process:
            process.wait()
        assert (tmp_path / "journal.sqlite-wal").stat().st_size > 0
    else:
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA user_version = 2")
    await refused(path, "newer version", tmp_path)


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
async def test_a_database_of_another_program_is_refused_and_untouched(
    path: Path, tmp_path: Path, mode: str
) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA journal_mode = {mode}")
        database.execute("CREATE TABLE items (key, state)")
    await refused(path, "another program", tmp_path)


@pytest.mark.parametrize("content", [b"garbage", b"\0" * 5000, b"SQLite format 3\0" + b"\xff" * 5000])
async def test_a_file_that_is_none_of_ours_is_refused_and_untouched(
    path: Path, tmp_path: Path, content: bytes
) -> None:
    path.write_bytes(content)
    await refused(path, "damaged", tmp_path)


async def test_one_that_was_cut_is_refused_wherever_it_was_cut_and_untouched(
    path: Path, tmp_path: Path
) -> None:
    await fill(path, 500)
    whole = path.read_bytes()
    assert len(whole) > 10 * 4096
    cuts = {1, 50, 99, 100, 4095, 4096, 4097, 8192, len(whole) // 2, len(whole) - 4096, len(whole) - 1}
    for cut in sorted(cuts):
        path.write_bytes(whole[:cut])
        await refused(path, "damaged", tmp_path)
    path.write_bytes(whole)
    async with Journal(path) as journal:
        assert (await journal.claim(digests(1)[0])).state is State.DONE


async def test_whatever_byte_of_it_was_changed_it_is_refused_untouched_or_can_be_used(
    path: Path, tmp_path: Path
) -> None:
    """SQLite keeps no sums of its pages: a changed letter in a text cannot be told. All else is."""
    await fill(path, 200)
    whole = path.read_bytes()
    chance = random.Random(7)
    # The header and the heads of the pages, where it hurts most, and anywhere.
    places = [*range(0, 100, 3), *chance.sample(range(len(whole)), 60)]
    places += [page + offset for page in range(0, len(whole), 4096) for offset in (0, 3, 5, 9)]
    told = 0
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= chance.randrange(1, 256)
        path.write_bytes(changed)
        before = contents(tmp_path)
        said = await use_all(path, 200)
        if said:
            told += 1
            assert re.search("damaged|another program|newer|cannot be used", said)
            assert contents(tmp_path) == before
        for file in tmp_path.glob("journal.sqlite-*"):
            file.unlink()
    assert told > len(places) // 10


async def test_an_empty_file_is_a_new_journal(path: Path) -> None:
    path.touch()
    assert read_summary(path) == JournalSummary(total=None, done=0, failed=0, unknown=0)
    async with Journal(path) as journal:
        assert len(journal.salt) == 16
        assert (await journal.claim(FOX)).state is None


@pytest.mark.parametrize("statement", [2, 4, 8, 12, 13, 15])
async def test_a_run_that_was_killed_while_it_made_the_journal_is_followed_by_another(
    path: Path, statement: int
) -> None:
    code = f"""
left = {statement}
class Connection(sqlite3.Connection):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.set_trace_callback(count)
def count(_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
connect = sqlite3.connect
sqlite3.connect = lambda *arguments, **options: connect(*arguments, factory=Connection, **options)
async def main():
    async with Journal(path):
        pass
asyncio.run(main())
"""
    with child(code, path) as process:
        process.wait()
    assert process.returncode == -signal.SIGKILL
    async with Journal(path) as journal:
        assert len(journal.salt) == 16
        assert (await journal.claim(FOX)).state is None


async def test_one_that_was_killed_in_its_first_moment_is_made_anew(path: Path) -> None:
    """Before it has its log SQLite keeps what was there in a file beside it, and must bring that back."""
    code = """
database = sqlite3.connect(path, isolation_level=None)
database.execute("PRAGMA cache_size = 1")
database.execute("BEGIN")
database.execute("CREATE TABLE half (made)")
for _ in range(100):
    database.execute("INSERT INTO half VALUES (zeroblob(4000))")
os.kill(os.getpid(), signal.SIGKILL)
"""
    with child(code, path) as process:
        process.wait()
    assert path.stat().st_size > 0
    assert Path(f"{path}-journal").exists()
    async with Journal(path) as journal:
        assert (await journal.claim(FOX)).state is None


async def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    places = [
        tmp_path / "file" / "journal",
        Path("/proc/asi/journal"),
        tmp_path / "a\0b",
    ]
    for place in places:
        with pytest.raises(JournalError, match="cannot be used") as error:
            async with asyncio.timeout(10):
                await Journal(place).__aenter__()
        assert "can be written" in error.value.hint


async def test_a_folder_in_its_place_is_told_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(JournalError, match="it is a folder"):
        await Journal(tmp_path / "folder").__aenter__()
    assert os.listdir(tmp_path) == ["folder"]


async def test_one_that_was_taken_away_while_in_use_says_so_and_brought_back_it_knows_all(
    path: Path, tmp_path: Path
) -> None:
    async with Journal(path) as journal:
        keys = [(await journal.claim(digest)).key for digest in digests(3)]
        await journal.record(keys[0], State.DONE, "")
        path.rename(tmp_path / "elsewhere")
        with pytest.raises(JournalError, match="moved, removed or replaced") as taken:
            await journal.record(keys[1], State.DONE, "")
        assert "Bring it back" in taken.value.hint
        path.touch()  # another one is not it
        with pytest.raises(JournalError, match="moved, removed or replaced"):
            await journal.record(keys[2], State.DONE, "")
    (tmp_path / "elsewhere").replace(path)
    async with Journal(path) as journal:
        assert [claim.state for claim in await journal.claim_all(digests(3))] == [State.DONE] * 3


# -- looked at from outside


async def test_the_summary_counts_and_shows_the_first_failures(path: Path) -> None:
    async with Journal(path) as journal:
        await journal.note("total", 1200)
        keys = [(await journal.claim(digest)).key for digest in digests(1000)]
        for number, key in enumerate(keys):
            if number < 500:
                await journal.record(key, State.DONE, "")
            else:
                await journal.record(key, (State.FAILED, State.UNKNOWN)[number % 2], "why", f"{number}")
        during = read_summary(path, failures=3)
        assert (during.total, during.done, during.failed, during.unknown) == (1200, 500, 250, 250)
        assert during.left == 200
        assert len(during.failures) == 3
        assert all(detail == "why" and 500 <= int(prompt) < 1000 for _, prompt, detail in during.failures)
    assert read_summary(path, failures=3) == during
    assert len(read_summary(path).failures) == 100


async def test_the_summary_tells_what_is_in_flight(path: Path) -> None:
    async with Journal(path) as journal:
        await journal.note("total", 3)
        keys = [(await journal.claim(digest)).key for digest in digests(3)]
        await journal.record(keys[0], State.FAILED, "why", "asked once more")
        for key in keys[:2]:
            journal.departed(key, "a fox", 1)
        await journal.recall("total")  # what was posted goes before it
        summary = read_summary(path)
        assert (summary.failed, summary.in_flight, summary.left) == (1, 1, 1)
        for key in keys[:2]:
            await journal.record(key, State.DONE, "")
    assert (read_summary(path).done, read_summary(path).in_flight, read_summary(path).left) == (2, 0, 1)


async def test_the_summary_is_of_the_last_list_and_says_what_is_of_others(path: Path) -> None:
    async with Journal(path) as journal:
        for digest in digests(20):
            await journal.record((await journal.claim(digest)).key, State.DONE, "", spent=1)
        await journal.record((await journal.claim(b"refused")).key, State.FAILED, "why", "a prompt")
    async with Journal(path) as journal:  # another list, and it is killed after the tenth
        await journal.note("total", 15)
        for digest in digests(5):
            assert (await journal.claim(digest)).state is State.DONE
        for number in range(5):
            await journal.record((await journal.claim(b"new %d" % number)).key, State.DONE, "", spent=1)
    summary = read_summary(path)
    assert (summary.total, summary.done, summary.failed, summary.left) == (15, 10, 0, 5)
    assert (summary.earlier, summary.spent) == (15, 25)


async def test_a_look_does_not_disturb_a_run_and_a_run_does_not_disturb_a_look(path: Path) -> None:
    await fill(path, 1)
    seen = []
    async with Journal(path) as journal:
        for batch in range(10):
            keys = [(await journal.claim(bytes(15) + bytes([batch, n])[-1:])).key for n in range(10)]
            recording = asyncio.gather(*(journal.record(key, State.DONE, "") for key in keys))
            seen.append((await asyncio.to_thread(read_summary, path)).done)
            await recording
    assert seen == sorted(seen)
    assert seen[0] >= 1


async def test_a_look_leaves_no_file_beside_a_journal_at_rest(path: Path, tmp_path: Path) -> None:
    await fill(path, 10)
    before = sorted(os.listdir(tmp_path))
    assert read_summary(path).done == 10
    assert sorted(os.listdir(tmp_path)) == before == ["journal.sqlite", "journal.sqlite.lock"]


async def test_a_look_after_a_crash_sees_what_was_written(path: Path) -> None:
    code = """
async def main():
    async with Journal(path) as journal:
        claim = await journal.claim(bytes(16))
        await journal.record(claim.key, State.DONE, "")
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    with child(code, path) as process:
        process.wait()
    assert read_summary(path).done == 1
    assert read_summary(path).total is None
    assert read_summary(path).left is None


async def test_pictures_that_are_done_and_not_there_are_counted_by_their_names_alone(path: Path) -> None:
    places = ["out/a.jpg\nout/a-2.jpg", "C:\\old\\b.jpg", "", "elsewhere/c.jpg"]
    async with Journal(path) as journal:
        for digest, place in zip(digests(4), places, strict=True):
            await journal.record((await journal.claim(digest)).key, State.DONE, place)
        failed = (await journal.claim(FOX)).key
        await journal.record(failed, State.FAILED, "out/fox.jpg")
        assert find_missing(path, ["a.jpg", "a-2.jpg", "b.jpg", "c.jpg", "mine.jpg"]) == (0, "")
    assert find_missing(path, iter(["a.jpg", "c.jpg"])) == (2, "a-2.jpg")


async def test_what_a_run_stores_while_its_folder_is_looked_at_is_not_missing(path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with Journal(path) as journal:
        keys = [(await journal.claim(digest)).key for digest in (FOX, HARE)]
        await journal.record(keys[0], State.DONE, "out/fox.jpg")

        def listing() -> Iterator[str]:  # it began before the hare was stored
            storing = journal.record(keys[1], State.DONE, "out/hare.jpg")
            asyncio.run_coroutine_threadsafe(storing, loop).result(10)
            yield "fox.jpg"

        assert await asyncio.to_thread(find_missing, path, listing()) == (0, "")
    assert find_missing(path, ["fox.jpg"]) == (1, "hare.jpg")


async def test_a_hundred_thousand_pictures_are_looked_for_in_a_moment(path: Path) -> None:
    names = [f"picture-{number:012}.jpg" for number in range(100_000)]
    async with Journal(path) as journal:
        rows = [(number.to_bytes(16, "big"), f"out/{name}") for number, name in enumerate(names)]
        insert = "INSERT INTO items VALUES (?, 'done', NULL, ?, 0, 1)"
        await journal._do(lambda database: database.executemany(insert, rows))
    before = time.thread_time()
    assert find_missing(path, names[1:]) == (1, names[0])
    assert time.thread_time() - before < 2


@pytest.mark.parametrize("name", ["nowhere", "folder", "a\0b"])
def test_where_there_is_no_journal_a_look_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(JournalError, match="there is no journal"):
        read_summary(tmp_path / name)


def test_a_journal_that_nobody_may_look_at_is_not_taken_for_none(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with locked(folder):
        for place in (folder / "journal.sqlite", tmp_path / TOO_LONG):
            for look in (
                lambda path: read_summary(path),
                lambda path: read_sends(path),
                lambda path: list(read_states(path, [FOX])),
                lambda path: find_missing(path, []),
            ):
                with pytest.raises(JournalError, match=r"be used: (Permission denied|File name too long)"):
                    look(place)


async def test_what_is_written_is_flushed_before_anybody_goes_on(path: Path) -> None:
    async with Journal(path) as journal:
        full = await journal._do(lambda database: database.execute("PRAGMA synchronous").fetchone())
        on_macos = await journal._do(lambda database: database.execute("PRAGMA fullfsync").fetchone())
    assert (full, on_macos) == ((2,), (1,))  # sqlite.org/pragma.html: FULL, and F_FULLFSYNC


async def test_what_nobody_waits_for_is_written_before_it_is_closed(path: Path) -> None:
    async with Journal(path) as journal:
        key = (await journal.claim(b"1" * 16)).key
        journal.departed(key, "a fox", 1)
        await journal.claim(b"2" * 16)
        journal.landed(key)
    async with Journal(path) as journal:
        assert (await journal.claim(b"1" * 16)).state is None
        assert not await journal.recall("spent")
