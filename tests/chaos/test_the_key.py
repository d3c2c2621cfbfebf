"""The key is in nothing that a run leaves, says, logs or hands out, though the service repeats it."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import os
import pickle
import sys
import traceback
from asyncio.subprocess import PIPE
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from service import GOOD, Service, reply

from asi_image_async import DiskSink, ImageSession, RetryPolicy, RunReport
from asi_image_async.errors import AsiImageError, ConfigurationError, InvalidResponseError

pytestmark = pytest.mark.anyio

KEY = "sk_chaos_0123456789abcdef"
SECRET = KEY.removeprefix("sk_").encode()  # what would be left of one that was cut or quoted
PROMPTS = [f"picture {number}" for number in range(40)]
ECHO = {"X-Request-Id": KEY, "Set-Cookie": f"key={KEY}", "X-Echo": f"Bearer {KEY}"}


@pytest.fixture(autouse=True)
def echoing(service: Service) -> None:
    """Every answer repeats the key: in words, in headers, in fields that are kept, where it is cut short."""

    async def answer(number: int, request: web.Request) -> web.StreamResponse:
        sent = request.headers["Authorization"]
        picture = {**GOOD["data"][0], "revised_prompt": f"for {sent}"}
        whole = {"id": KEY, "created": 1, "data": [picture], "usage": {KEY: sent}, "message": sent}
        answers = (
            lambda: reply(whole, **ECHO),
            lambda: reply({"error": {"message": sent, "type": KEY, "code": KEY}}, 400, **ECHO),
            lambda: reply({"message": sent}, 500, **ECHO),
            lambda: reply({"message": "x" * 390 + KEY}, 422, **ECHO),
            lambda: reply({}, 307, Location=f"http://127.0.0.1:1/{KEY}"),
            lambda: reply({"message": sent, "data": []}, **ECHO),
            lambda: reply({"data": [{"url": f"http://10.0.0.1/{KEY}"}]}, **ECHO),
            lambda: reply({"data": [{"url": f"https://{KEY}.invalid/{KEY}"}]}, **ECHO),
            lambda: reply({"data": [{"b64_json": f"*{KEY}*"}]}, **ECHO),
            lambda: web.Response(body=f"<html>{sent}".encode(), headers=ECHO),
        )
        if number % 12 == 10 and request.transport is not None:
            request.transport.close()
        if number % 12 == 11:
            await asyncio.sleep(30)
        return answers[number % 12 % len(answers)]()

    service.answer = answer


@contextlib.contextmanager
def logged(file: Path) -> Iterator[None]:
    """Everything that anyone logs, aiohttp and asyncio too, at every level."""
    handler = logging.FileHandler(file)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(1)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()


def shown(error: BaseException) -> str:
    """An error as a tool prints it that shows what is in the frames too."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    return f"{error!r} {vars(error)} {''.join(told.format())}"


def grep(folder: Path) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 3
    return [str(path) for path in files if SECRET in path.read_bytes() or SECRET in os.fsencode(path)]


async def run(service: Service, folder: Path) -> tuple[RunReport, ImageSession, list[object]]:
    events: list[object] = []
    session = ImageSession(
        KEY,
        base_url=service.base_url,
        timeout=0.5,
        retry=RetryPolicy(max_attempts=2, backoff=0.001),
        observer=events.append,
    )
    async with session:
        report = await session.run(PROMPTS, DiskSink(folder), journal=folder / "journal.sqlite")
    return report, session, events


async def test_no_byte_that_a_run_leaves_or_hands_out_has_the_key(service: Service, tmp_path: Path) -> None:
    asyncio.get_running_loop().set_debug(True)
    with logged(tmp_path / "log"):
        report, session, events = await run(service, tmp_path / "out")
    assert len(service.headers) >= len(PROMPTS)
    assert all(head["Authorization"] == f"Bearer {KEY}" for head in service.headers)
    assert report.succeeded >= 3
    assert len({type(failure.error) for failure in report.failures}) >= 5
    (tmp_path / "report").write_bytes(pickle.dumps(report.failures))
    (tmp_path / "events").write_text(repr(events))
    (tmp_path / "session").write_text(repr((session, vars(session), session.usage, report)))
    (tmp_path / "errors").write_text("".join(shown(failure.error) for failure in report.failures))
    assert grep(tmp_path) == []


@pytest.mark.parametrize(
    "answer",
    [
        lambda before: reply({"message": "x" * before + KEY}),
        lambda before: reply({"message": "x" * before + KEY}, 422),
        lambda before: reply(["x" * before + KEY]),
        lambda before: reply({}, 307, Location="http://127.0.0.1:1/" + "x" * before + KEY),
        lambda before: reply({"data": [{"b64_json": "*" * (before % 40) + KEY}]}),
    ],
    ids=["a message", "an error", "a body", "an address", "no picture"],
)
async def test_where_a_text_is_cut_in_the_middle_of_the_key_nothing_is_left_of_it(
    service: Service, answer: Callable[[int], web.Response]
) -> None:
    async with ImageSession(KEY, base_url=service.base_url, rate_limit=None) as session:
        for before in range(340, 400):
            service.says(lambda before=before: answer(before))  # type: ignore[misc]
            with pytest.raises(AsiImageError) as raised:
                await session.generate("a cat")
            assert SECRET.decode()[:8] not in f"{raised.value!r} {vars(raised.value)}"


async def test_a_link_with_the_key_in_it_is_followed_nowhere(service: Service) -> None:
    followed = service.base_url.replace("127.0.0.1", "localhost").removesuffix("v1") + f"file?k={KEY}"
    service.says(lambda: reply({"data": [{"url": followed}]}))
    async with ImageSession(KEY, base_url=service.base_url) as session:
        with pytest.raises(InvalidResponseError, match="it has the key in it") as raised:
            await session.generate("a cat")
    assert SECRET.decode() not in f"{raised.value!r} {vars(raised.value)}"


async def test_a_session_is_neither_pickled_nor_copied() -> None:
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="make another"):
            take(ImageSession(KEY))


async def test_a_time_limit_of_the_users_own_shows_no_key_either(service: Service) -> None:
    limit = asyncio.timeout(None)

    async def never(number: int, request: web.Request) -> web.StreamResponse:
        limit.reschedule(0.0)
        await asyncio.sleep(30)
        return reply()

    async def give_up(base_url: str) -> str:
        try:
            async with ImageSession(KEY, base_url=base_url) as session, limit:
                await session.generate("a cat")
        except TimeoutError as error:
            return shown(error)
        raise AssertionError("it was not given up")

    service.answer = never
    told = await give_up(service.base_url)
    assert len(service.bodies) == 1
    assert "give_up" in told
    assert SECRET.decode() not in told


async def test_an_error_of_the_users_own_keeps_its_traceback(service: Service) -> None:
    async with ImageSession(KEY, base_url="http://127.0.0.1:1/v1", retry=1) as session:
        try:
            raise ZeroDivisionError
        except ZeroDivisionError as error:
            own = error
            (failed,) = await session.gather(["a cat"], return_exceptions=True)
    assert isinstance(failed, AsiImageError)
    assert own.__traceback__ is not None


@pytest.mark.parametrize("debug", ["", "1"])
async def test_no_byte_that_the_command_says_or_leaves_has_the_key(
    service: Service, tmp_path: Path, debug: str
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS))
    environment = {"ASI_ONE_API_KEY": KEY, "ASI_ONE_BASE_URL": service.base_url, "ASI_IMAGE_DEBUG": debug}
    line = ["batch", prompts, "--out", tmp_path / "out", "--json", "--timeout", "0.5", "--retries", "0"]
    status = ["status", tmp_path / "out"]
    for number, arguments in enumerate((line, status, [*status, "--json"])):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-X", "dev", "-m", "asi_image_async", *map(str, arguments),
            stdout=PIPE, stderr=PIPE, env={**os.environ, **environment},
        )  # fmt: skip
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode == 1
        assert b"Traceback" not in err
        (tmp_path / f"said {number}").write_bytes(out + err)
    assert grep(tmp_path) == []


async def test_the_key_is_not_behind_the_error_of_an_http_session_that_cannot_send_it(
    service: Service,
) -> None:
    with pytest.warns(DeprecationWarning, match="auth"):
        http = aiohttp.ClientSession(auth=aiohttp.BasicAuth("me", "word"), base_url=f"{service.base_url}/")
    async with http, ImageSession(KEY, base_url=service.base_url, http=http) as session:
        with pytest.raises(ConfigurationError, match="cannot send this") as raised:
            await session.generate("a cat")
    cause: BaseException | None = raised.value.__cause__
    assert cause is not None
    assert SECRET.decode() not in shown(cause)
