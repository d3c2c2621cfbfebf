import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest

from asi_image_async.emulator import Fault, emulator
from asi_image_async.emulator.limits import FaultPlan

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("documented", {"error": {"message": "oh", "type": "server_error", "code": 503}}),
        ("message", {"message": "oh"}),
        ("error-text", {"error": "oh"}),
        ("detail-text", {"detail": "oh"}),
        ("detail-list", {"detail": [{"type": "value_error", "loc": ["body", "prompt"], "msg": "oh"}]}),
    ],
)
async def test_an_error_comes_in_every_body_that_was_seen(body: Any, found: Any, ask: Any) -> None:
    service = emulator(faults=[Fault("error", status=503, body=body, message="oh", retry_after=2.5)])
    async with service as base_url:
        status, headers, text = await ask(base_url)
    assert (status, json.loads(text), headers["Retry-After"]) == (503, found, "3")
    assert service.billed == 0


async def test_an_error_may_be_a_page_or_nothing(ask: Any) -> None:
    faults = [Fault("error", first=1, status=502, body="html"), Fault("error", body="empty")]
    async with emulator(faults=faults) as base_url:
        status, headers, page = await ask(base_url)
        assert (status, headers["Content-Type"].split(";")[0]) == (502, "text/html")
        assert page.startswith(b"<!DOCTYPE html>")
        assert (await ask(base_url))[::2] == (500, b"")


@pytest.mark.parametrize(("kind", "billed"), [("drop-before", 0), ("drop-after", 1)])
async def test_a_dropped_line_brings_no_reply(kind: Any, billed: int, ask: Any) -> None:
    service = emulator(faults=[Fault(kind)])
    async with service as base_url:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await ask(base_url)
    assert (service.requests, service.billed) == (1, billed)


async def test_a_cut_body_is_billed_and_not_whole(ask: Any) -> None:
    service = emulator(faults=[Fault("cut-body")])
    async with service as base_url:
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(base_url)
    assert service.billed == 1


async def test_a_stalled_request_does_not_delay_closing(ask: Any, until: Any) -> None:
    service = emulator(faults=[Fault("stall")])
    async with service as base_url:
        waiting = [asyncio.create_task(ask(base_url)) for _ in range(20)]
        await until(lambda: service.in_flight == 20)
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    assert service.in_flight == 0
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(end, aiohttp.ClientError) for end in ends)


async def test_a_client_that_gives_up_ends_its_stalled_request(ask: Any, until: Any) -> None:
    service = emulator(faults=[Fault("stall")])
    async with service as base_url:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ask(base_url), 0.1)
        await until(lambda: service.in_flight == 0)


async def test_a_client_that_gives_up_on_a_slow_picture_pays_for_it(ask: Any) -> None:
    service = emulator(latency=5.0)
    async with service as base_url:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ask(base_url), 0.1)
    assert service.billed == 1


async def test_an_endless_body_goes_on_until_the_reader_leaves(
    http: aiohttp.ClientSession, until: Any
) -> None:
    service = emulator(faults=[Fault("endless")])
    async with service as base_url:
        headers, body = {"Authorization": "Bearer k"}, {"prompt": "x"}
        async with http.post(f"{base_url}/image/generate", json=body, headers=headers) as reply:
            assert len(await reply.content.readexactly(3 * 2**20)) == 3 * 2**20
            reply.close()
        await until(lambda: service.in_flight == 0)


async def test_nonsense_comes_with_status_200(ask: Any) -> None:
    faults = [Fault(kind, prompt=kind) for kind in ("garbage", "no-image", "bad-base64")]
    async with emulator(faults=faults) as base_url:
        status, _, garbage = await ask(base_url, "garbage")
        assert status == 200
        with pytest.raises(ValueError):
            json.loads(garbage)
        assert json.loads((await ask(base_url, "no-image"))[2])["status"] == 0
        broken = json.loads((await ask(base_url, "bad-base64"))[2])["data"][0]["b64_json"]
        assert "*" in broken


async def test_a_redirect_says_where(ask: Any) -> None:
    async with emulator(faults=[Fault("redirect", location="/trap")]) as base_url:
        status, headers, _ = await ask(base_url)
    assert (status, headers["Location"]) == (307, "/trap")


def struck(faults: list[Fault], prompts: list[str], seed: int = 0) -> list[str | None]:
    plan = FaultPlan(faults, seed)
    return [fault.kind if (fault := plan.strike(prompt)) else None for prompt in prompts]


def test_faults_strike_the_first_every_or_the_named() -> None:
    stall, drop = "stall", "drop-before"
    assert struck([Fault("stall", first=2)], ["x"] * 4) == [stall, stall, None, None]
    assert struck([Fault("stall", every=3)], ["x"] * 6) == [None, None, stall] * 2
    assert struck([Fault("stall", prompt="b", first=1)], ["a", "b", "b"]) == [None, stall, None]
    both = [Fault("stall", first=1), Fault("drop-before", every=2)]
    assert struck(both, ["x"] * 4) == [stall, drop, None, drop]


def test_a_share_of_requests_is_struck_and_the_same_ones_for_the_same_seed() -> None:
    faults, prompts = [Fault("stall", rate=0.2)], ["x"] * 2000
    once = struck(faults, prompts, seed=1)
    assert once == struck(faults, prompts, seed=1)
    assert once != struck(faults, prompts, seed=2)
    assert 320 < sum(kind is not None for kind in once) < 480


def test_faults_that_make_no_sense_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="kind"):
        Fault("explode")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rate"):
        Fault("stall", rate=2)
    with pytest.raises(ValueError, match="every"):
        Fault("stall", every=0)
