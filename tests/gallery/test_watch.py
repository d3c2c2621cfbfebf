"""The page while a batch goes on: pictures appear as they arrive, and only this machine sees them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from browser import wait_until
from service import picture

from asi_image_async.gallery.watch import watching

from .conftest import Fill

pytestmark = pytest.mark.anyio

NOT_SERVED = [
    "pictures/%2e%2e%2fsecret.jpg",
    "pictures/..%2fsecret.jpg",
    "pictures/.asi-image%2fjournal.sqlite",
    "pictures/metadata.jsonl",
    "pictures/notes.txt",
    "thumbnails/..%2fjournal.sqlite",
    "pictures/nothing.jpg",
]


async def data_of(http: aiohttp.ClientSession, address: str) -> dict[str, Any]:
    async with http.get(address) as reply:
        page = await reply.text()
    return json.loads(page.partition('id="data">')[2].partition("</script>")[0])


async def next_event(reply: aiohttp.ClientResponse) -> tuple[str, dict[str, Any]]:
    place = ""
    while line := await asyncio.wait_for(reply.content.readline(), 10):
        if line.startswith(b"id: "):
            place = line[4:].decode().strip()
        if line.startswith(b"data: "):
            return place, json.loads(line[6:])
    raise AssertionError("the events ended")


async def test_what_comes_after_the_page_is_told_once_and_carries_on_where_a_reader_left_off(
    fill: Fill,
) -> None:
    folder = fill({"prompt": "here already"})
    async with watching(folder) as address, aiohttp.ClientSession() as http:
        data = await data_of(http, address)
        assert [entry["prompt"] for entry in data["entries"]] == ["here already"]
        assert data["live"] is True
        fill({"prompt": "came between", "file_name": "b.jpg"})
        async with http.get(f"{address}events?since={data['place']}") as events:
            place, entry = await next_event(events)
            assert (entry["prompt"], entry["thumbnail"]) == ("came between", "b.jpg.jpg")
            fill({"prompt": "came later", "file_name": "c.jpg"})
            assert (await next_event(events))[1]["prompt"] == "came later"
        async with http.get(f"{address}events", headers={"Last-Event-ID": place}) as events:
            assert (await next_event(events))[1]["prompt"] == "came later"
        async with http.get(f"{address}events?since={data['place']}") as events:  # both at once
            assert (await next_event(events))[0] == place
        for path in ("pictures/b.jpg", "thumbnails/b.jpg.jpg"):
            async with http.get(address + path) as reply:
                assert (reply.status, reply.content_type) == (200, "image/jpeg")


async def test_a_reader_that_comes_back_misses_nothing_of_a_file_that_was_tidied_up_meanwhile(
    fill: Fill,
) -> None:
    folder = fill({"prompt": "a"}, {"prompt": "b"})
    lines = folder / "metadata.jsonl"
    async with watching(folder) as address, aiohttp.ClientSession() as http:
        place = (await data_of(http, address))["place"]
        (folder / "tidied").write_bytes(lines.read_bytes().splitlines(keepends=True)[1])
        (folder / "tidied").replace(lines)
        fill({"prompt": "c", "file_name": "c.jpg"}, {"prompt": "d", "file_name": "d.jpg"})
        async with http.get(f"{address}events", headers={"Last-Event-ID": place}) as events:
            assert [(await next_event(events))[1]["prompt"] for _ in range(3)] == ["b", "c", "d"]


async def test_a_place_of_thousands_of_digits_is_as_none(fill: Fill) -> None:
    async with watching(fill({"prompt": "a fox"})) as address, aiohttp.ClientSession() as http:
        async with http.get(f"{address}events?since={'9' * 5000}") as events:
            assert (await next_event(events))[1]["prompt"] == "a fox"


async def test_only_pictures_of_the_folder_are_served(fill: Fill, tmp_path: Path) -> None:
    folder = fill({"prompt": "a fox"})
    (tmp_path / "secret.jpg").write_bytes(picture())
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    (folder / ".asi-image").mkdir(exist_ok=True)
    (folder / ".asi-image" / "journal.sqlite").write_bytes(b"x")
    async with watching(folder) as address, aiohttp.ClientSession() as http:
        for path in NOT_SERVED:
            async with http.get(address + path) as reply:
                assert reply.status == 404, path


async def test_another_site_s_name_that_leads_here_is_refused(fill: Fill) -> None:
    async with watching(fill({})) as address, aiohttp.ClientSession() as http:
        async with http.get(address, headers={"Host": "evil.example"}) as reply:
            assert reply.status == 403
        async with http.get(address) as reply:
            assert reply.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_port_that_is_taken_is_an_error(fill: Fill) -> None:
    folder = fill({})
    async with watching(folder) as address:
        port = int(address.rstrip("/").rpartition(":")[2])
        with pytest.raises(OSError):
            async with watching(folder, port):
                pass


def test_in_a_browser_pictures_appear_as_they_arrive(watched: str, page: Any, fill: Fill) -> None:
    page.goto(watched)
    assert page.locator(".tile").count() == 1
    fill({"prompt": "came later", "file_name": "b.jpg"})
    page.locator(".words", has_text="came later").wait_for()
    wait_until(page, "document.querySelector('.tile img').naturalWidth == 40")
    assert page.locator(".tile .words").first.inner_text() == "came later"
    assert page.locator("#count").inner_text() == "2 prompts"
