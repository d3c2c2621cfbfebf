"""Replies made to do harm: each ends by name, in time and in bounded memory, and nothing of it is stored."""

from __future__ import annotations

import asyncio
import base64
import json
import zlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from chaos.batch import Batch, Report
from chaos.scale import SLACK, Figures, scaled
from service import JPEG, picture, raw_serving, read_request

pytestmark = pytest.mark.anyio

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
BOUND = 8 * 2**20
TIMEOUT = 2.0
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
PIECE = b"A" * 2**16
ITS_CHUNK = b"%x\r\n%b\r\n" % (len(PIECE), PIECE)


def pouring(head: bytes, piece: bytes, most: int = 1600) -> Handler:
    """The head, and then the piece as long as somebody reads: 100 MB, where nobody stops it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head)
        for _ in range(most):
            writer.write(piece)
            await writer.drain()
        await asyncio.sleep(2 * TIMEOUT)

    return handle


def saying(body: bytes, head: bytes = OK) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        await reader.read()

    return handle


def bomb(wbits: int, head: bytes = OK) -> Handler:
    """A gigabyte of zeros, packed."""
    packer = zlib.compressobj(9, wbits=wbits)
    zeros = bytes(2**20)
    packed = b"".join([*(packer.compress(zeros) for _ in range(scaled(64, 1024))), packer.flush()])
    name = b"gzip" if wbits > 15 else b"deflate"
    return saying(packed, head + b"Content-Encoding: %b\r\n" % name)


def pictures(data: bytes) -> bytes:
    return json.dumps({"data": [{"b64_json": base64.b64encode(data).decode()}]}).encode()


SCRIPT = b"<script>alert(document.cookie)</script>"
FAR_TOO_MUCH: dict[str, Callable[[], Handler]] = {
    "a body without an end": lambda: pouring(CHUNKED, ITS_CHUNK),
    "a body without an end or a length": lambda: pouring(OK + b"\r\n", PIECE),
    "a picture without an end": lambda: pouring(OK + b'\r\n{"data":[{"b64_json":"', PIECE),
    "a length of 10 TB": lambda: pouring(OK + b"Content-Length: 10000000000000\r\n\r\n", PIECE),
    "an error without an end": lambda: pouring(CHUNKED.replace(b"200 OK", b"400 No"), ITS_CHUNK),
    "a gzip bomb": lambda: bomb(31),
    "a deflate bomb": lambda: bomb(15),
    "a raw deflate bomb": lambda: bomb(-15),
    "an error that is a gzip bomb": lambda: bomb(31, b"HTTP/1.1 400 No\r\n"),
    "a header of 100 MB": lambda: pouring(OK + b"X-Long: ", PIECE),
    "100 MB of headers": lambda: pouring(OK, b"X-Many: 1\r\n" * 6000),
    "a status line of 100 MB": lambda: pouring(b"HTTP/1.1 200 ", PIECE),
    "interim replies without an end": lambda: pouring(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2500),
    "a chunk's size without an end": lambda: pouring(CHUNKED, b"0" * 2**16),
    "a chunk's extension without an end": lambda: pouring(CHUNKED + b"5;", PIECE),
    "trailers without an end": lambda: pouring(CHUNKED + b"0\r\n", b"X-Many: 1\r\n" * 6000),
    "empty brackets without an end": lambda: pouring(OK + b"\r\n", b"[" * 2**16),
}
NOTHING_TO_STORE: dict[str, bytes] = {
    "deep nesting": b'{"data":' + b"[" * 4_000_000,
    "a number of 5 MB": b'{"data":' + b"9" * 5_000_000 + b"}",
    "a million keys": b"{%b}" % b",".join(b'"%d":0' % number for number in range(500_000)),
    "a million pictures": b'{"data":[%b]}' % b",".join([b'{"b64_json":"AAAA"}'] * 300_000),
    "a million empty lists": b'{"data":[%b]}' % b",".join([b"[]"] * 2_000_000),
    "as many parts as are read": b'{"data":[%b]}' % b",".join([b'{"b64_json":"AAAA"}'] * 10_000),
    "HTML for a picture": pictures(b"<!doctype html>" + SCRIPT),
    "SVG for a picture": pictures(b'<svg xmlns="http://www.w3.org/2000/svg">' + SCRIPT + b"</svg>"),
    "HTML in a data URL": b'{"images":[{"url":"data:text/html,%b"}]}' % SCRIPT,
    "HTML that begins with a NUL": pictures(b"\0" + SCRIPT),
    "a PNG without a size": pictures(b"\x89PNG\r\n\x1a\n" + SCRIPT),
    "a script for a reply": SCRIPT,
}
ALL = FAR_TOO_MUCH | {
    name: lambda body=body: saying(body, OK + b"Content-Type: application/json\r\n")  # type: ignore[misc]
    for name, body in NOTHING_TO_STORE.items()
}


async def ask(handler: Handler, out: Path) -> Report:
    async with raw_serving(handler) as base_url:
        batch = Batch(
            base_url, out, ["a cat"], retry={"max_attempts": 1}, timeout=TIMEOUT, max_response_bytes=BOUND
        )
        return await batch.finish()


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> float:
    """The memory of a batch that gets a small picture, in MB."""
    report: Report = asyncio.run(ask(saying(pictures(JPEG)), tmp_path_factory.mktemp("usual")))
    assert report["ok"], report
    peak: float = report["peak_mb"]
    return peak


@pytest.fixture(scope="module")
def row() -> Iterator[list[Report]]:
    """What all of them came to."""
    reports: list[Report] = []
    yield reports
    Figures(
        fault="replies made to do harm",
        tries=len(reports),
        delivered=0,
        lost=sum(report["failed"] + report["unknown"] != 1 for report in reports),
        billed_twice=0,
        longest_hang=max(report["longest"] for report in reports),
        peak_mb=max(report["peak_mb"] for report in reports),
    ).tell()


@pytest.mark.parametrize("name", ALL)
async def test_a_reply_made_to_do_harm_ends_by_name_in_time_and_in_bounded_memory(
    name: str, tmp_path: Path, usual: float, row: list[Report]
) -> None:
    report = await ask(ALL[name](), tmp_path)
    row.append(report)
    assert (report["succeeded"], report["failed"] + report["unknown"], report["requests"]) == (0, 1, 1)
    assert report["longest"] < TIMEOUT + SLACK
    assert len(report["failures"][0]) < 600
    assert report["peak_mb"] - usual < 3 * BOUND / 2**20
    stored = [path for path in tmp_path.iterdir() if path.name != ".asi-image"]
    assert [path.name for path in stored if path.read_bytes()] == []


async def test_a_picture_with_a_script_behind_it_is_stored_as_the_picture_that_it_is(tmp_path: Path) -> None:
    for kind, suffix in (("PNG", ".png"), ("GIF", ".gif"), ("JPEG", ".jpg")):
        out = tmp_path / kind
        data = picture(kind) + SCRIPT
        assert (await ask(saying(pictures(data)), out))["ok"]
        (stored,) = out.glob(f"*{suffix}")
        assert stored.read_bytes() == data
        line = json.loads((out / "metadata.jsonl").read_bytes())
        assert line["mime_type"] == f"image/{kind.lower()}"
