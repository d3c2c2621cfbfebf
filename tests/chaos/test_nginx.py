"""nginx in front of the service: its pages, its limits, its retries and its closed lines cost no picture."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from aiohttp import web
from chaos.again import again, amid
from chaos.batch import Batch, everything_agrees, whole_pictures
from chaos.nginx import Nginx, nginx
from chaos.programs import free_port
from chaos.scale import Figures, scaled
from service import GOOD, Service, reply

from asi_image_async import ImageSession
from asi_image_async.emulator import Emulator, Fault, emulator
from asi_image_async.errors import APIStatusError

pytestmark = pytest.mark.anyio

PROMPTS = [f"picture {n} of what is behind a gateway" for n in range(scaled(30, 200))]
FEW = [f"picture {n} of what is behind a limit" for n in range(scaled(40, 60))]
GZIP = "proxy_buffering off; gzip on; gzip_types application/json; gzip_min_length 20;"
SMALL = 20_000  # bytes of a picture
QUICK = {"backoff": 0.02}


def trusting(front: Nginx) -> dict[str, str]:
    return {"authority": str(front.authority)}


async def until_paid(service: Emulator, number: int) -> None:
    async with asyncio.timeout(30):
        while service.billed < number:
            await asyncio.sleep(0.002)


# --- all is well


async def in_pieces(number: int, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    body = json.dumps(GOOD).encode()
    for at in range(0, len(body), 500):
        await response.write(body[at : at + 500])
    return response


@pytest.mark.parametrize(
    ("location", "encoding"),
    scaled([(GZIP, "gzip")], [(GZIP, "gzip"), ("proxy_buffering off;", "")]),
)
async def test_over_tls_in_pieces_and_packed_every_picture_comes_whole(
    service: Service, tmp_path: Path, location: str, encoding: str
) -> None:
    service.answer = in_pieces
    async with nginx(tmp_path / "nginx", service.base_url, tls=True, location=location) as front:
        batch = Batch(front.base_url, tmp_path / "out", PROMPTS, client=trusting(front))
        report = await batch.finish()
        lines = front.answered()
    assert report["ok"], report
    assert {(line["encoding"], line["transfer"]) for line in lines} == {(encoding, "chunked")}
    assert len(lines) == len(set(service.prompts)) == len(PROMPTS)
    assert len({line["connection"] for line in lines}) <= batch.width
    await everything_agrees(batch.out, PROMPTS)


async def test_where_the_authority_is_not_trusted_nothing_is_sent(tmp_path: Path) -> None:
    service = emulator(canned=SMALL)
    async with service as upstream, nginx(tmp_path / "nginx", upstream, tls=True) as front:
        batch = Batch(front.base_url, tmp_path / "out", PROMPTS, retry={"max_attempts": 2, "backoff": 0.02})
        refused = await batch.finish()
        assert (refused["succeeded"], refused["unknown"]) == (0, 0)
        assert refused["stopped_by"] == "APIConnectionError"
        assert "certificate verify failed" in refused["said"]
        assert (service.requests, front.statuses) == (0, {})
    assert whole_pictures(batch.out) == set()


# --- limits of its own


def limited(folder: Path, upstream: str, status: int, burst: str) -> AbstractAsyncContextManager[Nginx]:
    return nginx(
        folder,
        upstream,
        http="limit_req_zone $binary_remote_addr zone=all:1m rate=50r/s;",
        location=f"limit_req zone=all {burst}; limit_req_status {status};",
    )


@pytest.mark.parametrize(
    ("status", "burst"),
    scaled([(503, "")], [(503, ""), (503, "burst=5 nodelay"), (429, "burst=5")]),
)
async def test_a_limit_that_nobody_told_fails_no_prompt(tmp_path: Path, status: int, burst: str) -> None:
    service = emulator(canned=SMALL)
    async with service as upstream, limited(tmp_path / "nginx", upstream, status, burst) as front:
        batch = Batch(front.base_url, tmp_path / "out", FEW, width=16)
        report = await batch.finish()
        refused = front.statuses[status]
    assert report["ok"], report
    assert 0 < refused < len(FEW)
    assert service.billed == len(FEW)
    await everything_agrees(batch.out, FEW)
    Figures(
        fault=f"nginx's limit_req: {status}, {burst or 'no burst'}",
        tries=refused,
        delivered=len(whole_pictures(batch.out)),
        lost=len(service.billed_by_prompt) - report["succeeded"],
        billed_twice=service.billed - len(FEW),
        longest_hang=report["longest"],
        peak_mb=report["peak_mb"],
    ).tell()


@pytest.mark.parametrize(
    ("status", "rate_limit"),
    scaled([(429, "1/0.02s")], [(503, "1/0.02s"), (503, "50/s"), (429, "50/s")]),
)
async def test_a_limit_that_was_told_is_met_in_the_beginning_at_most(
    tmp_path: Path, status: int, rate_limit: str
) -> None:
    service = emulator(canned=SMALL)
    async with service as upstream, limited(tmp_path / "nginx", upstream, status, "") as front:
        batch = Batch(front.base_url, tmp_path / "out", FEW, width=16, rate_limit=rate_limit)
        report = await batch.finish()
        refused = front.statuses[status]
    assert report["ok"], report
    # "1/0.02s" is how nginx counts: one at a time; "50/s" may begin with all that there is room for.
    assert refused <= (len(FEW) // 5 if rate_limit == "1/0.02s" else 2 * batch.width)
    assert service.billed == len(FEW)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (503, "503: 503 Service Temporarily Unavailable nginx"),
        (429, "429: 429 Too Many Requests nginx"),
    ],
)
async def test_its_page_is_told_in_one_plain_line(
    service: Service, tmp_path: Path, status: int, said: str
) -> None:
    async with limited(tmp_path / "nginx", service.base_url, status, "") as front:
        async with ImageSession("sk_a_key", base_url=front.base_url, rate_limit=None, retry=1) as session:
            outcomes = await session.gather(FEW[:4], return_exceptions=True)
    errors = [each for each in outcomes if isinstance(each, APIStatusError)]
    assert errors
    assert {str(error).split("/")[0] for error in errors} == {said}
    assert not any(error.maybe_billed for error in errors)


async def test_a_prompt_that_it_finds_too_long_is_that_prompts_failure_alone(tmp_path: Path) -> None:
    service = emulator(canned=SMALL)
    prompts = [*PROMPTS, "long " * 1000, "longer " * 300_000]
    async with (
        service as upstream,
        nginx(tmp_path / "nginx", upstream, location="client_max_body_size 2k;") as front,
    ):
        report = await Batch(front.base_url, tmp_path / "out", prompts).finish()
    assert (report["succeeded"], report["failed"], report["unknown"]) == (len(PROMPTS), 2, 0)
    assert all("BadRequestError: 413: 413 Request Entity Too Large" in each for each in report["failures"])
    assert service.billed == len(PROMPTS)


# --- the service behind it dies or stalls


async def test_what_it_lost_of_the_service_is_unknown_and_asked_for_once_more(tmp_path: Path) -> None:
    service = emulator(canned=SMALL, faults=[Fault("drop-after", every=5, first=len(PROMPTS))])
    async with service as upstream, nginx(tmp_path / "nginx", upstream) as front:
        batch = Batch(front.base_url, tmp_path / "out", PROMPTS, retry=QUICK)
        first = await batch.finish()
        assert front.statuses == {200: len(PROMPTS) * 4 // 5, 502: len(PROMPTS) // 5}
        assert (first["unknown"], first["failed"]) == (len(PROMPTS) // 5, 0)
        assert first["requests"] == first["billed_at_most"] == service.billed == len(PROMPTS)
        assert "ServerError: 502: 502 Bad Gateway nginx" in first["failures"][0]
        await again(batch, lambda: service.billed_by_prompt, first, "nginx's 502: the service hung up")


async def test_a_service_that_is_gone_and_comes_back_is_paid_once_for_each_picture(tmp_path: Path) -> None:
    port = free_port()
    service = emulator(port=port, canned=SMALL, latency=0.01)

    async def dies_halfway() -> None:
        async with service:
            await until_paid(service, len(PROMPTS) // 2)

    async with nginx(tmp_path / "nginx", f"http://127.0.0.1:{port}") as front:
        batch = Batch(front.base_url, tmp_path / "out", PROMPTS, retry=QUICK)
        first = await amid(batch, dies_halfway())
        # nginx says the same of a service that hung up and of one that is not there: any may be billed.
        assert (first["succeeded"], first["unknown"]) == (front.statuses[200], front.statuses[502])
        assert first["requests"] == first["billed_at_most"] == len(PROMPTS)
        assert first["unknown"] >= len(PROMPTS) // 2 - batch.width
        async with service:
            await again(batch, lambda: service.billed_by_prompt, first, "nginx's 502: nobody behind it")


async def test_what_it_waited_for_in_vain_is_unknown_and_asked_for_once_more(
    service: Service, tmp_path: Path
) -> None:
    async def stall(number: int, _: web.Request) -> web.Response:
        if number % 20 == 3 and number < len(PROMPTS):
            await asyncio.sleep(30)
        return reply()

    service.answer = stall
    async with nginx(tmp_path / "nginx", service.base_url, location="proxy_read_timeout 1s;") as front:
        batch = Batch(front.base_url, tmp_path / "out", PROMPTS, retry=QUICK)
        first = await batch.finish()
        assert first["unknown"] == front.statuses[504] >= len(PROMPTS) // 20
        assert first["failed"] == 0
        assert 1 <= first["longest"] < 10
        assert "ServerError: 504: 504 Gateway Time-out nginx" in first["failures"][0]
        await again(batch, lambda: Counter(service.prompts), first, "nginx's 504: the service stalls")


async def test_it_asks_another_service_for_what_reached_none_and_never_for_what_did(tmp_path: Path) -> None:
    port = free_port()
    sound = emulator(canned=SMALL)
    dying = emulator(port=port, canned=SMALL, faults=[Fault("drop-after", every=4)])

    async def dies_halfway() -> None:
        async with dying:
            await until_paid(dying, len(PROMPTS) // 4)

    async with (
        sound as upstream,
        nginx(tmp_path / "nginx", f"http://127.0.0.1:{port}", upstream) as front,
    ):
        batch = Batch(front.base_url, tmp_path / "out", PROMPTS, retry=QUICK)
        first = await amid(batch, dies_halfway())
        assert any(", " in line["upstream"] for line in front.answered())
        assert first["unknown"] == front.statuses[502] > 0
        assert first["requests"] == len(PROMPTS)

        def paid() -> Counter[str]:
            return dying.billed_by_prompt + sound.billed_by_prompt

        await again(batch, paid, first, "one of two services behind nginx dies")


# --- lines closed under us


async def test_lines_that_it_closes_after_a_few_requests_cost_nothing(tmp_path: Path) -> None:
    service = emulator(canned=SMALL)
    async with (
        service as upstream,
        nginx(tmp_path / "nginx", upstream, location="keepalive_requests 3;") as front,
    ):
        batch = Batch(front.base_url, tmp_path / "out", PROMPTS)
        report = await batch.finish()
        connections = len({line["connection"] for line in front.answered()})
    assert connections >= len(PROMPTS) // 3
    assert (report["ok"], report["requests"], service.billed) == (True, len(PROMPTS), len(PROMPTS)), report
    await everything_agrees(batch.out, PROMPTS)


async def test_lines_that_it_closes_as_they_are_used_leave_unknown_what_was_on_them(tmp_path: Path) -> None:
    service = emulator(canned=SMALL, latency=(0, 0.02))
    async with (
        service as upstream,
        nginx(tmp_path / "nginx", upstream, location="keepalive_timeout 30ms;") as front,
    ):
        # Each line rests about as long as it may: for 20 to 40 ms.
        batch = Batch(front.base_url, tmp_path / "out", PROMPTS, rate_limit="8/0.03s")
        first = await batch.finish()
        assert first["failed"] == 0
        fault = "keep-alive lines closed under us"  # and under those that are asked again, now and then
        await again(batch, lambda: service.billed_by_prompt, first, fault, times=5)


async def test_a_reload_and_a_restart_in_mid_batch_cost_nothing(tmp_path: Path) -> None:
    service = emulator(canned=SMALL, latency=0.02)

    async def operate(front: Nginx) -> None:
        await until_paid(service, len(PROMPTS) // 4)
        front.tell(signal.SIGHUP)
        await until_paid(service, len(PROMPTS) // 2)
        await front.end(signal.SIGQUIT)
        await front.start()
        await until_paid(service, len(PROMPTS) * 3 // 4)
        front.tell(signal.SIGHUP)

    async with service as upstream, nginx(tmp_path / "nginx", upstream) as front:
        batch = Batch(front.base_url, tmp_path / "out", PROMPTS, retry={"backoff": 0.2, "max_attempts": 6})
        first = await amid(batch, operate(front))
        assert (first["failed"], first["unknown"] <= 3 * batch.width) == (0, True), first
        await again(batch, lambda: service.billed_by_prompt, first, "nginx reloaded and restarted")
