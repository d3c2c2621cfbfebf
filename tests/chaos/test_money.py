"""No picture is paid for twice: replies that are lost after the work was done."""

from __future__ import annotations

from pathlib import Path

import pytest

from asi_image_async import DiskSink, ImageSession, RetryPolicy
from asi_image_async.emulator import Fault, emulator
from asi_image_async.runtime.journal import Journal
from asi_image_async.runtime.journal.summary import read_summary

pytestmark = pytest.mark.anyio
PROMPTS = [f"prompt {number}" for number in range(200)]


def session(base_url: str, **policy: object) -> ImageSession:
    retry = RetryPolicy(backoff=0.001, **policy)  # type: ignore[arg-type]
    return ImageSession("a-key", base_url=base_url, retry=retry, max_concurrency=16, rate_limit=None)


async def test_a_fifth_of_the_replies_lost_costs_no_picture_twice_and_the_next_run_asks_for_them(
    tmp_path: Path,
) -> None:
    service = emulator(canned=5_000, faults=[Fault("drop-after", rate=0.2)])
    journal = tmp_path / "journal.sqlite"
    async with service as base_url, session(base_url) as asker:
        first = await asker.run(PROMPTS, DiskSink(tmp_path), journal=journal)
        assert service.requests == service.billed == 200
        assert 20 <= first.unknown <= 60
        assert first.succeeded + first.unknown == 200
        assert (first.billed_at_least, first.billed_at_most) == (first.succeeded, 200)
        assert read_summary(journal).unknown == first.unknown

        left = await asker.run(PROMPTS, DiskSink(tmp_path), journal=Journal(journal, ask_unknown_again=False))
        assert (left.requests, left.unknown) == (0, first.unknown)

        again = await asker.run(PROMPTS, DiskSink(tmp_path), journal=journal)
        assert again.requests == first.unknown
        assert again.skipped == first.succeeded
    bought_again = [prompt for prompt, times in service.billed_by_prompt.items() if times > 1]
    assert len(bought_again) == first.unknown
    assert len(list(tmp_path.glob("*.jpg"))) == first.succeeded + again.succeeded


async def test_where_it_is_wanted_what_is_unknown_is_sent_again_until_all_is_there(tmp_path: Path) -> None:
    service = emulator(canned=5_000, faults=[Fault("drop-after", rate=0.2)])
    async with service as base_url:
        async with session(base_url, resend_unknown=True, max_attempts=12) as asker:
            report = await asker.run(PROMPTS, DiskSink(tmp_path))
    assert report.ok
    assert report.retries == service.billed - 200 > 0
    assert report.billed_at_most == service.billed
    assert len({received.idempotency_key for received in service.received}) == 200
