import base64
import json
import time
from typing import Any

import aiohttp
import pytest

from asi_image_async.emulator import SHAPES, emulator
from asi_image_async.emulator.drawing import draw

pytestmark = pytest.mark.anyio
PICTURE = draw("a quiet lake", 96, 64)


def found_in(reply: Any) -> list[str]:
    """Every string that holds a picture or leads to one: a decoder that knows no client."""
    if isinstance(reply, str):
        return [reply] if len(reply) > 200 or reply.startswith("http") else []
    if isinstance(reply, dict):
        return [text for value in reply.values() for text in found_in(value)]
    return [text for value in reply for text in found_in(value)] if isinstance(reply, list) else []


def decoded(text: str) -> bytes:
    bare = text.partition(",")[2] if text.startswith("data:") else text
    bare = "".join(bare.split()).translate(str.maketrans("-_", "+/"))
    return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)


@pytest.mark.parametrize("shape", SHAPES)
async def test_every_shape_leads_to_the_picture(shape: Any, ask: Any, http: aiohttp.ClientSession) -> None:
    service = emulator(shape=shape)
    async with service as base_url:
        status, headers, body = await ask(base_url)
        assert (status, headers["Content-Type"].split(";")[0]) == (200, "application/json")
        (text,) = found_in(json.loads(body))
        if text.startswith("http"):
            async with http.get(text) as reply:
                assert reply.content_type == "image/jpeg"
                assert await reply.read() == PICTURE
            assert (service.files_served, service.files_asked_with_key) == (1, 0)
        else:
            assert decoded(text) == PICTURE
    assert service.billed == 1


@pytest.mark.parametrize("encoding", ["plain", "wrapped", "urlsafe", "unpadded"])
async def test_every_encoding_of_base64_decodes(encoding: Any, ask: Any) -> None:
    async with emulator(encoding=encoding) as base_url:
        text = json.loads((await ask(base_url))[2])["data"][0]["b64_json"]
    assert decoded(text) == PICTURE
    assert ("\n" in text) == (encoding == "wrapped")
    assert encoding != "urlsafe" or not set("+/") & set(text)


async def test_the_documented_shape_tells_milliseconds_and_claims_png(ask: Any) -> None:
    async with emulator(shape="B") as base_url:
        reply = json.loads((await ask(base_url))[2])
    assert (reply["status"], reply["message"]) == (1, "Success")
    assert abs(reply["created"] / 1000 - time.time()) < 60
    assert reply["images"][0]["url"].startswith("data:image/png;base64,/9j/")


async def test_details_add_an_id_and_a_revised_prompt(ask: Any) -> None:
    async with emulator(details=True) as base_url:
        reply = json.loads((await ask(base_url))[2])
    assert reply["id"]
    assert "a quiet lake" in reply["data"][0]["revised_prompt"]
    assert abs(reply["created"] - time.time()) < 60


async def test_several_pictures_come_only_where_n_is_honoured(ask: Any) -> None:
    async with emulator(honour_n=True) as base_url:
        several = found_in(json.loads((await ask(base_url, n=3))[2]))
        assert (await ask(base_url, n=5))[0] == 400
    async with emulator() as base_url:
        one = found_in(json.loads((await ask(base_url, n=3))[2]))
    assert (len(set(several)), len(one)) == (3, 1)


async def test_a_canned_picture_weighs_exactly_what_was_asked(ask: Any) -> None:
    service = emulator(canned=3_000_000)
    async with service as base_url:
        replies = {(await ask(base_url, f"prompt {n}"))[2] for n in range(3)}
    assert len(replies) == 1
    assert len(decoded(found_in(json.loads(replies.pop()))[0])) == 3_000_000
    assert service.billed == 3


async def test_a_link_asked_for_with_the_key_is_told_on(ask: Any, http: aiohttp.ClientSession) -> None:
    service = emulator(shape="C")
    async with service as base_url:
        (link,) = found_in(json.loads((await ask(base_url))[2]))
        async with http.get(link, headers={"Authorization": "Bearer oops"}) as reply:
            assert reply.status == 200
        async with http.get(link.replace("00000001", "9")) as reply:
            assert reply.status == 404
    assert service.files_asked_with_key == 1
