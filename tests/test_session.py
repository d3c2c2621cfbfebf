"""What `generate`, `gather` and the session itself promise."""

from __future__ import annotations

import asyncio
import base64
import gc
import logging
import pickle
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import anyio
import pytest
from aiohttp import web
from conftest import KEY
from service import GOOD, JPEG, Service, picture, reply, serving

from asi_image_async import ImageRequest, ImageSession, RateLimit, RetryPolicy
from asi_image_async.errors import (
    APIConnectionError,
    APIStatusError,
    AsiImageError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
)
from asi_image_async.events import (
    Event,
    RequestCancelled,
    RequestStarted,
    RequestSucceeded,
    RetryScheduled,
    WaitStarted,
)

pytestmark = pytest.mark.anyio


class AsyncCall:
    async def __call__(self, _: object) -> None:
        """Nobody would await this."""


QUICK = RetryPolicy(backoff=0.001)


async def test_a_prompt_becomes_a_picture(service: Service, session: ImageSession) -> None:
    generation = await session.generate("a cat", size="landscape", seed=7)
    assert service.bodies == [{"prompt": "a cat", "model": "asi1-mini", "size": "1792x1024", "seed": 7}]
    assert generation.image.data == JPEG
    assert (generation.image.mime_type, generation.image.suffix) == ("image/jpeg", ".jpg")
    assert (generation.image.width, generation.image.height) == (16, 12)
    assert generation.created == datetime(2025, 7, 29, 12, 42, 37, tzinfo=UTC)
    assert generation.attempts == 1
    assert generation.raw["data"][0].keys() == {"b64_json"}


async def test_when_the_service_asks_for_an_hour_nobody_waits_for_it_unsaid(service: Service) -> None:
    service.says(lambda: reply({"error": "later"}, 429, Retry_After="3600"))
    async with ImageSession(KEY, base_url=service.base_url) as session:
        asked = [session.generate(f"cat {number}") for number in range(6)]
        errors = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)
        with pytest.raises(RateLimitError, match="has asked for a wait of 3"):
            await session.generate("another cat")
    assert [type(error) for error in errors] == [RateLimitError] * 6
    assert len(service.bodies) == 2  # what has no sign of a limit yet begins with two
    assert (
        sorted(error.attempts for error in errors if isinstance(error, RateLimitError)) == [0] * 4 + [1] * 2
    )


async def test_a_place_for_a_limit_that_is_none_is_told_when_the_session_is_made() -> None:
    with pytest.raises(ConfigurationError, match="is not a name for a shared limit"):
        ImageSession(KEY, rate_limit=RateLimit(3, 60, shared="no blanks here"))


async def test_the_key_goes_in_the_header_without_quotes_and_blanks(service: Service) -> None:
    async with ImageSession(f' "{KEY}"\n', base_url=service.base_url + "/") as session:
        await session.generate("a cat")
    assert service.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert service.headers[0]["Content-Type"] == "application/json"


@pytest.mark.parametrize("variable", ["ASI_ONE_API_KEY", "ASI1_API_KEY"])
async def test_the_key_is_found_in_the_environment(
    service: Service, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, KEY)
    monkeypatch.setenv("ASI1_BASE_URL", service.base_url)
    async with ImageSession() as session:
        await session.generate("a cat")
    assert service.headers[0]["Authorization"] == f"Bearer {KEY}"


async def test_no_key_is_told_on_entering_and_names_the_variable() -> None:
    session = ImageSession()
    with pytest.raises(ConfigurationError, match="ASI_ONE_API_KEY") as raised:
        await session.__aenter__()
    assert "ASI_ONE_API_KEY" in raised.value.hint


@pytest.mark.parametrize("key", ["sk_one\nsk_two", "sk one", "sk_é", "sk\x00"])
async def test_a_key_that_cannot_be_one_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        await ImageSession(key).__aenter__()
    assert key not in str(raised.value) + raised.value.hint


@pytest.mark.parametrize(
    "settings",
    [
        {"max_concurrency": 0},
        {"max_concurrency": -1},
        {"max_concurrency": 1.5},
        {"rate_limit": "fast"},
        {"rate_limit": "0/min"},
        {"rate_limit": ["3/min", "x"]},
        {"rate_limit": 3},
        {"retry": 0},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"timeout": 10**400},
        {"base_url": ""},
        {"base_url": " '' "},
        {"base_url": "api.asi1.ai/v1"},
        {"base_url": "ftp://api.asi1.ai"},
        {"base_url": "https://"},
        {"base_url": "https://me:word@api.example/v1"},
        {"base_url": "http://api.asi1.ai/v1"},  # which would send the key unencrypted
        {"base_url": "http://api.asi1.ai./v1"},
        {"base_url": "https://api..asi1.ai/v1"},
        {"base_url": f"https://{'a' * 64}.example/v1"},
        {"base_url": "https://api.example/v1?version=2"},
        {"base_url": "https://api.example/v1#images"},
        {"max_response_bytes": 0},
        {"api_key": 5},
        {"base_url": 5},
        {"http": "nope"},
        {"observer": 5},
        {"observer": asyncio.sleep},
        {"observer": AsyncCall()},
    ],
)
def test_a_wrong_setting_is_told_at_once(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        ImageSession(**{"api_key": KEY} | settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["", "/", "/image/generate", "/image/generate/"])
async def test_a_base_url_may_end_as_people_write_it(service: Service, suffix: str) -> None:
    async with ImageSession(KEY, base_url=service.base_url + suffix) as session:
        assert (await session.generate("a cat")).image.data == JPEG


@pytest.mark.parametrize(
    "prompt", ["", "  \n", None, 7, b"a cat", {"size": "1024x1024"}, {"prompt": 7}, "\ud800"]
)
async def test_a_prompt_that_is_none_is_refused_before_anything_is_sent(
    service: Service, session: ImageSession, prompt: object
) -> None:
    with pytest.raises(ConfigurationError):
        await session.generate(prompt)  # type: ignore[arg-type]
    assert service.bodies == []


@pytest.mark.parametrize(
    "size", ["", "big", "1024 x 1024", "0x10", "-1x5", "1024x", "1024X1024", "99999999x1"]
)
async def test_a_malformed_size_is_refused_before_anything_is_sent(
    service: Service, session: ImageSession, size: str
) -> None:
    with pytest.raises(ConfigurationError, match="size"):
        await session.generate("a cat", size=size)
    assert service.bodies == []


async def test_a_size_that_we_do_not_know_is_sent_as_it_is(service: Service, session: ImageSession) -> None:
    await session.generate("a cat", size="768x768")
    await session.generate("a cat", size=None)
    assert [body.get("size") for body in service.bodies] == ["768x768", None]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"error": {"message": "no", "type": "invalid_request_error", "code": 400}}, BadRequestError),
        (401, {"message": "failed to authenticate user"}, AuthenticationError),
        (402, {"error": "pay"}, QuotaExceededError),
        (403, {"error": "no"}, PermissionDeniedError),
        (403, {"error": {"message": "no", "code": "insufficient_quota"}}, QuotaExceededError),
        (404, {"detail": "Not Found"}, NotFoundError),
        (413, {}, BadRequestError),
        (422, {"detail": [{"loc": ["body", "size"], "msg": "unknown size"}]}, BadRequestError),
        (429, {"message": "You exceeded your current quota"}, QuotaExceededError),
        (418, {}, APIStatusError),
    ],
)  # fmt: skip
async def test_what_is_refused_is_asked_once_and_has_its_name(
    service: Service, session: ImageSession, status: int, body: object, error: type[APIStatusError]
) -> None:
    service.says(lambda: reply(body, status))
    with pytest.raises(error) as raised:
        await session.generate("a cat")
    assert type(raised.value) is error
    assert raised.value.status == status
    assert raised.value.hint
    assert not raised.value.maybe_billed
    assert len(service.bodies) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_what_was_refused_for_now_is_tried_again_with_the_same_idempotency_key(
    service: Service, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asi_image_async.core.pace.refusals._USUAL", (0.001,))
    service.says(lambda: reply({"message": "busy"}, status, Retry_After="0"), reply)
    async with ImageSession(KEY, base_url=service.base_url, retry=QUICK) as session:
        generation = await session.generate("a cat")
        assert generation.attempts == 2
        assert (session.usage.requests, session.usage.retries) == (2, 1)
        assert session.usage.throttled == (status == 429)
    first, second = (headers["Idempotency-Key"] for headers in service.headers)
    assert first == second


async def test_two_calls_have_two_idempotency_keys(service: Service, session: ImageSession) -> None:
    await session.gather(["a cat", "a cat"])
    assert len({headers["Idempotency-Key"] for headers in service.headers}) == 2


@pytest.mark.parametrize("retry", [1, 3])
async def test_a_number_of_attempts_is_kept(service: Service, retry: int) -> None:
    service.says(lambda: reply({}, 500))
    policy = RetryPolicy(max_attempts=retry, backoff=0.001)
    async with ImageSession(KEY, base_url=service.base_url, retry=policy) as session:
        with pytest.raises(ServerError) as raised:
            await session.generate("a cat")
    assert len(service.bodies) == raised.value.attempts == retry


@pytest.mark.parametrize("status", [502, 504])
async def test_a_reply_lost_behind_a_gateway_may_have_been_billed_and_is_not_sent_again(
    service: Service, session: ImageSession, status: int
) -> None:
    service.says(lambda: reply({}, status))
    with pytest.raises(ServerError) as raised:
        await session.generate("a cat")
    assert raised.value.maybe_billed
    assert len(service.bodies) == 1


async def test_no_connection_is_tried_again_and_was_not_billed() -> None:
    async with serving() as service:
        gone = service.base_url
    policy = RetryPolicy(max_attempts=3, backoff=0.001)
    async with ImageSession(KEY, base_url=gone, retry=policy) as session:
        with pytest.raises(APIConnectionError) as raised:
            await session.generate("a cat")
    assert raised.value.attempts == 3
    assert not raised.value.maybe_billed


@pytest.mark.parametrize("body", [{"status": 0, "message": "no image for this prompt"}, {}, [], None])
async def test_a_reply_without_a_picture_is_an_error_in_its_own_words(
    service: Service, session: ImageSession, body: object
) -> None:
    service.says(lambda: reply(body))
    with pytest.raises(InvalidResponseError) as raised:
        await session.generate("a cat")
    if body:
        assert "no image for this prompt" in str(raised.value)
    assert len(service.bodies) == 1


async def test_gather_keeps_the_order(service: Service, session: ImageSession) -> None:
    async def later_first(number: int, _: object) -> aiohttp.web.Response:
        await asyncio.sleep(0.02 - number * 0.004)
        return reply()

    service.answer = later_first
    generations = await session.gather([f"prompt {n}" for n in range(5)])
    assert [generation.request.prompt for generation in generations] == [f"prompt {n}" for n in range(5)]


async def test_gather_raises_the_first_error_and_cancels_the_rest(
    service: Service, session: ImageSession
) -> None:
    async def answer(number: int, _: object) -> aiohttp.web.Response:
        if number == 1:
            return reply({"message": "no"}, 400)
        await asyncio.sleep(30)
        return reply()

    service.answer = answer
    with pytest.raises(BadRequestError):
        await asyncio.wait_for(session.gather(["a", "b", "c"]), 5)


async def test_a_refused_key_ends_a_gather_at_once(service: Service, session: ImageSession) -> None:
    async def answer(number: int, request: web.Request) -> web.Response:
        if (await request.json())["prompt"] == "slow":
            await asyncio.sleep(60)
        return reply({"message": "no"}, 401)

    service.answer = answer
    with pytest.raises(AuthenticationError):
        await asyncio.wait_for(session.gather(["slow", "b"]), 10)


async def test_gather_can_put_errors_in_their_places(service: Service, session: ImageSession) -> None:
    async def answer(number: int, request: aiohttp.web.Request) -> aiohttp.web.Response:
        return reply({"message": "no"}, 400) if (await request.json())["prompt"] == "bad" else reply()

    service.answer = answer
    good, bad, empty = await session.gather(["good", "bad", ""], return_exceptions=True)
    assert not isinstance(good, AsiImageError)
    assert isinstance(bad, BadRequestError)
    assert isinstance(empty, ConfigurationError)


async def test_gather_checks_a_list_before_anything_is_sent(service: Service, session: ImageSession) -> None:
    with pytest.raises(ConfigurationError, match=r"^prompts\[2\]: the prompt is empty\n"):
        await session.gather(["a cat", "a dog", ""])
    with pytest.raises(ConfigurationError, match=r"^prompts\[0\]: there is no prompt\n"):
        await session.gather(iter([{"promt": "a cat"}]))
    assert service.bodies == []


async def test_while_gather_checks_a_long_list_the_loop_goes_on(
    service: Service, session: ImageSession
) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with asyncio.TaskGroup() as group:
        other = group.create_task(turn())
        with pytest.raises(ConfigurationError, match=r"prompts\[3000\]"):
            await session.gather([*map(str, range(3000)), ""])
        assert turns > 20
        asyncio.get_running_loop().call_soon(session.drain)
        assert len(await session.gather(map(str, range(1_000_000)), return_exceptions=True)) < 1_000_000
        other.cancel()
    assert service.bodies == []


async def test_leaving_a_session_wakes_what_waits_for_its_turn(service: Service) -> None:
    async with ImageSession(KEY, base_url=service.base_url, rate_limit="1/day") as session:
        await session.generate("a cat")
        waiting = [
            asyncio.create_task(session.generate("a dog")),
            asyncio.create_task(session.gather(["a fox", "a cow"])),
            asyncio.create_task(session.run(["a hen"], lambda _: None)),
        ]
        await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        one, many, run = await asyncio.gather(*waiting, return_exceptions=True)
    for error in (one, many, run.stopped_by):
        assert isinstance(error, ConfigurationError)
        assert str(error) == "the session was left before this was asked for"
    assert len(service.bodies) == 1


async def test_a_gather_that_has_all_when_its_session_is_left_gives_all(service: Service) -> None:
    left = asyncio.Event()

    async def answer(number: int, _: web.Request) -> web.Response:
        await left.wait()
        return reply()

    service.answer = answer
    async with aiohttp.ClientSession() as http:
        async with ImageSession(KEY, base_url=service.base_url, http=http, rate_limit=None) as session:
            waiting = asyncio.create_task(session.gather(["a cat", "a dog"]))
            while len(service.bodies) < 2:
                await asyncio.sleep(0.001)
        left.set()
        assert len(await waiting) == 2


async def test_a_session_is_for_the_loop_that_it_was_opened_in(
    service: Service, session: ImageSession
) -> None:
    with pytest.raises(ConfigurationError, match="another event loop"):
        await asyncio.to_thread(lambda: asyncio.run(session.generate("a cat")))
    assert (await session.generate("a cat")).image.data == JPEG
    assert len(service.bodies) == 1


def test_another_kind_of_event_loop_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="an event loop of asyncio"):
        ImageSession(KEY).__aenter__().send(None)


async def test_what_was_given_up_in_flight_may_have_been_billed(service: Service) -> None:
    async def answer(number: int, _: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    service.answer = answer
    events: list[object] = []
    async with ImageSession(KEY, base_url=service.base_url, observer=events.append) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await session.generate("a cat", n=3)
        assert (session.usage.billed_at_least, session.usage.billed_at_most) == (0, 3)
    assert [type(event) for event in events] == [RequestStarted, RequestCancelled]


async def test_an_observer_that_met_a_cancelled_task_does_no_harm(service: Service) -> None:
    def raises(_: object) -> None:
        raise asyncio.CancelledError

    async with ImageSession(KEY, base_url=service.base_url, observer=raises) as session:
        assert len(await session.gather(["a cat", "a dog"])) == 2


async def test_a_call_that_cancels_its_own_task_is_not_passed_over(service: Service) -> None:
    def cancels(event: object) -> None:
        task = asyncio.current_task()
        if isinstance(event, RequestSucceeded) and event.request.prompt == "3" and task is not None:
            task.cancel()

    prompts = [str(number) for number in range(20)]
    async with ImageSession(KEY, base_url=service.base_url, max_concurrency=2, observer=cancels) as session:
        with pytest.raises(asyncio.CancelledError, match="cancelled its own task"):
            await session.gather(prompts, return_exceptions=True)
        assert len(await session.gather(["a cat"])) == 1


async def test_a_session_that_is_left_too_early_says_so(service: Service) -> None:
    asked = asyncio.Event()

    async def answer(number: int, _: web.Request) -> web.Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    service.answer = answer
    async with ImageSession(KEY, base_url=service.base_url) as session:
        waiting = asyncio.create_task(session.generate("a cat"))
        await asked.wait()
    with pytest.raises(APIConnectionError, match="the session was left before the reply was there") as raised:
        await waiting
    assert raised.value.maybe_billed


async def test_who_waits_for_the_rest_of_a_reply_is_told_also_where_the_leaving_is_cancelled(
    service: Service,
) -> None:
    begun = asyncio.Event()

    async def half(number: int, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"data": [')
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    service.answer = half  # type: ignore[assignment]

    async def owner() -> None:
        nonlocal waiting
        async with ImageSession(KEY, base_url=service.base_url) as session:
            waiting = asyncio.create_task(session.generate("a cat"))
            await begun.wait()
            asyncio.get_running_loop().call_soon(cancel)

    waiting: asyncio.Task[object]
    task = asyncio.create_task(owner())
    cancel = task.cancel
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        with pytest.raises(APIConnectionError, match="the session was left before the reply was there"):
            await waiting


@pytest.mark.parametrize("prompts", ["a cat", {"prompt": "a cat"}, ImageRequest(prompt="a cat"), 7, None])
async def test_a_single_prompt_where_many_are_meant_is_refused(
    service: Service, session: ImageSession, prompts: object
) -> None:
    with pytest.raises(ConfigurationError, match="iterable"):
        await session.gather(prompts)  # type: ignore[arg-type]
    assert service.bodies == []


async def test_a_refused_key_fills_every_place_and_is_asked_about_no_more(service: Service) -> None:
    service.says(lambda: reply({"message": "failed to authenticate user"}, 401))
    async with ImageSession(KEY, base_url=service.base_url, max_concurrency=2) as session:
        results = await session.gather([str(n) for n in range(50)], return_exceptions=True)
    assert len(results) == 50
    assert all(isinstance(result, AuthenticationError) for result in results)
    assert len(service.bodies) <= 2


async def test_a_generator_has_a_place_for_each_error_too(service: Service) -> None:
    service.says(lambda: reply({"message": "failed to authenticate user"}, 401))
    async with ImageSession(KEY, base_url=service.base_url, max_concurrency=2) as session:
        results = await session.gather((f"{n}" for n in range(12)), return_exceptions=True)
    assert len(results) == 12
    assert all(isinstance(result, AuthenticationError) for result in results)


async def test_a_session_is_not_entered_twice_at_once(session: ImageSession) -> None:
    with pytest.raises(ConfigurationError, match="open already"):
        await session.__aenter__()
    assert (await session.generate("a cat")).image.data == JPEG


async def test_time_spent_in_the_queue_of_ones_own_http_session_is_not_the_services(service: Service) -> None:
    async def answer(number: int, _: web.Request) -> web.Response:
        await asyncio.sleep(0.6)
        return reply()

    service.answer = answer
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http:
        async with ImageSession(KEY, base_url=service.base_url, http=http, timeout=1.5) as session:
            assert len(await asyncio.gather(*(session.generate(f"cat {n}") for n in range(3)))) == 3
    assert len(service.bodies) == 3


@pytest.mark.parametrize("reader", ["trace", "middleware"])
async def test_what_ones_own_http_session_reads_is_read_all_the_same(service: Service, reader: str) -> None:
    async def look(_: object, __: object, seen: aiohttp.TraceRequestEndParams) -> None:
        await seen.response.text()

    async def pass_on(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        response = await handler(request)
        await response.read()
        return response

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(look)
    http = (
        aiohttp.ClientSession(trace_configs=[trace])
        if reader == "trace"
        else aiohttp.ClientSession(middlewares=[pass_on])
    )
    service.says(reply, lambda: reply({"error": {"message": "you exceeded your current quota"}}, 429))
    async with http, ImageSession(KEY, base_url=service.base_url, http=http) as session:
        assert (await session.generate("a cat")).image.data == JPEG
        with pytest.raises(QuotaExceededError, match="you exceeded your current quota"):
            await session.generate("a dog")


async def test_an_http_session_that_leaves_replies_packed_is_refused() -> None:
    async with aiohttp.ClientSession(auto_decompress=False) as http:
        with pytest.raises(ConfigurationError, match="unpack"):
            ImageSession(KEY, http=http)


async def test_an_http_session_of_another_event_loop_is_refused_before_anything_is_sent() -> None:
    async def made_elsewhere() -> aiohttp.ClientSession:
        async with aiohttp.ClientSession() as http:
            return http

    http = await asyncio.to_thread(lambda: asyncio.run(made_elsewhere()))
    session = ImageSession(KEY, http=http)
    with pytest.raises(ConfigurationError, match="another event loop"):
        await session.__aenter__()


async def test_a_closed_http_session_is_named(service: Service) -> None:
    http = aiohttp.ClientSession()
    await http.close()
    async with ImageSession(KEY, base_url=service.base_url, http=http) as session:
        with pytest.raises(ConfigurationError, match="not open"):
            await session.generate("a cat")


async def test_an_http_session_with_an_auth_of_its_own_is_refused_by_name(service: Service) -> None:
    with pytest.warns(DeprecationWarning, match="auth"):
        http = aiohttp.ClientSession(auth=aiohttp.BasicAuth("me", "word"), base_url=service.base_url + "/")
    async with http, ImageSession(KEY, base_url=service.base_url, http=http) as session:
        with pytest.raises(ConfigurationError, match="cannot send this"):
            await session.generate("a cat")
    assert service.bodies == []


@pytest.mark.parametrize("beside", [{"size": "512x512"}, {"model": "asi1"}, {"seed": 7}])
async def test_what_is_said_beside_a_request_is_refused_rather_than_ignored(
    service: Service, session: ImageSession, beside: dict[str, object]
) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(beside))):
        await session.generate(ImageRequest(prompt="a cat"), **beside)  # type: ignore[arg-type]
    assert service.bodies == []


async def test_no_more_requests_are_in_flight_than_allowed(service: Service) -> None:
    async def answer(number: int, _: object) -> aiohttp.web.Response:
        await asyncio.sleep(0.005)
        return reply()

    service.answer = answer
    async with ImageSession(KEY, base_url=service.base_url, max_concurrency=3) as session:
        await asyncio.gather(*(session.generate("a cat") for _ in range(12)), session.gather(["b"] * 12))
    assert service.peak == 3


async def test_a_session_of_ones_own_is_used_and_left_open(service: Service) -> None:
    async with aiohttp.ClientSession(headers={"X-Mine": "yes"}, raise_for_status=True) as http:
        async with ImageSession(KEY, base_url=service.base_url, http=http) as session:
            await session.generate("a cat")
            service.says(lambda: reply({}, 400))
            with pytest.raises(BadRequestError):
                await session.generate("a cat")
        assert not http.closed
    assert service.headers[0]["X-Mine"] == "yes"


async def test_the_observer_hears_of_everything_and_does_no_harm_when_it_raises(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    events = []

    def observer(event: object) -> None:
        events.append(type(event))
        raise RuntimeError("my fault")

    service.says(lambda: reply({}, 503), reply)
    async with ImageSession(KEY, base_url=service.base_url, retry=QUICK, observer=observer) as session:
        await session.generate("a cat")
    assert events.count(RequestStarted) == 2
    assert RetryScheduled in events
    assert events[-1] is RequestSucceeded
    assert len([record for record in caplog.records if record.name == "asi_image_async"]) == 1


async def test_a_cancelled_call_gives_its_place_back(service: Service) -> None:
    async def answer(number: int, _: object) -> aiohttp.web.Response:
        await asyncio.sleep(30 if number == 0 else 0)
        return reply()

    service.answer = answer
    async with ImageSession(KEY, base_url=service.base_url, max_concurrency=1) as session:
        for _ in range(2):
            call = asyncio.create_task(session.generate("slow"))
            waiting = asyncio.create_task(session.generate("waiting"))
            await asyncio.sleep(0.05)
            call.cancel()
            waiting.cancel()
            await asyncio.gather(call, waiting, return_exceptions=True)
        assert (await asyncio.wait_for(session.generate("next"), 5)).image.data == JPEG


@pytest.mark.parametrize("empty", ["", "  ", "''"])
async def test_an_empty_key_is_not_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, empty: str
) -> None:
    monkeypatch.setenv("ASI_ONE_API_KEY", KEY)
    with pytest.raises(ConfigurationError, match="api_key is empty"):
        async with ImageSession(empty):
            pass


async def test_a_session_that_is_not_entered_says_how_to() -> None:
    with pytest.raises(ConfigurationError) as raised:
        await ImageSession(KEY).generate("a cat")
    assert "async with" in raised.value.hint


async def test_sessions_that_share_a_limit_keep_it_together(service: Service, tmp_path: Path) -> None:
    limit = RateLimit(10, per=3600, shared=tmp_path / "limit.sqlite")

    async def one(waits: asyncio.Event) -> None:
        def observer(event: Event) -> None:
            if isinstance(event, WaitStarted):
                waits.set()

        async with ImageSession(
            KEY, base_url=service.base_url, rate_limit=limit, observer=observer
        ) as session:
            await session.gather(["a cat"] * 13)

    both = asyncio.Event(), asyncio.Event()
    sessions = asyncio.gather(*map(one, both))
    async with asyncio.timeout(30):
        await asyncio.gather(*(waits.wait() for waits in both))
        while len(service.bodies) < 10:
            await asyncio.sleep(0.01)
    sessions.cancel()
    await asyncio.gather(sessions, return_exceptions=True)
    assert len(service.bodies) == 10


async def test_many_sessions_at_once_do_not_disturb_each_other(service: Service) -> None:
    async def one() -> int:
        async with ImageSession(KEY, base_url=service.base_url) as session:
            return len(await session.gather(["a", "b", "c"]))

    assert await asyncio.gather(*(one() for _ in range(10))) == [3] * 10


def test_a_second_event_loop_is_fine() -> None:
    async def one() -> bytes:
        async with serving() as service, ImageSession(KEY, base_url=service.base_url) as session:
            return (await session.generate("a cat")).image.data

    assert asyncio.run(one()) == asyncio.run(one()) == JPEG


def test_a_session_can_be_entered_again_in_another_loop() -> None:
    session = ImageSession(KEY, base_url="http://127.0.0.1:9/v1", retry=1)

    async def one() -> None:
        async with session:
            with pytest.raises(APIConnectionError):
                await session.generate("a cat")

    asyncio.run(one())
    asyncio.run(one())


async def test_nothing_is_left_behind(service: Service) -> None:
    before = asyncio.all_tasks()
    async with ImageSession(KEY, base_url=service.base_url) as session:
        await session.gather([f"{n}" for n in range(20)])
    await asyncio.sleep(0)
    gc.collect()
    assert [task for task in asyncio.all_tasks() - before if "web_protocol" not in repr(task)] == []


async def test_the_key_is_nowhere_to_be_seen(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    events: list[object] = []
    service.says(lambda: reply({"message": f"bad key {KEY}"}, 401, X_Key=KEY))
    async with ImageSession(KEY, base_url=service.base_url, observer=events.append) as session:
        with pytest.raises(AuthenticationError) as raised:
            await session.generate("a cat")
        seen = [repr(session), repr(vars(session)), repr(events), repr(raised.value), caplog.text]
        seen += [str(raised.value), repr(vars(raised.value)), repr(pickle.dumps(raised.value))]
    assert KEY not in "".join(seen)


@pytest.mark.parametrize(
    ("key", "settings"),
    [(KEY, {"rate_limit": "3/fortnight"}), (KEY.encode(), {}), (f"{KEY} # mine", {}), (None, {})],
    ids=["beside a wrong setting", "bytes", "with a comment", "of the environment"],
)
async def test_a_wrong_setting_shows_no_key_to_who_looks_at_the_frames(
    key: object, settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASI_ONE_API_KEY", f"{KEY} # mine")
    with pytest.raises(ConfigurationError) as raised:
        await ImageSession(key, **settings).__aenter__()  # type: ignore[arg-type]
    _, *frames = traceback.TracebackException.from_exception(raised.value, capture_locals=True).stack
    assert frames
    assert KEY not in repr([frame.locals for frame in frames])


@pytest.mark.parametrize("key", ["x", "9j", "AAAA", KEY])
async def test_a_picture_is_whole_whatever_the_key_is(service: Service, key: str) -> None:
    async with ImageSession(key, base_url=service.base_url) as session:
        assert (await session.generate("a cat")).image.data == JPEG


async def test_the_key_is_not_in_the_error_of_a_reply_that_repeats_it(service: Service) -> None:
    service.says(lambda: reply({"message": f"nothing for {KEY}", "echo": KEY}))
    async with ImageSession(KEY, base_url=service.base_url) as session:
        with pytest.raises(InvalidResponseError) as raised:
            await session.generate("a cat")
    assert KEY not in f"{raised.value} {raised.value!r} {vars(raised.value)}"
    assert "nothing for ***" in str(raised.value)


async def test_several_pictures_in_one_reply_are_all_kept(service: Service, session: ImageSession) -> None:
    png = picture("PNG", (3, 4))

    data = [GOOD["data"][0], {"b64_json": base64.b64encode(png).decode()}]  # type: ignore[index]
    service.says(lambda: reply({"data": data}))
    generation = await session.generate("a cat", n=2)
    assert [image.suffix for image in generation.images] == [".jpg", ".png"]
    assert generation.image is generation.images[0]


async def test_what_prompts_hold_stays_theirs_where_a_gather_reads_them_all_before(service: Service) -> None:
    async def limited() -> AsyncIterator[str]:
        async with asyncio.timeout(0.02):
            for number in range(10**6):
                yield f"prompt {number}"

    async def drained() -> AsyncIterator[str]:
        with anyio.CancelScope():
            for number in range(1000):
                yield f"prompt {number}"
                if number == 300:
                    asker.drain()

    async with ImageSession(KEY, base_url=service.base_url, rate_limit=None) as asker:
        with pytest.raises(TimeoutError):
            await asker.gather(limited(), return_exceptions=True)
        prompts = drained()
        found = await asker.gather(prompts, return_exceptions=True)
        await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="a different task"):  # for Python to close, as Source has it
        await prompts.aclose()  # type: ignore[attr-defined]
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
    assert len(found) in (300, 301, 302)
    assert service.bodies == []
