"""What an earlier run finished is passed over quickly, and nothing is read before it is needed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from asi_image_async.core.naming import digest
from asi_image_async.errors import ConfigurationError, JournalError
from asi_image_async.models import ImageRequest, Receipt
from asi_image_async.outcomes import Done, Failed, Outcome
from asi_image_async.resume import Asked, Resume
from asi_image_async.runtime.journal import Claim, Journal, State

pytestmark = pytest.mark.anyio


class Counting(Journal):
    """Counts how often it was asked."""

    lookups = 0

    async def claim_all(self, request_digests: Sequence[bytes]) -> list[Claim]:
        self.lookups += 1
        return await super().claim_all(request_digests)


class Numbers:
    """As many prompts as are read: `read` tells how many that was."""

    def __init__(self, stop: int) -> None:
        self.stop = stop
        self.read = 0

    def __iter__(self) -> Iterator[str]:
        for number in range(self.stop):
            self.read += 1
            yield f"picture {number}"


async def finish(path: Path, numbers: range, state: State = State.DONE) -> None:
    """Write into the journal that an earlier run has finished these."""
    async with Journal(path) as journal:
        for number in numbers:
            claim = await journal.claim(digest(ImageRequest(prompt=f"picture {number}")))
            await journal.record(claim.key, state, f"{number}.jpg")


async def one_by_one(resume: Resume) -> AsyncIterator[Asked | Failed]:
    """What it gives, as the pump takes it."""
    async for together in resume:
        for asked in together:
            yield asked


async def work(resume: Resume, settled: list[Outcome]) -> list[int]:
    """Take every prompt as a slot would; returns the indexes that are to be asked for."""
    to_ask = []
    async for asked in one_by_one(resume):
        assert isinstance(asked, Asked)
        claim = await resume.claim(asked)
        if isinstance(claim, Claim):
            to_ask.append(asked.index)
        else:
            settled.append(claim)
    return to_ask


async def test_a_finished_list_is_passed_over_in_few_steps_and_each_outcome_is_told(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    await finish(path, range(1000))
    settled: list[Outcome] = []
    async with Counting(path) as journal:
        resume = Resume(Numbers(1000), journal, settled.append)
        assert await work(resume, settled) == []
    assert [outcome.index for outcome in settled] == list(range(1000))
    assert all(isinstance(outcome, Done) and outcome.skipped for outcome in settled)
    assert settled[999] == replace(settled[999], receipt=Receipt(("999.jpg",)))
    assert journal.lookups < 20


async def test_what_is_new_among_what_is_finished_is_asked_for_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    await finish(path, range(300))
    settled: list[Outcome] = []
    prompts = [f"picture {number}" for number in (*range(100), 1000, *range(100, 300), 1001, 1002)]
    async with Journal(path) as journal:
        resume = Resume([*prompts, "picture 0"], journal, settled.append)
        assert await work(resume, settled) == [100, 301, 302, 303]
    assert sorted(outcome.index for outcome in settled) == [*range(100), *range(101, 301)]


async def test_where_a_look_into_the_journal_fails_no_finished_prompt_is_taken_for_its_second_time(
    tmp_path: Path,
) -> None:
    class FailsOnce(Counting):
        async def claim_all(self, request_digests: Sequence[bytes]) -> list[Claim]:
            claims = await super().claim_all(request_digests)
            if self.lookups == 1:
                raise JournalError("it was away for a moment, and counted them all the same")
            return claims

    path = tmp_path / "journal.sqlite"
    await finish(path, range(100))
    async with FailsOnce(path) as journal:
        with pytest.raises(JournalError, match="away for a moment"):
            await work(Resume([f"picture {number}" for number in range(100)], journal, lambda _: None), [])


async def test_where_nothing_is_finished_no_prompt_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    prompts = Numbers(10)
    async with Journal(tmp_path / "journal.sqlite") as journal:
        resume = Resume(prompts, journal, lambda _: None)
        for number in range(10):
            (asked,) = await anext(resume)
            assert isinstance(asked, Asked)
            await resume.claim(asked)
            assert prompts.read == number + 1


async def test_a_list_is_looked_up_some_at_a_time_though_nothing_is_finished(tmp_path: Path) -> None:
    async with Counting(tmp_path / "journal.sqlite") as journal:
        resume = Resume([f"picture {number}" for number in range(100)], journal, lambda _: None)
        assert await work(resume, []) == list(range(100))
    assert journal.lookups == 7


async def test_no_more_than_a_hundred_and_twenty_eight_are_read_ahead(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    await finish(path, range(1000))
    prompts = Numbers(10_000)
    settled: list[Outcome] = []
    async with Journal(path) as journal:
        resume = Resume(prompts, journal, settled.append)
        async for asked in one_by_one(resume):
            assert isinstance(asked, Asked)
            if isinstance(await resume.claim(asked), Claim):
                break
    assert asked.index == 1000
    assert prompts.read <= 1000 + 128


async def test_an_async_source_is_never_read_ahead(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    await finish(path, range(20))
    read = 0

    async def slow() -> AsyncIterator[str]:
        nonlocal read
        for prompt in Numbers(20):
            read += 1
            yield prompt

    async with Journal(path) as journal:
        resume = Resume(slow(), journal, lambda _: None)
        async for asked in one_by_one(resume):
            assert isinstance(asked, Asked)
            assert read == asked.index + 1
            assert not isinstance(await resume.claim(asked), Claim)
    assert read == 20


async def test_an_error_of_the_source_comes_after_all_that_it_gave(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    await finish(path, range(50))

    def breaks() -> Iterator[str]:
        yield from Numbers(60)
        raise ZeroDivisionError

    settled: list[Outcome] = []
    async with Journal(path) as journal:
        resume = Resume(breaks(), journal, settled.append)
        with pytest.raises(ZeroDivisionError):
            await work(resume, settled)
        with pytest.raises(ZeroDivisionError):
            await anext(resume)
    assert len(settled) == 50


async def test_a_bad_prompt_among_finished_ones_is_an_outcome_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    await finish(path, range(50))
    settled: list[Outcome] = []
    failed = []
    async with Journal(path) as journal:
        resume = Resume([*Numbers(30), "", *(f"picture {n}" for n in range(30, 50))], journal, settled.append)
        async for asked in one_by_one(resume):
            if isinstance(asked, Failed):
                failed.append(asked)
            else:
                outcome = await resume.claim(asked)
                assert not isinstance(outcome, Claim)
                settled.append(outcome)
    assert [(each.index, type(each.error)) for each in failed] == [(30, ConfigurationError)]
    assert sorted(outcome.index for outcome in settled) == [*range(30), *range(31, 51)]


async def test_what_is_unknown_is_left_alone_only_where_that_was_said(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    await finish(path, range(20), State.UNKNOWN)
    for again, asked in ((True, 20), (False, 0)):
        settled: list[Outcome] = []
        async with Journal(path, ask_unknown_again=again) as journal:
            assert len(await work(Resume(Numbers(20), journal, settled.append), settled)) == asked
        assert len(settled) == 20 - asked
        assert all(isinstance(outcome, Failed) and outcome.error.maybe_billed for outcome in settled)


async def test_a_journal_that_fails_in_between_is_met_by_the_slots(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    await finish(path, range(20))
    settled: list[Outcome] = []
    journal = Journal(path)
    async with journal:
        resume = Resume(Numbers(20), journal, settled.append)
        (asked,) = await anext(resume)
        assert isinstance(asked, Asked)
        await resume.claim(asked)
    left = await anext(resume)  # looked up together, while the journal is closed
    assert [(each.index, each.claim) for each in left if isinstance(each, Asked)] == [(1, None), (2, None)]
