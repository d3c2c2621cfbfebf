"""What a limit for several processes promises; its clock is handed in where no other process is needed."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from locked import locked

from asi_image_async.core.pace import margin
from asi_image_async.errors import ConfigurationError
from asi_image_async.runtime import shared
from asi_image_async.runtime.shared import SharedLimit, next_slot, window

pytestmark = pytest.mark.anyio
on_unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals and rights")


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_BUSY", 0.03)
    monkeypatch.setattr(shared, "_PAUSE", 0.03)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "limit"


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


async def waits(limit: SharedLimit) -> bool:
    """Whether it has tried three times and has nothing yet."""
    tries, trying, real = 0, 0, limit._transact

    def tell(n: int, closed_until: float) -> float:
        nonlocal tries, trying
        tries, trying = tries + 1, trying + 1
        try:
            return real(n, closed_until)
        finally:
            trying -= 1

    limit._transact = tell  # type: ignore[method-assign]
    asking = asyncio.create_task(limit.reserve())
    with anyio.fail_after(30):
        while tries < 3 and not asking.done():
            await anyio.sleep(0.005)
        waited = asking.cancel()
        await asyncio.wait([asking])
        while trying:  # the try that was given up is not to find the file mended
            await anyio.sleep(0.005)
    limit._transact = real  # type: ignore[method-assign]
    return waited


async def soon(limit: SharedLimit) -> float:
    with anyio.fail_after(5):
        return await limit.reserve()


# The arithmetic


def test_the_next_slot_keeps_order_window_and_penalty() -> None:
    never = -math.inf
    assert next_slot(5, never, never, 60, never) == 5
    assert next_slot(5, 7, never, 60, never) == 7
    assert next_slot(5, 7, 4, 60, never) == 64 + margin(60)
    assert next_slot(5, 7, 4, 60, 100) == 100


def test_a_slot_leaves_time_for_a_connection_where_the_window_is_long_enough() -> None:
    assert [round(window(per) - per, 6) for per in (1, 10, 60, 86400)] == [0.05, 0.5, 0.5, 0.5]


steps = st.lists(
    st.tuples(st.integers(0, 2), st.floats(0, 3), st.integers(1, 4), st.sampled_from([0, 0, 0, 5])),
    min_size=1,
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.floats(0.1, 10), steps)
def test_no_window_is_ever_over_its_number_and_each_slot_is_the_earliest(
    n: int, per: float, steps: list[tuple[int, float, int, float]]
) -> None:
    clock, slots, closed = Clock(), list[float](), -math.inf
    with tempfile.TemporaryDirectory() as folder:
        limits = [SharedLimit(n, per, Path(folder, "limit"), clock=clock) for _ in range(3)]
        for who, later, count, penalty in steps:
            clock.now += later * per / n
            if penalty:
                closed = max(closed, clock.now + penalty)
                limits[who]._transact(0, clock.now + penalty)
            count = min(count, n)
            slot = limits[who]._transact(count, -math.inf)
            leaves = slots[count - n - 1] if len(slots) > n - count else -math.inf
            assert slot == next_slot(clock.now, slots[-1] if slots else -math.inf, leaves, per, closed)
            slots += [slot] * count
    assert slots == sorted(slots)
    assert all(later - first > per for first, later in zip(slots, slots[n:], strict=False))


async def test_a_limit_is_used_at_once_and_by_all_together(place: Path) -> None:
    clock = Clock()
    one, other = (SharedLimit(3, 60, place, clock=clock) for _ in range(2))
    step = 60 + margin(60)
    answers = [await limit.reserve() for limit in (one, other, one, other, one, other, one)]
    assert answers == pytest.approx([0, 0, 0, step, step, step, 2 * step])


async def test_those_who_ask_in_one_process_are_served_in_order(place: Path) -> None:
    limit, answers = SharedLimit(1, 60, place, clock=Clock()), dict[int, float]()

    async def ask(number: int) -> None:
        answers[number] = await limit.reserve()

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(ask, number)
    assert sorted(answers, key=answers.__getitem__) == list(range(8))


async def test_a_penalty_holds_for_everyone_and_for_a_day_at_most(place: Path) -> None:
    clock = Clock()
    one, other = (SharedLimit(3, 1, place, clock=clock) for _ in range(2))
    await one.penalize(30)
    await one.penalize(-5)
    assert await other.reserve() == 30
    await other.penalize(math.inf)
    assert await one.reserve() == 86400


async def test_under_one_name_each_keeps_its_own_limit_and_counts_all(place: Path) -> None:
    clock = Clock()
    wide, narrow = SharedLimit(100, 1, place, clock=clock), SharedLimit(3, 60, place, clock=clock)
    for _ in range(3):
        assert await wide.reserve() == 0
    assert await narrow.reserve() == pytest.approx(60 + margin(60))
    clock.now += 120
    for _ in range(3):
        assert await wide.reserve() == 0
    clock.now += 30
    assert await wide.reserve() == 0  # and does not throw away what the other has to count
    assert await narrow.reserve() == pytest.approx(30 + margin(60))


async def test_old_slots_are_thrown_away(place: Path) -> None:
    clock = Clock()
    limit = SharedLimit(2, 1, place, clock=clock)
    for _ in range(100):
        clock.now += await limit.reserve()
    with closing(sqlite3.connect(place)) as database:
        assert database.execute("SELECT count(*) FROM slots").fetchone()[0] <= 4


# Names


async def test_a_bare_name_is_a_file_that_only_the_user_may_touch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    limit = SharedLimit(1, 1, "asi.free-plan")
    assert await limit.reserve() == 0
    assert limit.path.is_file()
    assert limit.path.parent.parent == tmp_path
    if sys.platform != "win32":
        assert limit.path.parent.stat().st_mode & 0o777 == 0o700
        limit.path.parent.chmod(0o777)  # somebody else may have made it
        assert await waits(limit)
        limit.path.parent.chmod(0o700)
        await soon(limit)


@pytest.mark.parametrize("name", ["", ".", "..", "a b", ".hidden", "x" * 101, "a\0b"])
def test_what_is_no_safe_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="not a name"):
        SharedLimit(1, 1, name)


async def test_a_path_may_lead_into_folders_to_be_made(tmp_path: Path) -> None:
    assert await SharedLimit(1, 1, f"{tmp_path}/a/b/limit").reserve() == 0
    assert (tmp_path / "a/b/limit").is_file()


# Clocks


@pytest.mark.parametrize("jump", [-1e9, -3600, 3600, 1e9])
async def test_setting_the_time_of_day_changes_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    clock, day = Clock(), Clock(1.7e9)
    monkeypatch.setattr(shared, "time", SimpleNamespace(time=day))
    limit = SharedLimit(1, 60, place, clock=clock)
    await limit.reserve()
    clock.now += 20
    day.now += 20 + jump
    assert await limit.reserve() == pytest.approx(40 + margin(60))


@pytest.mark.parametrize("named", [True, False], ids=["Linux", "elsewhere"])
@pytest.mark.parametrize(
    ("since", "left"),
    [(20, 40), (1000, 0), (-20, 60), (-1e9, 60)],
    ids=["soon", "later", "set back a little", "set back by years"],
)
async def test_after_a_new_start_of_the_machine_the_time_of_day_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, since: float, left: float, named: bool
) -> None:
    day, boot, place = Clock(1.7e9), tmp_path / "boot_id", tmp_path / "limit"
    monkeypatch.setattr(shared, "time", SimpleNamespace(time=day))
    monkeypatch.setattr(shared, "_BOOT", boot)
    if named:
        boot.write_text("one")
    before = SharedLimit(1, 60, place, clock=Clock(5000))
    await before.reserve()
    await before.reserve()  # whoever was to go later is gone as well
    day.now += since
    if named:
        boot.write_text("two")
    answer = await SharedLimit(1, 60, place, clock=Clock(6000 if named else 10)).reserve()
    latest = 60 + margin(60)  # the second slot was still to come: it counts as just gone
    assert answer <= latest
    assert answer == pytest.approx(latest if since < 1000 else left)


async def test_a_penalty_outlives_a_new_start_but_never_grows(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = Clock(1.7e9)
    monkeypatch.setattr(shared, "time", SimpleNamespace(time=day))
    await SharedLimit(1, 1, place, clock=Clock(5000)).penalize(600)
    day.now += 100
    assert await SharedLimit(1, 1, place, clock=Clock(10)).reserve() == pytest.approx(500)
    await SharedLimit(1, 1, place, clock=Clock(10)).penalize(600)
    day.now -= 1e8
    assert await SharedLimit(1, 1, place, clock=Clock(5)).reserve() <= 600


# What is lost, damaged, locked or out of reach


def cut(place: Path) -> None:
    place.write_bytes(place.read_bytes()[:-4096])


def another_program(place: Path) -> None:
    place.unlink()
    with closing(sqlite3.connect(place)) as database:
        database.execute("CREATE TABLE state (a)")


def strange_rows(place: Path) -> None:
    with closing(sqlite3.connect(place)) as database, database:
        database.execute("UPDATE state SET closed = 'tomorrow'")


def strange_slot(place: Path) -> None:
    with closing(sqlite3.connect(place)) as database, database:
        database.execute("UPDATE slots SET at = 'now'")


def no_state(place: Path) -> None:
    with closing(sqlite3.connect(place)) as database, database:
        database.execute("DELETE FROM state")


def a_folder(place: Path) -> None:
    place.unlink()
    place.mkdir()


DAMAGES: list[Callable[[Path], object]] = [
    lambda place: place.write_bytes(b"garbage"),
    lambda place: place.write_bytes(b"garbage" * 5000),
    lambda place: place.write_bytes(bytes(8192)),
    cut, another_program, strange_rows, strange_slot, no_state, a_folder,
]  # fmt: skip
NAMES = [
    "few bytes", "garbage", "zeros", "cut", "another program", "strange rows", "strange slot", "no state",
    "a folder",
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=NAMES)
async def test_a_damaged_file_makes_it_wait_and_say_so_once(
    place: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    limit = SharedLimit(2, 60, place, clock=clock)
    await limit.reserve()
    whole = place.read_bytes()
    damage(place)
    stranger = SharedLimit(2, 60, place, clock=clock)
    assert await asyncio.gather(waits(limit), waits(stranger)) == [True, True]
    assert [record.name for record in caplog.records] == ["asi_image_async"] * 2
    assert str(place) in caplog.text
    if place.is_dir():
        place.rmdir()
    place.write_bytes(whole)
    assert [await soon(limit), await soon(limit)] == pytest.approx([0, 60 + margin(60)])


@pytest.mark.parametrize("emptied", [False, True])
async def test_a_lost_file_is_made_anew_and_counts_as_just_filled(place: Path, emptied: bool) -> None:
    clock = Clock()
    one, other = (SharedLimit(2, 60, place, clock=clock) for _ in range(2))
    await one.reserve()
    await other.reserve()
    clock.now += 10
    place.write_bytes(b"") if emptied else place.unlink()
    step = 60 + margin(60)
    assert await one.reserve() == pytest.approx(step)
    clock.now += 10
    assert await other.reserve() == pytest.approx(step - 10)
    clock.now += 10
    assert await one.reserve() == pytest.approx(2 * step - 20)


async def test_a_lost_file_that_a_stranger_made_anew_counts_as_just_filled_too(place: Path) -> None:
    clock = Clock()
    old = SharedLimit(2, 60, place, clock=clock)
    await old.reserve()
    place.unlink()
    assert await SharedLimit(2, 60, place, clock=clock).reserve() == 0  # it cannot know
    clock.now += 10
    assert await old.reserve() == pytest.approx(50 + margin(60))


async def test_a_folder_that_is_gone_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    limit = SharedLimit(1, 60, folder / "limit", clock=Clock())
    await limit.reserve()
    folder.rename(tmp_path / "away")
    assert await waits(limit)
    (tmp_path / "away").rename(folder)
    assert await soon(limit) == pytest.approx(60 + margin(60))


def read_only(place: Path) -> AbstractContextManager[None]:
    return locked(place, 0o444)


@contextmanager
def full_disk(place: Path) -> Iterator[None]:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@on_unix
@pytest.mark.parametrize("trouble", [read_only, full_disk])
async def test_what_cannot_be_written_is_waited_for(trouble: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "limit")
        limit = SharedLimit(1, 60, place, clock=Clock())
        await limit.reserve()
        with trouble(place):  # type: ignore[attr-defined]
            waited = await waits(limit)
        assert waited
        assert await soon(limit) == pytest.approx(60 + margin(60))


async def test_while_the_file_is_locked_the_loop_goes_on_and_giving_up_takes_no_time(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "_BUSY", 5.0)
    limit = SharedLimit(100, 1, place)
    await limit.reserve()
    with closing(sqlite3.connect(place, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        begun, ticks = time.monotonic(), 0
        with anyio.move_on_after(0.2):
            async with anyio.create_task_group() as group:
                group.start_soon(limit.reserve)
                while True:
                    await anyio.sleep(0.01)
                    ticks += 1
        assert time.monotonic() - begun < 4
        assert ticks >= 5
    await soon(limit)


@on_unix
async def test_a_file_that_is_replaced_while_its_lock_is_waited_for_is_left_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "_BUSY", 2.0)
    clock = Clock()
    old = SharedLimit(1, 60, place, clock=clock)
    await old.reserve()
    clock.now += 100
    with closing(sqlite3.connect(place, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        asking = asyncio.create_task(old.reserve())
        await anyio.sleep(0.1)
        place.unlink()
        assert await SharedLimit(1, 60, place, clock=clock).reserve() == 0
    assert await asking == pytest.approx(60 + margin(60))


async def test_it_needs_none_of_the_common_threads(place: Path) -> None:
    common, go_on = anyio.to_thread.current_default_thread_limiter(), threading.Event()
    async with anyio.create_task_group() as group:
        for _ in range(int(common.total_tokens)):
            group.start_soon(anyio.to_thread.run_sync, go_on.wait)
        await anyio.wait_all_tasks_blocked()
        try:
            assert common.available_tokens == 0
            await SharedLimit(1, 60, place).reserve()
        finally:
            go_on.set()


async def test_what_was_cancelled_loses_its_own_slot_at_most(place: Path) -> None:
    clock = Clock()
    limit = SharedLimit(50, 60, place, clock=clock)
    for number in range(20):
        with anyio.move_on_after(number * 0.0002):
            await limit.reserve()
    assert [await soon(limit) for _ in range(30)] == [0] * 30


def test_loops_one_after_another_and_side_by_side_keep_it_together(place: Path) -> None:
    limit, slots = SharedLimit(5, 60, place, clock=Clock()), list[float]()

    async def ask() -> None:
        for _ in range(10):
            slots.append(await limit.reserve())

    asyncio.run(ask())
    threads = [threading.Thread(target=asyncio.run, args=(ask(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [number // 5 * (60 + margin(60)) for number in range(40)]
    assert sorted(slots) == pytest.approx(expected)


# Other processes

HOLD = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")
database.execute("BEGIN EXCLUSIVE")
database.execute("UPDATE slots SET at = 1e9")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""
SHARE = """
import json, sys, time, anyio
from asi_image_async.runtime.shared import SharedLimit

async def main():
    limit, slots = SharedLimit(20, 1, sys.argv[1]), []
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.monotonic() + float(sys.argv[2])
    while time.monotonic() < end:
        wait = await limit.reserve()
        slots.append(limit._last)
        await anyio.sleep(wait)
    print(json.dumps(slots))

anyio.run(main)
"""


@contextmanager
def child(code: str, place: Path, seconds: float = 60) -> Iterator[subprocess.Popen[str]]:
    """A process that has said that it is there."""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(place), str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


@on_unix
async def test_a_holder_that_is_stopped_is_waited_for_and_one_that_is_killed_blocks_nobody(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limit = SharedLimit(1, 60, place, clock=Clock())
    await limit.reserve()
    with child(HOLD, place) as holder:
        holder.send_signal(signal.SIGSTOP)
        assert await waits(limit)
        assert "locked" in caplog.text
        holder.kill()
        holder.wait()
        assert await soon(limit) == pytest.approx(60 + margin(60))  # and what it had begun is undone


async def test_four_processes_keep_20_a_second_together_and_none_starves(place: Path) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(child(SHARE, place, 3.4)) for _ in range(4)]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        shares = [json.loads(process.communicate()[0]) for process in processes]
    slots = sorted(slot for share in shares for slot in share)
    assert all(later - first > 1 for first, later in zip(slots, slots[20:], strict=False))
    possible = 4 * 20  # at 0, 1, 2 and 3 seconds; a busy machine may be late for the last
    assert sum(slot < slots[0] + 3.4 for slot in slots) >= 0.7 * possible
    # The first twenty may go to whoever was there first.
    later_shares = [sum(slot > slots[0] + 0.5 for slot in share) for share in shares]
    assert min(later_shares) >= max(later_shares) / 4
    assert all(one <= other for share in shares for one, other in pairwise(share))


async def test_a_penalty_reaches_another_process(place: Path) -> None:
    limit = SharedLimit(20, 1, place)
    with child(SHARE, place, 0.1) as process:
        closed = time.monotonic() + 0.7
        await limit.penalize(0.7)
        said, _ = await anyio.to_thread.run_sync(process.communicate, "\n")
    assert json.loads(said)[0] >= closed


async def test_a_limit_that_is_done_with_leaves_nothing_in_the_loop(place: Path) -> None:
    limit = SharedLimit(100, 1, place)
    await limit.reserve()
    gone = weakref.ref(limit._turns[asyncio.get_running_loop()])
    del limit
    gc.collect()
    assert gone() is None
