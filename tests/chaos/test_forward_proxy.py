"""tinyproxy between a user's own client and the service: its faults cost nothing, and it learns no secret."""

from __future__ import annotations

import asyncio
import signal
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from chaos.again import again, amid
from chaos.batch import Batch, Report
from chaos.child import KEY
from chaos.nginx import nginx
from chaos.programs import free_port
from chaos.scale import scaled
from chaos.tinyproxy import Tinyproxy, tinyproxy
from service import raw_serving

from asi_image_async import ImageSession
from asi_image_async.emulator import Emulator, emulator
from asi_image_async.errors import APIConnectionError

pytestmark = pytest.mark.anyio

PROMPTS = [f"picture {n} by way of a proxy" for n in range(scaled(30, 200))]
FEW = PROMPTS[: scaled(10, 50)]
NO_TUNNEL = "APIConnectionError: the proxy made no connection: 500 Unable to connect"
SMALL = 20_000  # bytes of a picture
QUICK = {"backoff": 0.02, "max_attempts": 2}


@dataclass
class Way:
    """A service that is reached by a proxy: in plain words, or through a tunnel, with TLS."""

    service: Emulator
    proxy: Tinyproxy
    batch: Batch

    async def again(self, first: Report, fault: str) -> None:
        # tinyproxy hangs up after each reply and takes out the word that would say so: what the client
        # has put on that line by then is unknown, now and then.
        times = 1 if self.batch.base_url.startswith("https") else 5
        await again(self.batch, lambda: self.service.billed_by_prompt, first, fault, times=times)


def kind(tls: bool) -> str:
    return "tunnels" if tls else "plain http"


@asynccontextmanager
async def way(folder: Path, tls: bool, more: str = "", latency: float = 0.0) -> AsyncIterator[Way]:
    service = emulator(canned=SMALL, latency=latency)
    async with (
        service as upstream,
        nginx(folder / "nginx", upstream, tls=True) as front,
        tinyproxy(folder / "proxy", more) as proxy,
    ):
        client = {"proxy": proxy.url, "authority": str(front.authority)}
        base_url = front.base_url if tls else upstream
        yield Way(service, proxy, Batch(base_url, folder / "out", PROMPTS, retry=QUICK, client=client))


@pytest.mark.parametrize("tls", scaled([True], [True, False]))
async def test_a_whole_batch_comes_through_a_proxy(tmp_path: Path, tls: bool) -> None:
    async with way(tmp_path, tls) as by:
        report = await by.batch.finish()
        asked = by.proxy.asked("CONNECT" if tls else "POST")
        assert (0 < asked <= by.batch.width) if tls else (asked >= report["succeeded"])
        assert report["ok"] or not tls, report
        await by.again(report, f"none: a forward proxy, {kind(tls)}")


@pytest.mark.parametrize("tls", scaled([False], [False, True]))
async def test_a_proxy_that_is_killed_leaves_unknown_what_was_on_its_lines_and_no_more(
    tmp_path: Path, tls: bool
) -> None:
    async with way(tmp_path, tls, latency=0.02) as by:

        async def kill_it_halfway() -> None:
            async with asyncio.timeout(30):
                while by.service.billed < len(PROMPTS) // 2:
                    await asyncio.sleep(0.002)
            await by.proxy.end(signal.SIGKILL)

        first = await amid(by.batch, kill_it_halfway())
        # Without a tunnel those are among them whose line it hung up on before (see Way.again).
        assert 1 <= first["unknown"] <= by.batch.width * (2 if tls else 4)
        assert first["failed"] == len(PROMPTS) - first["succeeded"] - first["unknown"] > 0
        assert "Cannot connect to host 127.0.0.1" in first["failures"][-1]
        await by.proxy.start()
        await by.again(first, f"forward proxy killed, {kind(tls)}")


async def test_a_proxy_that_makes_no_tunnel_is_not_taken_for_the_service(tmp_path: Path) -> None:
    async with way(tmp_path, tls=True, more="ConnectPort 443") as by:
        report = await by.batch.finish()
    assert (report["succeeded"], report["unknown"], report["stopped_by"]) == (0, 0, "APIConnectionError")
    assert report["said"] == "the proxy made no connection: 403 Access violation"
    assert by.service.requests == 0


async def test_a_proxy_that_refuses_what_is_not_in_a_tunnel_stops_the_batch_in_its_own_words(
    tmp_path: Path,
) -> None:
    async with way(tmp_path, tls=False, more="Deny 127.0.0.1") as by:
        report = await by.batch.finish()
    # A 403 is all that can be seen of it; its words tell whose it is.
    assert report["stopped_by"] == "PermissionDeniedError"
    assert report["said"].startswith("403: Access denied The administrator of this proxy has not configured")
    assert (report["succeeded"], report["unknown"], by.service.requests) == (0, 0, 0)


@pytest.mark.parametrize(
    ("scheme", "said"),
    scaled(
        [("https", NO_TUNNEL)],
        [
            ("https", NO_TUNNEL),
            ("http", "ServerError: 500: Unable to connect Tinyproxy was unable to connect to the remote"),
        ],
    ),
)
async def test_a_proxy_that_does_not_reach_the_service_costs_nothing(
    tmp_path: Path, scheme: str, said: str
) -> None:
    async with tinyproxy(tmp_path / "proxy") as proxy:
        base_url, client = f"{scheme}://127.0.0.1:{free_port()}/v1", {"proxy": proxy.url}
        report = await Batch(base_url, tmp_path / "out", FEW, retry=QUICK, client=client).finish()
    assert (report["succeeded"], report["unknown"], report["billed_at_most"]) == (0, 0, 0)
    told = report["failures"] or [f"{report['stopped_by']}: {report['said']}"]
    assert all(each.startswith(said) for each in told), report


@dataclass
class Tunnel:
    """A proxy of bare bytes that keeps what it is told and what goes out through it."""

    told: list[bytes] = field(default_factory=list)
    passed: bytearray = field(default_factory=bytearray)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.told.append(head)
        host, port = head.split()[1].decode().split(":")
        inward, outward = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        async with asyncio.TaskGroup() as ways:
            ways.create_task(self._pass(reader, outward, self.passed))
            ways.create_task(self._pass(inward, writer, bytearray()))

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray
    ) -> None:
        while data := await reader.read(2**16):
            kept += data
            writer.write(data)
        writer.close()


async def test_a_proxy_is_told_the_way_and_neither_the_key_nor_a_prompt(tmp_path: Path) -> None:
    tunnel, service = Tunnel(), emulator(canned=SMALL, api_key=KEY)
    async with (
        service as upstream,
        nginx(tmp_path / "nginx", upstream, tls=True) as front,
        raw_serving(tunnel.handle) as proxy,
    ):
        client = {"proxy": proxy.removesuffix("/v1"), "authority": str(front.authority)}
        report = await Batch(front.base_url, tmp_path / "out", PROMPTS, client=client).finish()
    assert report["ok"], report  # the service was shown the key
    assert tunnel.told
    assert all(head.startswith(b"CONNECT 127.0.0.1:") for head in tunnel.told)
    seen = b"".join(tunnel.told) + tunnel.passed
    assert len(tunnel.passed) > len(PROMPTS) * 100
    for secret in (KEY.encode(), b"uthorization", PROMPTS[0].encode(), b"Idempotency"):
        assert secret not in seen


async def test_the_password_of_a_proxy_is_in_no_error(tmp_path: Path) -> None:
    async with tinyproxy(tmp_path / "proxy", "BasicAuth me right-password") as proxy:
        url = proxy.url.replace("//", "//me:wrong-password@")
        async with (
            aiohttp.ClientSession(proxy=url) as http,
            ImageSession(KEY, base_url="https://asi.invalid/v1", http=http, retry=1) as session,
        ):
            with pytest.raises(APIConnectionError) as raised:
                await session.generate("a cat")
    said = "".join(traceback.format_exception(raised.value)) + repr(raised.value.__cause__)
    assert "the proxy made no connection: 401 Unauthorized" in said
    assert "wrong-password" not in said
