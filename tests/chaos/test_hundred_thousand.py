"""A hundred thousand prompts: memory is flat, the journal bounded, and what is finished is passed over."""

from __future__ import annotations

import json
from asyncio import StreamReader, StreamWriter
from pathlib import Path

import pytest
from chaos.batch import Batch, journal_of, lines_of
from chaos.scale import TABLE, Figures, scaled
from service import GOOD, raw_serving, read_request

from asi_image_async.runtime.journal.summary import read_summary

pytestmark = pytest.mark.anyio

COUNT = scaled(3_000, 100_000 if TABLE else 20_000)
FEW = 300
BODY = json.dumps(GOOD).encode()
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


async def answer(reader: StreamReader, writer: StreamWriter) -> None:
    """As cheap as can be: a hundred thousand are asked for."""
    while True:
        await read_request(reader)
        writer.write(REPLY)


@pytest.mark.timeout(600)
async def test_a_hundred_thousand_pictures_take_the_memory_of_three_hundred(tmp_path: Path) -> None:
    prompts = [f"picture number {number}" for number in range(COUNT)]
    out = tmp_path / "out"
    async with raw_serving(answer) as base_url:
        few = await Batch(base_url, tmp_path / "few", prompts[:FEW], width=16, rate_limit=None).finish()
        batch = Batch(base_url, out, prompts, width=16, rate_limit=None)
        all_of_them = await batch.finish(within=500)
        again = await batch.finish(within=120)
    assert (all_of_them["succeeded"], all_of_them["requests"]) == (COUNT, COUNT)
    assert (again["skipped"], again["requests"]) == (COUNT, 0)

    # The list itself is in the memory of the process; what the run adds to it is not to grow with it.
    listed = COUNT * 200 / 2**20
    assert all_of_them["peak_mb"] - few["peak_mb"] < listed + 12
    assert again["peak_mb"] - few["peak_mb"] < listed + 12

    assert read_summary(journal_of(out)).done == COUNT
    journal = sum(path.stat().st_size for path in journal_of(out).parent.glob("journal.sqlite*"))
    assert journal < COUNT * (len(str(out)) + 150)
    assert len(lines_of(out)) == COUNT
    assert sum(1 for _ in out.glob("*.jpg")) == COUNT
    Figures(
        fault=f"{COUNT:,} prompts, and the same again (passed over in {again['elapsed']:.1f} s)",
        tries=COUNT,
        delivered=COUNT,
        lost=0,
        billed_twice=again["requests"],
        longest_hang=all_of_them["longest"],
        peak_mb=max(all_of_them["peak_mb"], again["peak_mb"]),
    ).tell()
