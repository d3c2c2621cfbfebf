"""What `run` promises: every picture in the sink once, every outcome in the journal, an honest report."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp import web
from conftest import KEY
from service import Service, reply

from asi_image_async import CallbackSink, DiskSink, Generation, ImageSession, MemorySink, Receipt, RetryPolicy
from asi_image_async.errors import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    InvalidResponseError,
    JournalError,
    QuotaExceededError,
    SinkError,
)
from asi_image_async.events import ImageNotStored, ImageStored, OutcomeReady, RetryScheduled
from asi_image_async.runtime.journal import Claim, Journal, State
from asi_image_async.runtime.journal.summary import find_missing, read_summary

pytestmark = pytest.mark.anyio


@pytest.fixture
async def session(service: Service) -> AsyncIterator[ImageSession]:
    retry = RetryPolicy(backoff=0.001)
    async with ImageSession(KEY, base_url=service.base_url, max_concurrency=4, retry=retry) as session:
        yield session


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


async def test_every_picture_reaches_the_sink_and_the_report_adds_up(
    session: ImageSession, journal: Path
) -> None:
    sink = MemorySink()
    report = await session.run([f"prompt {n}" for n in range(20)], sink, journal=journal)
    assert report.ok
    assert (report.total, report.succeeded, report.requests) == (20, 20, 20)
    assert report.bytes_written == sum(len(generation.image.data) for generation in sink)
    assert sorted(generation.request.prompt for generation in sink) == sorted(
        f"prompt {n}" for n in range(20)
    )


async def test_a_second_run_sends_nothing(service: Service, session: ImageSession, journal: Path) -> None:
    prompts = [f"prompt {n}" for n in range(20)]
    await session.run(prompts, MemorySink(), journal=journal)
    report = await session.run(prompts, MemorySink(), journal=journal)
    assert report.ok
    assert (report.total, report.skipped, report.requests) == (20, 20, 0)
    assert len(service.bodies) == 20


async def test_an_edited_and_reordered_list_asks_for_what_is_new_only(
    service: Service, session: ImageSession, journal: Path
) -> None:
    await session.run(["a", "b", "c", "b"], MemorySink(), journal=journal)
    report = await session.run(["new", "c", "b", "b", "b", "a"], MemorySink(), journal=journal)
    assert report.skipped == 4
    assert sorted(service.prompts[4:]) == ["b", "new"]


async def test_size_model_and_extra_fields_make_another_request_and_id_and_metadata_do_not(
    service: Service, session: ImageSession, journal: Path
) -> None:
    first = [{"prompt": "a", "id": "1", "metadata": {"note": "x"}}]
    await session.run(first, MemorySink(), journal=journal)
    others = [
        {"prompt": "a", "size": "512x512"},
        {"prompt": "a", "model": "asi1"},
        {"prompt": "a", "seed": 1},
    ]
    report = await session.run([{"prompt": "a"}, *others], MemorySink(), journal=journal)
    assert (report.skipped, report.succeeded) == (1, 3)


async def test_an_item_carries_the_same_idempotency_key_in_every_run(
    service: Service, session: ImageSession, journal: Path
) -> None:
    service.says(lambda: reply({"message": "no"}, 400))
    await session.run(["a"], MemorySink(), journal=journal)
    await session.run(["b", "a"], MemorySink(), journal=journal)
    keys = list(zip(service.prompts, (head["Idempotency-Key"] for head in service.headers), strict=True))
    assert len(keys) == 3
    assert len(set(keys)) == 2


async def test_failures_are_outcomes_and_are_asked_again_by_the_next_run(
    service: Service, session: ImageSession, journal: Path
) -> None:
    service.says(lambda: reply({"message": "a bad one"}, 400), reply)
    report = await session.run(["a"], MemorySink(), journal=journal)
    assert not report.ok
    assert (report.failed, report.stopped_by) == (1, None)
    assert isinstance(report.failures[0].error, BadRequestError)
    summary = read_summary(journal)
    assert summary.failures == ((State.FAILED, "a", "400: a bad one"),)
    assert (await session.run(["a"], MemorySink(), journal=journal)).succeeded == 1
    assert read_summary(journal).failed == 0


async def test_what_may_have_been_billed_is_unknown_and_asked_again_only_by_the_users_word(
    service: Service, session: ImageSession, journal: Path
) -> None:
    async def cut(number: int, request: web.Request) -> web.StreamResponse:
        if number == 0:
            request.transport.close()  # type: ignore[union-attr]
        return reply()

    service.answer = cut
    report = await session.run(["a"], MemorySink(), journal=journal)
    assert (report.unknown, report.failed, len(service.bodies)) == (1, 0, 1)
    assert read_summary(journal).unknown == 1
    kept = await session.run(["a"], MemorySink(), journal=Journal(journal, ask_unknown_again=False))
    assert (kept.unknown, kept.requests) == (1, 0)
    assert isinstance(kept.failures[0].error, APIError)
    assert kept.failures[0].error.maybe_billed
    assert (await session.run(["a"], MemorySink(), journal=journal)).succeeded == 1


@pytest.mark.parametrize("status", [400, 503])
async def test_what_an_earlier_run_may_have_been_billed_for_stays_unknown_however_it_fails_again(
    service: Service, session: ImageSession, journal: Path, status: int
) -> None:
    async def cut(number: int, request: web.Request) -> web.StreamResponse:
        if number == 0:
            request.transport.close()  # type: ignore[union-attr]
        return web.json_response({"message": "no"}, status=status)

    service.answer = cut
    await session.run(["a"], MemorySink(), journal=journal)
    again = await session.run(["a"], MemorySink(), journal=journal)
    assert again.requests >= 1
    assert (again.unknown, read_summary(journal).unknown, read_summary(journal).spent) == (1, 1, 1)
    asked = len(service.bodies)
    kept = await session.run(["a"], MemorySink(), journal=Journal(journal, ask_unknown_again=False))
    assert (kept.unknown, len(service.bodies)) == (1, asked)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [(401, {"message": "no"}, AuthenticationError), (429, {"message": "quota spent"}, QuotaExceededError)],
)
async def test_what_would_fail_for_all_stops_the_run_by_name_and_the_rest_stays_to_be_asked(
    service: Service, session: ImageSession, journal: Path, status: int, body: object, error: type[Exception]
) -> None:
    service.says(*[reply] * 6, lambda: reply(body, status))
    sink = MemorySink()
    report = await session.run([f"{n}" for n in range(50)], sink, journal=journal)
    assert isinstance(report.stopped_by, error)
    assert not report.ok
    assert report.total == 50
    assert report.succeeded == len(sink) == 6
    assert len(service.bodies) <= 6 + 4
    service.says(reply)
    again = await session.run([f"{n}" for n in range(50)], sink, journal=journal)
    assert (again.skipped, again.succeeded) == (6, 44)


async def test_fail_fast_stops_at_the_first_failure(
    service: Service, session: ImageSession, journal: Path
) -> None:
    service.says(lambda: reply({"message": "no"}, 400))
    report = await session.run((f"{n}" for n in range(50)), MemorySink(), journal=journal, fail_fast=True)
    assert isinstance(report.stopped_by, BadRequestError)
    assert len(service.bodies) <= 5


async def test_fail_fast_is_of_this_run_not_of_what_an_earlier_one_left_unknown(
    service: Service, session: ImageSession, journal: Path
) -> None:
    service.says(lambda: reply({}, 504))
    first = await session.run(["a"], MemorySink(), journal=journal)
    service.says(reply)
    left_alone = Journal(journal, ask_unknown_again=False)
    again = await session.run(["a", "b", "c"], MemorySink(), journal=left_alone, fail_fast=True)
    assert (first.unknown, again.unknown, again.succeeded, again.stopped_by) == (1, 1, 2, None)


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_a_function_stands_for_a_sink(session: ImageSession, asynchronous: bool) -> None:
    seen: list[Generation] = []

    async def later(generation: Generation) -> None:
        await asyncio.sleep(0)
        seen.append(generation)

    report = await session.run(["a", "b"], later if asynchronous else seen.append)
    assert report.ok
    assert len(seen) == 2


async def test_a_slow_sink_slows_the_sending(service: Service, session: ImageSession) -> None:
    go_on = asyncio.Event()

    async def slow(generation: Generation) -> None:
        await go_on.wait()

    running = asyncio.create_task(session.run((f"{n}" for n in range(12)), slow))
    with anyio.fail_after(20):
        while len(service.bodies) < 4:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert len(service.bodies) == 4
    go_on.set()
    assert (await running).succeeded == 12


async def test_a_sink_that_cannot_write_stops_the_run_and_hands_back_what_was_bought(
    service: Service, session: ImageSession, journal: Path
) -> None:
    def full(generation: Generation) -> None:
        raise OSError(28, "No space left on device")

    report = await session.run([f"{n}" for n in range(50)], full, journal=journal)
    assert isinstance(report.stopped_by, SinkError)
    assert "No space left" in str(report.stopped_by)
    assert len(service.bodies) <= 4
    rescued = [failed.error.generation for failed in report.failures if isinstance(failed.error, SinkError)]
    assert len(rescued) == len(service.bodies)
    assert all(generation.image.data for generation in rescued)
    again = await session.run([f"{n}" for n in range(50)], MemorySink(), journal=journal)
    assert again.succeeded == 50


@pytest.mark.parametrize(
    ("receipt", "told"),
    [
        (None, "its write() gave NoneType, not a Receipt"),
        (Receipt(locations=(7,)), "expected str"),  # type: ignore[arg-type]
    ],
)
async def test_a_sink_that_gives_no_receipt_is_told_and_the_picture_is_handed_back(
    session: ImageSession, receipt: object, told: str
) -> None:
    class Careless(MemorySink):
        async def write(self, generation: Generation) -> Receipt:
            return receipt  # type: ignore[return-value]

    report = await session.run(["a"], Careless())
    [failed] = report.failures
    assert isinstance(failed.error, SinkError)
    assert told in str(failed.error)
    assert failed.error.generation is not None


async def test_a_place_may_be_a_path(session: ImageSession, journal: Path) -> None:
    class Elsewhere(MemorySink):
        async def write(self, generation: Generation) -> Receipt:
            return Receipt(locations=(Path("there") / "a.jpg",))  # type: ignore[arg-type]

    assert (await session.run(["a"], Elsewhere(), journal=journal)).ok
    assert find_missing(journal, ["a.jpg"]) == (0, "")


async def test_all_that_was_bought_and_not_stored_is_handed_back_however_much_failed_before(
    service: Service,
) -> None:
    async def answer(number: int, _: web.Request) -> web.Response:
        return reply({"message": "moderated"}, 400) if number < 105 else reply()

    service.answer = answer
    events: list[object] = []
    gate = asyncio.Barrier(3)  # all are bought before the first is told to be one too many

    async def full(_: Generation) -> None:
        await gate.wait()
        raise OSError(28, "No space left on device")

    async with ImageSession(KEY, base_url=service.base_url, rate_limit=None, observer=events.append) as asker:
        report = await asker.run([f"{n}" for n in range(108)], full)
    rescued = [failed.error.generation for failed in report.failures if isinstance(failed.error, SinkError)]
    assert sorted(generation.request.prompt for generation in rescued) == ["105", "106", "107"]
    assert len(report.failures) == 103
    told = [event.error.generation for event in events if isinstance(event, ImageNotStored)]
    assert {id(generation) for generation in told} == {id(generation) for generation in rescued}


async def test_a_cancelled_run_tells_the_observer_what_it_could_not_store(service: Service) -> None:
    storing, go_on = asyncio.Event(), asyncio.Event()
    events: list[object] = []

    async def full(_: Generation) -> None:
        storing.set()
        await go_on.wait()
        raise OSError(28, "No space left on device")

    async with ImageSession(KEY, base_url=service.base_url, observer=events.append) as session:
        running = asyncio.create_task(session.run(["a"], full))
        await storing.wait()
        running.cancel()
        await asyncio.sleep(0.05)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await running
    (event,) = (event for event in events if isinstance(event, ImageNotStored))
    assert event.error.generation.image.data


async def test_a_sink_that_cannot_be_opened_costs_nothing(
    service: Service, session: ImageSession, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(SinkError, match="not a folder"):
        await session.run(["a"], DiskSink(tmp_path / "out"))
    assert service.bodies == []


async def test_an_upload_that_somebody_else_cancels_is_an_error_of_the_sink(
    session: ImageSession, journal: Path
) -> None:
    async def upload(_: Generation) -> None:
        inner = asyncio.create_task(asyncio.sleep(60))
        asyncio.get_running_loop().call_later(0.01, inner.cancel)
        await inner

    report = await session.run(["a"], upload, journal=journal)
    assert isinstance(report.stopped_by, SinkError)
    assert "CancelledError" in str(report.stopped_by)
    assert report.stopped_by.generation.image.data
    assert read_summary(journal).failed == 1


class Unmounted(MemorySink):
    """A sink of a user's, on a disk that is pulled out before it is used, or before it is closed."""

    def __init__(self, when: str) -> None:
        super().__init__()
        self._when = when

    async def open(self) -> None:
        self._fail("open")

    async def close(self) -> None:
        self._fail("close")

    def _fail(self, when: str) -> None:
        if when == self._when:
            raise OSError(5, "Input/output error")


async def test_an_error_of_a_users_sink_as_it_opens_is_told_as_one_of_ours(
    service: Service, session: ImageSession
) -> None:
    with pytest.raises(SinkError, match=r"the sink cannot be opened: .*Input/output error") as raised:
        await session.run(["a"], Unmounted("open"))
    assert isinstance(raised.value.__cause__, OSError)
    assert service.bodies == []


async def test_a_sink_that_fails_as_it_closes_takes_no_report_away(session: ImageSession) -> None:
    report = await session.run(["a", "b"], Unmounted("close"))
    assert report.succeeded == 2
    assert isinstance(report.stopped_by, SinkError)
    assert isinstance(report.stopped_by.__cause__, OSError)


async def test_a_second_run_into_a_journal_that_is_held_is_refused_by_name(
    service: Service, session: ImageSession, journal: Path
) -> None:
    async with Journal(journal):
        with pytest.raises(JournalError, match="another run holds"):
            await session.run(["a"], MemorySink(), journal=journal)
    assert service.bodies == []
    assert (await session.run(["a"], MemorySink(), journal=journal)).ok


@pytest.mark.parametrize(
    ("sink", "given", "words"),
    [
        (MemorySink, {}, "MemorySink is a class"),
        (MemorySink(), {"journal": 5}, "a journal is a path or a Journal, not int"),
        (MemorySink(), {"fail_fast": "no"}, "fail_fast must be True or False"),
        (MemorySink(), {"max_cost": 5, "price_per_image": 0}, "price_per_image above 0"),
        (lambda: None, {}, "cannot be called with a Generation"),
    ],
)
async def test_what_a_run_cannot_work_with_is_refused_before_anything_is_sent(
    service: Service, session: ImageSession, sink: Any, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        await session.run(["a"], sink, **given)
    assert service.bodies == []


@pytest.mark.parametrize("reached", [False, True])
async def test_a_service_out_of_reach_ends_a_run_unless_it_was_reached_before(
    service: Service, reached: bool
) -> None:
    class Flapping(aiohttp.TCPConnector):
        async def connect(self, *given: Any, **more: Any) -> Any:
            if not reached or service.bodies:
                raise aiohttp.ClientConnectionError("no network")
            return await super().connect(*given, **more)

    async with aiohttp.ClientSession(connector=Flapping()) as http:
        given: dict[str, Any] = {"http": http, "retry": 1, "max_concurrency": 1}
        async with ImageSession(KEY, base_url=service.base_url, **given) as asker:
            report = await asker.run([str(number) for number in range(20)], MemorySink())
    if reached:
        assert (report.succeeded, report.failed, report.stopped_by) == (1, 19, None)
    else:
        assert (report.failed, type(report.stopped_by)) == (2, APIConnectionError)


async def test_a_run_is_drained_by_a_signal_and_by_another_thread(service: Service) -> None:
    async with ImageSession(KEY, base_url=service.base_url, rate_limit="1/day") as asker:
        before = signal.signal(signal.SIGUSR1, lambda *_: asker.drain())
        try:
            for drain in (partial(os.kill, os.getpid(), signal.SIGUSR1), asker.drain):
                with ThreadPoolExecutor() as threads:
                    run = asyncio.ensure_future(asker.run(["a", "b"], MemorySink()))
                    await asyncio.sleep(0.2)
                    threads.submit(drain).result()
                    async with asyncio.timeout(10):
                        assert (await run).drained
        finally:
            signal.signal(signal.SIGUSR1, before)


async def test_a_sink_whose_panic_is_no_exception_of_pythons_loses_nothing(service: Service) -> None:
    class Panic(BaseException):
        """As modules in Rust raise it."""

    def store(_: Generation) -> None:
        raise Panic("index out of bounds")

    async with ImageSession(KEY, base_url=service.base_url) as asker:
        report = await asker.run(["a", "b"], store)
    assert isinstance(report.stopped_by, SinkError)
    kept = [failure.error.generation for failure in report.failures if isinstance(failure.error, SinkError)]
    assert len(kept) == len(service.bodies)
    assert all(kept)


class HoldsATaskGroup(MemorySink):
    """From its opening to its closing; the task for each picture fails where one is given."""

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__()
        self._failure = failure

    async def open(self) -> None:
        self._held = await AsyncExitStack().__aenter__()
        self._group = await self._held.enter_async_context(asyncio.TaskGroup())

    async def write(self, generation: Generation) -> Receipt:
        self._group.create_task(self._task())
        return await super().write(generation)

    async def _task(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        await self._held.aclose()


class HoldsScopes(HoldsATaskGroup):
    async def open(self) -> None:
        self._held = await AsyncExitStack().__aenter__()
        self._held.enter_context(anyio.fail_after(30))
        group = await self._held.enter_async_context(anyio.create_task_group())
        self._group = SimpleNamespace(create_task=lambda task: group.start_soon(lambda: task))


@pytest.mark.parametrize("holder", [HoldsATaskGroup, HoldsScopes])
async def test_a_sink_may_hold_a_task_group_from_its_opening_to_its_closing(
    session: ImageSession, holder: type[HoldsATaskGroup]
) -> None:
    sink = holder()
    report = await session.run(["a", "b", "c"], sink)
    assert (report.ok, len(sink)) == (True, 3)


async def test_what_fails_in_a_task_group_of_the_sink_is_said_in_the_report(session: ImageSession) -> None:
    report = await session.run(map(str, range(20)), HoldsATaskGroup(OSError("the bucket is gone")))
    assert isinstance(report.stopped_by, SinkError)
    assert "the bucket is gone" in repr(report.stopped_by.__cause__)


async def test_a_drained_run_that_has_read_ahead_says_in_its_journal_how_many_there_were(
    service: Service, journal: Path
) -> None:
    async with ImageSession(KEY, base_url=service.base_url, max_concurrency=1) as asker:
        await asker.run((f"{n}" for n in range(8)), MemorySink(), journal=journal)
        service.says(reply, reply)
        run = asyncio.ensure_future(asker.run((f"{n}" for n in range(14)), MemorySink(), journal=journal))
        while len(service.bodies) < 9:
            await asyncio.sleep(0)
        asker.drain()
        report = await run
    assert report.drained
    assert read_summary(journal).left in (None, 14 - read_summary(journal).done)


async def test_a_run_that_is_drained_after_its_last_prompt_was_pulled_is_whole_and_its_journal_says_so(
    service: Service, session: ImageSession, journal: Path
) -> None:
    async def answer(number: int, request: web.Request) -> web.StreamResponse:
        if number == 1:
            session.drain()
        return reply()

    service.answer = answer
    report = await session.run((each for each in "ab"), MemorySink(), journal=journal)
    assert (report.ok, report.total, report.drained) == (True, 2, False)
    assert read_summary(journal).total == 2


@pytest.mark.parametrize("kind", [list, iter])
async def test_a_drained_run_that_waits_for_its_turn_says_so(
    service: Service, kind: Callable[[list[str]], Iterable[str]]
) -> None:
    async with ImageSession(KEY, base_url=service.base_url, rate_limit="1/day") as asker:
        asyncio.get_running_loop().call_later(0.2, asker.drain)
        report = await asker.run(kind(["a", "b", "c"]), MemorySink())
    assert (report.succeeded, report.ok, report.drained) == (1, False, True)


@pytest.mark.parametrize("before", [0, 1])
async def test_a_list_whose_replies_nobody_can_read_is_not_paid_for_whole(
    service: Service, journal: Path, before: int
) -> None:
    of_a_new_shape = {"output": [{"content": "QUJD" * 2000}]}
    service.says(*[reply] * before, lambda: reply(of_a_new_shape))
    async with ImageSession(KEY, base_url=service.base_url, max_concurrency=1, rate_limit=None) as session:
        report = await session.run([f"{n}" for n in range(9)], MemorySink(), journal=journal)
    assert (len(service.bodies), report.unknown) == ((9, 8) if before else (3, 3))
    assert isinstance(report.stopped_by, InvalidResponseError) is not bool(before)


@pytest.mark.parametrize("kind", [list, iter])
async def test_an_http_session_that_is_closed_ends_the_run_with_a_report_and_nothing_spent_for_it(
    service: Service, journal: Path, kind: Callable[[list[str]], Iterable[str]]
) -> None:
    http = aiohttp.ClientSession()

    async def store(_: Generation) -> None:
        await http.close()

    prompts = ["a", "b", "c"]
    async with ImageSession(KEY, base_url=service.base_url, http=http, max_concurrency=1) as asker:
        report = await asker.run(kind(prompts), store, journal=journal, max_images=10)
    assert (report.succeeded, report.failed, type(report.stopped_by)) == (1, 0, ConfigurationError)
    assert read_summary(journal).spent == 1


async def test_a_session_that_is_left_when_all_is_only_to_be_stored_leaves_nothing_out(
    service: Service,
) -> None:
    stored = asyncio.Event()

    async def store(_: Generation) -> None:
        await stored.wait()

    async with ImageSession(KEY, base_url=service.base_url) as asker:
        running = asyncio.create_task(asker.run(["a", "b"], store))
        while asker.usage.images < 2:
            await asyncio.sleep(0.001)
    stored.set()
    report = await running
    assert (report.ok, report.stopped_by, report.drained) == (True, None, False)


async def test_a_run_that_is_drained_while_it_looks_finished_prompts_up_is_not_all_done(
    session: ImageSession, journal: Path
) -> None:
    prompts = [str(number) for number in range(60)]
    await session.run(prompts, MemorySink(), journal=journal)

    class Draining(Journal):
        async def claim_all(self, request_digests: Sequence[bytes]) -> list[Claim]:
            if len(request_digests) > 8:
                session.drain()
            return await super().claim_all(request_digests)

    report = await session.run(iter(prompts), MemorySink(), journal=Draining(journal))
    assert (report.ok, report.drained) == (False, True)


@pytest.mark.parametrize("kind", [list, iter])
async def test_a_drained_run_is_is_not_all_done_though_nobody_knows_how_many_there_were(
    service: Service, session: ImageSession, kind: Callable[[list[str]], Iterable[str]]
) -> None:
    prompts = [str(number) for number in range(20)]
    report = await session.run(kind(prompts), lambda _: session.drain())
    assert (report.ok, report.drained, report.stopped_by) == (False, True, None)
    report = await session.run(kind(prompts[:3]), MemorySink())
    assert (report.ok, report.drained) == (True, False)


@pytest.mark.parametrize("by", ["its task", "the end of asyncio.run"])
async def test_a_cancelled_run_stores_what_it_bought_and_notes_what_was_in_flight(
    service: Service, session: ImageSession, journal: Path, by: str
) -> None:
    others = asyncio.all_tasks()
    storing, go_on, sink = asyncio.Event(), asyncio.Event(), MemorySink()

    async def slow(generation: Generation) -> Receipt:
        storing.set()
        await go_on.wait()
        return await sink.write(generation)

    async def answer(number: int, _: web.Request) -> web.Response:
        if number > 0:
            await asyncio.sleep(30)
        return reply()

    service.answer = answer
    running = asyncio.create_task(session.run(["a", "b", "c"], CallbackSink(slow), journal=journal))
    await storing.wait()
    while service.in_flight < 2:
        await asyncio.sleep(0.001)
    for task in [running] if by == "its task" else asyncio.all_tasks() - others:
        task.cancel()
    await asyncio.sleep(0.05)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 5)
    assert len(sink) == 1
    summary = read_summary(journal)
    assert (summary.done, summary.unknown, summary.total) == (1, 2, 3)


async def test_what_may_have_been_billed_before_a_key_was_refused_is_unknown_and_spent(
    service: Service, journal: Path
) -> None:
    service.says(lambda: reply({}, 504), lambda: reply({"message": "no"}, 401))
    policy = RetryPolicy(backoff=0.001, resend_unknown=True)
    async with ImageSession(KEY, base_url=service.base_url, retry=policy, max_concurrency=1) as session:
        report = await session.run(["a", "b"], MemorySink(), journal=journal)
    assert isinstance(report.stopped_by, AuthenticationError)
    assert (report.unknown, report.failed, report.requests) == (1, 0, 2)
    summary = read_summary(journal)
    assert (summary.unknown, summary.spent) == (1, 1)


async def test_a_picture_that_cannot_be_stored_is_spent_all_the_same(
    session: ImageSession, journal: Path
) -> None:
    def full(_: Generation) -> None:
        raise OSError(28, "No space left on device")

    report = await session.run(["a"], full, journal=journal)
    assert isinstance(report.stopped_by, SinkError)
    assert read_summary(journal).spent == 1


@pytest.mark.parametrize("stuck", ["write", "close"])
async def test_a_sink_that_is_stuck_holds_a_cancelled_run_no_longer_than_its_grace(
    session: ImageSession, journal: Path, monkeypatch: pytest.MonkeyPatch, stuck: str
) -> None:
    monkeypatch.setattr("asi_image_async.run._GRACE", 0.2)
    reached, sink = asyncio.Event(), MemorySink()

    async def never(*_: object) -> None:
        reached.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(sink, stuck, never)
    running = asyncio.create_task(session.run(["a"], sink, journal=journal))
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 5)
    summary = read_summary(journal)
    assert (summary.done, summary.failed) == ((1, 0) if stuck == "close" else (0, 1))


async def test_what_is_stored_is_done_though_the_journal_is_slow_and_the_run_is_cancelled(
    session: ImageSession, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asi_image_async.run._GRACE", 0.2)
    reached = asyncio.Event()

    class Slow(Journal):
        async def record(self, *row: Any, **more: Any) -> None:
            await super().record(*row, **more)
            if not reached.is_set():
                reached.set()
                await asyncio.sleep(60)

    running = asyncio.create_task(session.run(["a"], MemorySink(), journal=Slow(journal)))
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 5)
    summary = read_summary(journal)
    assert (summary.done, summary.failed) == (1, 0)


async def test_what_the_prompts_raise_comes_out_when_what_was_bought_is_stored(
    session: ImageSession, journal: Path
) -> None:
    def prompts() -> Iterator[str]:
        yield "a"
        raise LookupError("no more")

    sink = MemorySink()
    with pytest.raises(LookupError):
        await session.run(prompts(), sink, journal=journal)
    assert len(sink) == read_summary(journal).done == 1


async def test_a_bug_in_the_house_ends_the_run_and_is_not_swallowed(
    session: ImageSession, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise TypeError("a bug")

    gate, _ = session._open  # type: ignore[misc]
    monkeypatch.setattr(gate, "enter_nowait", broken)
    with pytest.raises(TypeError, match="a bug"):
        await asyncio.wait_for(session.run(["a", "b"], MemorySink(), journal=journal), 5)
    with pytest.raises(TypeError, match="a bug"):
        await asyncio.wait_for(session.gather(["a", "b"]), 5)


async def test_the_observer_sees_skipped_outcomes_too(service: Service, journal: Path) -> None:
    events: list[object] = []
    async with ImageSession(KEY, base_url=service.base_url, observer=events.append) as session:
        await session.run(["a"], MemorySink(), journal=journal)
        await session.run(["a"], MemorySink(), journal=journal)
    outcomes = [event.outcome for event in events if isinstance(event, OutcomeReady)]
    assert [outcome.skipped for outcome in outcomes if outcome.ok] == [False, True]
    assert len([event for event in events if isinstance(event, ImageStored)]) == 1


async def test_without_a_journal_the_same_prompt_twice_is_two_pictures(
    session: ImageSession, tmp_path: Path
) -> None:
    report = await session.run(["a", "a"], DiskSink(tmp_path))
    assert report.succeeded == 2
    assert len(list(tmp_path.glob("*.jpg"))) == 2


async def test_the_failures_kept_are_bounded_and_the_counts_are_not(
    service: Service, session: ImageSession
) -> None:
    service.says(lambda: reply({"message": "no"}, 400))
    report = await session.run((f"{n}" for n in range(150)), MemorySink())
    assert report.failed == 150
    assert len(report.failures) == 100


@pytest.mark.parametrize("unfinished", [True, False])
async def test_a_time_limit_that_prompts_hold_is_their_error_or_their_end(
    service: Service, journal: Path, unfinished: bool
) -> None:
    async def answer(number: int, _: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        return reply()

    async def limited() -> AsyncIterator[str]:
        async with asyncio.timeout(0.05):
            for number in range(100):
                yield f"prompt {number}"

    async def ending() -> AsyncIterator[str]:
        with anyio.move_on_after(0.05):
            for number in range(100):
                yield f"prompt {number}"

    service.answer = answer
    async with ImageSession(KEY, base_url=service.base_url, max_concurrency=2) as asker:
        if unfinished:
            sink = MemorySink()
            with pytest.raises(TimeoutError):
                await asker.run(limited(), sink, journal=journal)
            assert len(sink) == 2
            with pytest.raises(TimeoutError):
                await asker.gather(limited())
        else:
            report = await asker.run(ending(), MemorySink(), journal=journal)
            assert (report.ok, report.drained, report.total) == (True, False, 2)
            assert len(await asker.gather(ending())) == 2


async def test_of_prompts_that_are_made_as_others_are_done_none_is_read_before_its_time(
    service: Service, session: ImageSession, journal: Path
) -> None:
    await session.run(["a", "b", "c", "d", "e"], MemorySink(), journal=journal)
    told: list[int] = []

    async def one_after_another() -> AsyncIterator[str]:
        for number, prompt in enumerate("abcdef"):
            while len(told) < number:
                await asyncio.sleep(0.001)
            yield prompt

    def observe(event: object) -> None:
        if isinstance(event, OutcomeReady):
            told.append(event.outcome.index)

    async with ImageSession(KEY, base_url=service.base_url, observer=observe) as asker:
        async with asyncio.timeout(10):
            report = await asker.run(one_after_another(), MemorySink(), journal=journal)
    assert (report.skipped, report.succeeded) == (5, 1)


async def test_what_may_have_been_billed_is_written_down_where_a_run_is_cancelled_before_it_asks_again(
    service: Service, journal: Path
) -> None:
    retrying = asyncio.Event()

    async def answer(number: int, request: web.Request) -> web.StreamResponse:
        request.transport.close()  # type: ignore[union-attr]
        return reply()

    def observe(event: object) -> None:
        if isinstance(event, RetryScheduled):
            retrying.set()

    service.answer = answer
    policy = RetryPolicy(backoff=60.0, resend_unknown=True)
    async with ImageSession(KEY, base_url=service.base_url, retry=policy, observer=observe) as asker:
        running = asyncio.create_task(asker.run(["a"], MemorySink(), journal=journal))
        await asyncio.wait_for(retrying.wait(), 30)
        running.cancel()
        await asyncio.wait([running])
    summary = read_summary(journal)
    assert (summary.unknown, summary.in_flight, summary.spent) == (1, 0, 1)
