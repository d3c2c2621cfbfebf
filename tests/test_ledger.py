"""What a run may spend and what it sent outlive the run."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from conftest import KEY
from service import GOOD, Service, reply

from asi_image_async import ImageRequest, ImageSession, MemorySink, RateLimit, RetryPolicy
from asi_image_async.core.usage import images_asked
from asi_image_async.errors import BudgetExceededError, ConfigurationError, RateLimitError
from asi_image_async.events import WaitStarted
from asi_image_async.ledger import budget
from asi_image_async.protocols import Observer
from asi_image_async.runtime.journal import Journal
from asi_image_async.runtime.journal.summary import read_summary

pytestmark = pytest.mark.anyio


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def session(service: Service, **settings: object) -> ImageSession:
    retry = RetryPolicy(backoff=0.001)
    return ImageSession(KEY, base_url=service.base_url, **{"rate_limit": None, "retry": retry} | settings)  # type: ignore[arg-type]


PROMPTS = [f"prompt {n}" for n in range(30)]


async def run_until_it_waits(asker: ImageSession, waiting: asyncio.Event, journal: Path) -> None:
    """All that the limit lets out at once, and no more. The session is observed by `tells(waiting)`."""
    running = asyncio.create_task(asker.run(PROMPTS, MemorySink(), journal=journal))
    async with asyncio.timeout(30):
        await waiting.wait()
        while asker.usage.images < asker.usage.requests:
            await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def tells(waiting: asyncio.Event) -> Observer:
    return lambda event: waiting.set() if isinstance(event, WaitStarted) else None


async def test_a_budget_is_a_wall_across_runs(service: Service, journal: Path) -> None:
    async with session(service) as asker:
        first = await asker.run(PROMPTS, MemorySink(), journal=journal, max_images=10)
        again = await asker.run(PROMPTS, MemorySink(), journal=journal, max_images=10)
        more = await asker.run(PROMPTS, MemorySink(), journal=journal, max_images=12)
    assert (first.succeeded, again.succeeded, more.succeeded) == (10, 0, 2)
    assert all(isinstance(report.stopped_by, BudgetExceededError) for report in (first, again, more))
    assert len(service.bodies) == 12


async def test_what_has_its_share_of_the_budget_is_not_stopped_by_who_has_none(
    service: Service, journal: Path
) -> None:
    async with session(service, rate_limit="auto", max_concurrency=8) as asker:
        report = await asker.run(PROMPTS, MemorySink(), journal=journal, max_images=5)
    assert report.succeeded == 5


async def test_what_was_bought_without_a_budget_counts_in_a_later_one(
    service: Service, journal: Path
) -> None:
    async with session(service) as asker:
        await asker.run(PROMPTS[:8], MemorySink(), journal=journal)
        report = await asker.run(PROMPTS, MemorySink(), journal=journal, max_images=10)
    assert (report.skipped, report.succeeded) == (8, 2)


async def test_what_may_have_been_billed_is_spent_and_what_was_not_is_given_back(
    service: Service, journal: Path
) -> None:
    async def answer(number: int, request: web.Request) -> web.StreamResponse:
        if number < 3:
            request.transport.close()  # type: ignore[union-attr]
        return reply({"message": "no"}, 400) if number < 6 else reply()

    service.answer = answer
    async with session(service, max_concurrency=1) as asker:
        report = await asker.run(PROMPTS, MemorySink(), journal=journal, max_images=10)
    assert (report.unknown, report.failed, report.succeeded) == (3, 3, 7)
    assert (report.billed_at_least, report.billed_at_most) == (7, 10)


async def test_every_attempt_that_may_have_been_billed_counts(service: Service, journal: Path) -> None:
    async def answer(number: int, request: web.Request) -> web.StreamResponse:
        request.transport.close()  # type: ignore[union-attr]
        return reply()

    service.answer = answer
    policy = RetryPolicy(max_attempts=10, backoff=0.001, resend_unknown=True)
    async with session(service, max_concurrency=1, retry=policy) as asker:
        report = await asker.run(PROMPTS, MemorySink(), journal=journal, max_images=4)
    assert isinstance(report.stopped_by, BudgetExceededError)
    assert len(service.bodies) == 4


async def test_a_cancelled_wait_gives_its_share_back(service: Service, journal: Path) -> None:
    async with session(service, rate_limit="1/min", max_concurrency=4) as asker:
        running = asyncio.create_task(asker.run(PROMPTS, MemorySink(), journal=journal, max_images=5))
        while not service.bodies:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert read_summary(journal).spent == 1  # should the process be killed now
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    async with Journal(journal) as book:
        assert await book.recall("spent") == 1


@pytest.mark.parametrize("n", [3, 3.0, "3", 2.5, " 3 "])
async def test_more_pictures_than_one_a_request_are_counted(
    service: Service, journal: Path, n: object
) -> None:
    asked = [{"prompt": prompt, "n": n} for prompt in PROMPTS]
    async with session(service, max_concurrency=1) as asker:
        report = await asker.run(asked, MemorySink(), journal=journal, max_images=7)
    assert isinstance(report.stopped_by, BudgetExceededError)
    assert len(service.bodies) == 2


@pytest.mark.parametrize("n", [None, True, "many", 0, -1, "nan", [3]])
def test_what_is_no_number_of_pictures_asks_for_one(n: object) -> None:
    assert images_asked(ImageRequest.model_construct(prompt="a", n=n)) == 1


@pytest.mark.parametrize("n", [10**30, "1e300"])
async def test_more_pictures_than_anybody_makes_are_counted_as_far_as_sums_can_be_kept(
    service: Service, journal: Path, n: object
) -> None:
    service.says(lambda: reply({}, 504))
    async with session(service) as asker:
        report = await asker.run([{"prompt": "a", "n": n}], MemorySink(), journal=journal)
    assert (report.unknown, report.stopped_by, report.billed_at_most) == (1, None, 10**9)


async def test_where_the_line_is_cut_all_pictures_that_were_asked_for_may_be_billed(service: Service) -> None:
    service.says(lambda: reply({}, 504))
    async with session(service) as asker:
        report = await asker.run([{"prompt": "a", "n": 4}], MemorySink())
    assert (report.billed_at_least, report.billed_at_most) == (0, 4)


@pytest.mark.parametrize(
    ("given", "images"),
    [
        ((None, None, None), None),
        ((10, None, None), 10),
        ((None, 0.3, 0.1), 3),
        ((2, 0.3, 0.1), 2),
        ((0, None, 0.1), 0),
        ((None, 1, 3), 0),
    ],
)
def test_a_budget_of_money_is_a_number_of_images(
    given: tuple[int | None, float | None, float | None], images: int | None
) -> None:
    assert budget(*given) == images


@pytest.mark.parametrize(
    "given",
    [
        (-1, None, None), (1.5, None, None), (None, 5, None), (None, 5, 0), (None, -1, 1), (None, 5, "x"),
        (None, 5, 1e-320), (None, 10**400, 0.1), (None, 0.1, 10**400), (None, 1e308, 1e-10),
    ],
)  # fmt: skip
async def test_a_wrong_budget_is_told_before_anything_is_sent(
    service: Service, given: tuple[int, float, float]
) -> None:
    images, cost, price = given
    async with session(service) as asker:
        with pytest.raises(ConfigurationError):
            await asker.run(PROMPTS, MemorySink(), max_images=images, max_cost=cost, price_per_image=price)
    assert service.bodies == []


async def test_a_days_quota_outlives_the_process(service: Service, journal: Path) -> None:
    waits: list[float] = []

    def observer(event: object) -> None:
        if isinstance(event, WaitStarted):
            waits.append(event.seconds)
            asker.drain()

    for expected in (5, 0):
        async with session(service, rate_limit=["100/s", "5/day"], observer=observer) as asker:
            report = await asker.run(PROMPTS, MemorySink(), journal=journal)
            assert report.succeeded == expected
    assert len(service.bodies) == 5
    assert all(86000 < seconds <= 86401 for seconds in waits)


async def test_a_limit_counts_the_sends_of_its_own_session_once(service: Service, journal: Path) -> None:
    async with session(service, rate_limit="10/day") as asker:
        for part in (PROMPTS[:5], PROMPTS[5:10]):
            report = await asyncio.wait_for(asker.run(part, MemorySink(), journal=journal), 5)
            assert report.succeeded == 5


async def test_a_session_that_is_entered_again_knows_what_it_sent_before(
    service: Service, journal: Path
) -> None:
    waiting = asyncio.Event()
    asker = session(service, rate_limit="3/day", observer=tells(waiting))
    async with asker:
        await asker.run(PROMPTS[:3], MemorySink(), journal=journal)
    assert not waiting.is_set()
    async with asker:
        await run_until_it_waits(asker, waiting, journal)
    assert len(service.bodies) == 3


async def test_a_stamp_is_of_the_moment_when_a_connection_was_there(service: Service, journal: Path) -> None:
    class Slow(aiohttp.TCPConnector):
        async def _create_connection(self, *given: Any) -> Any:
            await asyncio.sleep(0.3)
            return await super()._create_connection(*given)

    began = time.time()
    async with aiohttp.ClientSession(connector=Slow()) as http:
        async with session(service, rate_limit="3/day", http=http) as asker:
            await asker.run(PROMPTS[:1], MemorySink(), journal=journal)
    async with Journal(journal) as book:
        (stamp,) = await book.sends(time.time(), 60, b"me")
    assert stamp - began >= 0.3


async def test_what_found_no_connection_is_spent_of_no_limit(service: Service, journal: Path) -> None:
    gone = ImageSession(KEY, base_url="http://127.0.0.1:1/v1", rate_limit="3/day", retry=2)
    async with gone as asker:
        report = await asyncio.wait_for(asker.run(PROMPTS[:9], MemorySink(), journal=journal), 30)
    assert report.requests > 3
    waiting = asyncio.Event()
    async with session(service, rate_limit="3/day", observer=tells(waiting)) as asker:
        report = await asker.run(PROMPTS[:3], MemorySink(), journal=journal)
    assert (report.succeeded, waiting.is_set()) == (3, False)


async def test_what_other_journals_bring_takes_no_send_of_this_session_away(
    service: Service, journal: Path
) -> None:
    async with Journal(journal) as book:
        for age in (50_000.0, 40_000.0, 30_000.0):
            await book.stamp(time.time() - age, b"another")
    waiting = asyncio.Event()
    async with session(service, rate_limit="3/day", observer=tells(waiting)) as asker:
        await asker.run(PROMPTS[:3], MemorySink())
        assert not waiting.is_set()
        await run_until_it_waits(asker, waiting, journal)
    assert len(service.bodies) == 3


async def test_stamps_are_forgotten_when_they_leave_the_longest_window_that_was_ever_kept(
    journal: Path,
) -> None:
    async with Journal(journal) as book:
        for age in (5000.0, 4000.0, 10.0):
            await book.stamp(time.time() - age, b"another")
        assert len(await book.sends(time.time(), 4500, b"me")) == 2
        assert len(await book.sends(time.time(), 60, b"me")) == 1
        assert len(await book.sends(time.time(), 4500, b"me")) == 2
        assert len(await book.sends(time.time(), 1e6, b"me")) == 2
    async with Journal(journal):  # what was noted is nothing strange
        pass


async def test_a_clock_that_was_set_back_makes_no_limit_run_free(service: Service, journal: Path) -> None:
    async with Journal(journal) as book:
        for _ in range(3):
            await book.stamp(time.time() + 3600, b"another")
    waiting = asyncio.Event()
    async with session(service, rate_limit="3/min", observer=tells(waiting)) as asker:
        await run_until_it_waits(asker, waiting, journal)
    assert service.bodies == []


async def test_what_auto_learnt_is_kept_for_the_next_run(
    service: Service, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asi_image_async.core.pace.refusals._USUAL", (0.2, 1.0, 60.0))

    async def answer(number: int, _: web.Request) -> web.StreamResponse:
        return reply({"message": "slow down"}, 429) if number == 5 else reply()

    service.answer = answer
    async with session(service, rate_limit="auto") as asker:
        await asker.run(PROMPTS[:10], MemorySink(), journal=journal)
        learnt = asker._opened()[0].pace.learnt
    async with session(service, rate_limit="auto") as asker:
        await asker.run(PROMPTS[:1], MemorySink(), journal=journal)
        assert asker._opened()[0].pace.learnt == learnt is not None
    async with session(service, rate_limit=RateLimit(100, per=1)) as asker:
        await asker.run(PROMPTS[:1], MemorySink(), journal=journal)
        assert asker._opened()[0].pace.learnt is None


async def test_a_wait_longer_than_we_have_patience_for_stops_the_run_by_name(
    service: Service, journal: Path
) -> None:
    service.says(reply, reply, lambda: reply({"message": "later"}, 429, Retry_After="7200"))
    async with session(service, max_concurrency=1) as asker:
        report = await asker.run(PROMPTS, MemorySink(), journal=journal)
    assert isinstance(report.stopped_by, RateLimitError)
    assert "Come back after" in report.stopped_by.hint
    assert (report.succeeded, report.failed) == (2, 0)


async def test_the_report_says_why_it_tried_again_and_how_long_it_waited(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asi_image_async.core.pace.refusals._USUAL", (0.001,))
    service.says(
        lambda: reply({}, 503), lambda: reply({}, 429), lambda: reply({}, 503), lambda: reply({}, 500), reply
    )
    async with session(service, max_concurrency=1, rate_limit="20/s") as asker:
        report = await asker.run(["a", "b", "c"], MemorySink())
    assert report.retries_by_reason == {"503": 2, "429": 1}
    assert report.waited > 0
    assert report.latency_p50 is None or 0 < report.latency_p50 <= (report.latency_p99 or 0)
    assert report.bytes_received > 0


@pytest.mark.parametrize("wall", [{}, {"max_images": 9}])
async def test_what_is_in_flight_when_a_run_is_cancelled_is_spent(
    service: Service, journal: Path, wall: dict[str, int]
) -> None:
    async def stuck(number: int, _: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    service.answer = stuck
    async with session(service) as asker:
        running = asyncio.create_task(asker.run(["a", "b"], MemorySink(), journal=journal, **wall))
        while service.in_flight < 2:
            await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert (read_summary(journal).unknown, read_summary(journal).spent) == (2, 2)


async def test_more_pictures_than_were_asked_for_are_spent_too(service: Service, journal: Path) -> None:
    service.says(lambda: reply({"data": [*GOOD["data"]] * 3}))
    async with session(service) as asker:
        await asker.run(["a"], MemorySink(), journal=journal, max_images=9)
    assert read_summary(journal).spent == 3


async def test_more_pictures_than_were_asked_for_leave_no_room_for_those_that_wait(
    service: Service, journal: Path
) -> None:
    service.says(lambda: reply({"data": [*GOOD["data"]] * 4}))
    async with session(service, rate_limit="3/s", max_concurrency=8) as asker:
        report = await asker.run(PROMPTS, MemorySink(), journal=journal, max_images=8)
    assert (report.requests, read_summary(journal).spent) == (3, 12)
    assert isinstance(report.stopped_by, BudgetExceededError)


@pytest.mark.parametrize(("step", "spent"), [("spend", 0), ("record", 1)])
async def test_what_is_cancelled_as_by_a_loop_that_ends_is_spent_once_if_it_was_sent(
    service: Service, journal: Path, step: str, spent: int
) -> None:
    reached = asyncio.Event()

    class Told(Journal):
        async def spend(self, images: int) -> None:
            reached.set() if step == "spend" else None
            await super().spend(images)

        async def record(self, *given: Any, **named: Any) -> None:
            reached.set() if step == "record" else None
            await super().record(*given, **named)

    budget = {"max_images": 9} if step == "spend" else {}
    async with session(service) as asker:
        before = asyncio.all_tasks()
        running = asyncio.create_task(asker.run(["a"], MemorySink(), journal=Told(journal), **budget))
        await reached.wait()
        for task in asyncio.all_tasks() - before:  # every one, which no shield of anyio stops
            task.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert read_summary(journal).spent == spent


class Watched(Journal):
    """Remembers what it is told of what is on its way."""

    def __init__(self, path: Path, *, ask_unknown_again: bool = True) -> None:
        super().__init__(path, ask_unknown_again=ask_unknown_again)
        self.told: list[int | str] = []

    def departed(self, key: bytes, prompt: str, images: int) -> None:
        self.told.append(images)
        super().departed(key, prompt, images)

    def landed(self, key: bytes) -> None:
        self.told.append("landed")
        super().landed(key)


@pytest.mark.parametrize("then", [200, 400])
async def test_an_attempt_that_may_have_been_billed_is_in_flight_until_the_prompt_is_settled(
    service: Service, journal: Path, then: int
) -> None:
    async def answer(number: int, request: web.Request) -> web.StreamResponse:
        if number == 0:
            request.transport.close()  # type: ignore[union-attr]
        return reply(GOOD if then == 200 else {}, then)

    service.answer = answer
    book = Watched(journal)
    async with session(service, retry=RetryPolicy(backoff=0.001, resend_unknown=True)) as asker:
        report = await asker.run(["a"], MemorySink(), journal=book)
    assert book.told == [1, 2]
    assert (report.succeeded, report.unknown) == ((1, 0) if then == 200 else (0, 1))


async def test_what_is_never_to_be_asked_for_again_is_written_down_before_it_leaves(
    service: Service, journal: Path
) -> None:
    known: list[int] = []

    async def answer(number: int, _: web.Request) -> web.StreamResponse:
        known.append(read_summary(journal).in_flight)
        return reply()

    service.answer = answer
    async with session(service, max_concurrency=1) as asker:
        await asker.run(PROMPTS[:5], MemorySink(), journal=Journal(journal, ask_unknown_again=False))
    assert known == [1] * 5


async def test_what_was_about_to_leave_and_did_not_is_not_in_flight(service: Service, journal: Path) -> None:
    class Slow(Watched):
        async def departs(self, key: bytes, prompt: str, images: int) -> None:
            await super().departs(key, prompt, images)
            written.set()
            await asyncio.sleep(60)

    written = asyncio.Event()
    book = Slow(journal, ask_unknown_again=False)
    async with session(service) as asker:
        running = asyncio.create_task(asker.run(["a"], MemorySink(), journal=book))
        await asyncio.wait_for(written.wait(), 5)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert book.told == ["landed"]
        assert read_summary(journal).in_flight == 0
        report = await asker.run(["a"], MemorySink(), journal=Journal(journal, ask_unknown_again=False))
    assert report.succeeded == 1


async def test_what_is_reserved_for_others_may_come_back_and_is_waited_for(
    service: Service, journal: Path
) -> None:
    async def answer(number: int, _: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.02)
        return reply({"message": "not this one"}, 400) if number < 3 else reply()

    service.answer = answer
    async with session(service, max_concurrency=8) as asker:
        report = await asker.run(PROMPTS, MemorySink(), journal=journal, max_images=2)
    assert (report.failed, report.succeeded, report.billed_at_most) == (3, 2, 2)
    assert isinstance(report.stopped_by, BudgetExceededError)
    assert read_summary(journal).spent == 2


async def test_who_waits_for_a_share_of_the_budget_is_ended_by_draining(
    service: Service, journal: Path
) -> None:
    go = asyncio.Event()

    async def answer(number: int, _: web.Request) -> web.StreamResponse:
        await go.wait()
        return reply({"message": "not this one"}, 400)

    service.answer = answer
    async with session(service, max_concurrency=8) as asker:
        running = asyncio.create_task(asker.run(PROMPTS, MemorySink(), journal=journal, max_images=2))
        async with asyncio.timeout(30):
            while service.in_flight < 2:
                await asyncio.sleep(0.005)
            asker.drain()
            go.set()
            report = await running
    assert (report.requests, report.failed, report.drained) == (2, 2, True)
    assert not read_summary(journal).spent
