import ast
import asyncio
import io
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import asi_image_async.emulator as room
from asi_image_async.emulator import Fault, Knobs, emulator, serve
from asi_image_async.emulator.limits import SlidingWindow, TokenBucket

pytestmark = pytest.mark.anyio


async def test_a_wrong_key_is_refused_in_the_words_of_the_service(ask: Any) -> None:
    service = emulator(api_key="sk_right")
    async with service as base_url:
        refused = [await ask(base_url, key=key) for key in ("", "sk_wrong", '"sk_right"')]
        assert (await ask(base_url, key="sk_right"))[0] == 200
    assert {status for status, _, _ in refused} == {401}
    assert json.loads(refused[0][2]) == {"message": "failed to authenticate user"}
    assert (service.requests, service.billed) == (4, 1)


async def test_any_key_will_do_where_none_is_set_but_no_key_will_not(ask: Any) -> None:
    async with emulator() as base_url:
        assert (await ask(base_url, key="whatever"))[0] == 200
        assert (await ask(base_url, key=""))[0] == 401


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        "a cat",
        {"prompt": ""},
        {"prompt": "  "},
        {"prompt": 7},
        {"prompt": "x", "size": ""},
        {"prompt": "x", "size": "big"},
        {"prompt": "x", "size": "0x64"},
        {"prompt": "x", "size": "4097x64"},
        {"prompt": "x", "size": "64x64\n"},
        {"prompt": "x", "model": None},
    ],
)
async def test_a_malformed_request_is_a_documented_400(body: Any, ask: Any) -> None:
    service = emulator()
    async with service as base_url:
        status, _, reply = await ask(base_url, body=body)
    error = json.loads(reply)["error"]
    assert (status, error["type"], error["code"]) == (400, "invalid_request_error", 400)
    assert service.billed == 0


async def test_sizes_auto_and_absent_are_square(ask: Any) -> None:
    async with emulator() as base_url:
        assert (await ask(base_url, size="auto"))[0] == 200
        assert (await ask(base_url, body={"prompt": "x"}))[0] == 200


async def test_unknown_paths_methods_and_huge_bodies_are_documented_errors(
    http: aiohttp.ClientSession,
) -> None:
    async with emulator() as base_url:
        async with http.post(f"{base_url}/images/generations", json={}) as reply:
            assert (reply.status, (await reply.json())["error"]["code"]) == (404, 404)
        async with http.get(f"{base_url}/image/generate") as reply:
            assert (reply.status, (await reply.json())["error"]["code"]) == (405, 405)
        heavy = io.BytesIO(b" " * (2**20 + 1))
        async with http.post(f"{base_url}/image/generate", data=heavy) as reply:
            assert (reply.status, (await reply.json())["error"]["code"]) == (413, 413)


async def test_the_fourth_request_in_a_minute_is_refused(ask: Any) -> None:
    service = emulator(rate_limit=[(100, 1.0), (3, 60.0)])
    async with service as base_url:
        answers = [await ask(base_url) for _ in range(4)]
    assert [status for status, _, _ in answers] == [200, 200, 200, 429]
    assert json.loads(answers[3][2])["error"]["type"] == "rate_limit_error"
    assert not {name for name in answers[3][1] if name.lower().startswith("retry")}
    assert (service.refused_429, service.billed) == (1, 3)


@pytest.mark.parametrize(
    ("style", "name"),
    [("seconds", "Retry-After"), ("milliseconds", "retry-after-ms"), ("date", "Retry-After")],
)
async def test_a_refusal_says_when_to_come_back(style: Any, name: str, ask: Any) -> None:
    async with emulator(rate_limit=[(1, 60.0)], retry_after=style) as base_url:
        await ask(base_url)
        _, headers, _ = await ask(base_url)
    value = headers[name]
    if style == "date":
        assert value.endswith("GMT")
    else:
        assert 50 < int(value) / (1000 if style == "milliseconds" else 1) <= 60


@pytest.mark.parametrize("status", [402, 403, 429])
async def test_a_spent_quota_is_refused_in_words_about_billing(status: int, ask: Any) -> None:
    service = emulator(quota=2, quota_status=status)
    async with service as base_url:
        answers = [await ask(base_url) for _ in range(3)]
    assert [answer[0] for answer in answers] == [200, 200, status]
    error = json.loads(answers[2][2])["error"]
    assert error["type"] == "insufficient_quota"
    assert "billing" in error["message"]


def test_no_window_ever_holds_more_than_its_limit() -> None:
    window, passed = SlidingWindow(3, 10.0), []
    for step in range(400):
        now = step * 0.25
        if window.wait(now) == 0:
            window.charge(now)
            passed.append(now)
    assert all(later - earlier >= 10 for earlier, later in zip(passed, passed[3:], strict=False))
    assert len(passed) == 30


def test_a_token_bucket_lets_its_burst_through_and_then_its_rate() -> None:
    bucket, passed = TokenBucket(2.0, 5), []
    for step in range(100):
        now = 1000 + step * 0.1
        if bucket.wait(now) == 0:
            bucket.charge(now)
            passed.append(now)
    assert sum(at < 1000.05 for at in passed) == 1
    assert 5 + 2 * 10 - 2 <= len(passed) <= 5 + 2 * 10


async def test_requests_are_remembered_without_their_key(ask: Any) -> None:
    service = emulator(latency=(0.01, 0.05))
    async with service as base_url:
        many = [ask(base_url, f"p{n % 2}", headers={"Idempotency-Key": f"k{n}"}) for n in range(6)]
        await asyncio.gather(*many)
    assert service.peak_in_flight > 1
    assert service.in_flight == 0
    assert service.billed_by_prompt == {"p0": 3, "p1": 3}
    assert {request.idempotency_key for request in service.received} == {f"k{n}" for n in range(6)}
    assert all(request.billed and request.status == 200 for request in service.received)
    assert "sk_test" not in repr(service.received)


async def test_the_counters_can_be_read_from_elsewhere(ask: Any, http: aiohttp.ClientSession) -> None:
    async with emulator() as base_url:
        await ask(base_url)
        async with http.get(base_url.removesuffix("/v1") + "/_emulator/stats") as reply:
            stats = await reply.json()
    assert (stats["requests"], stats["billed"], stats["in_flight"]) == (1, 1, 0)


async def test_latency_is_kept_and_does_not_add_up(ask: Any) -> None:
    async with emulator(latency=0.2, canned=20_000) as base_url:
        begun = time.monotonic()
        await asyncio.gather(*(ask(base_url) for _ in range(20)))
        assert 0.2 <= time.monotonic() - begun < 3


async def test_closing_leaves_no_task_and_no_thread_and_may_be_entered_again(ask: Any) -> None:
    tasks, service = asyncio.all_tasks(), emulator()
    for _ in range(2):
        async with service as base_url:
            assert (await ask(base_url))[0] == 200
            with pytest.raises(RuntimeError, match="already"):
                await service.__aenter__()
        with pytest.raises(RuntimeError, match="not running"):
            _ = service.base_url
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == tasks
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("asi-emulator")]


async def test_a_taken_port_is_an_error_and_leaves_nothing_behind() -> None:
    async with emulator() as base_url:
        port = int(base_url.rsplit(":", 1)[1].removesuffix("/v1"))
        with pytest.raises(OSError, match="in use"):
            await emulator(port=port).__aenter__()


async def test_serving_says_where_and_ends_when_cancelled(ask: Any) -> None:
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(knobs=Knobs(api_key="k"), on_ready=ready.set_result))
    base_url = await asyncio.wait_for(ready, 5)
    assert (await ask(base_url, key="k"))[0] == 200
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(base_url)


def test_knobs_that_make_no_sense_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match="latencyy"):
        emulator(latencyy=1)
    with pytest.raises(TypeError, match="either"):
        emulator(Knobs(), latency=1)
    for wrong in (
        {"shape": "Z"},
        {"quota_status": 500},
        {"rate_limit": [(0, 1.0)]},
        {"rate_limit": (3, 60)},
        {"latency": -1},
        {"latency": (2, 1)},
        {"retry_after": "soon"},
        {"rate_limit": [(0.5, 60)]},
        {"rate_limit": [("3", 60)]},
        {"token_bucket": 5},
        {"token_bucket": (1, 0.5)},
        {"token_bucket": (0, 1)},
        {"faults": Fault("error")},
        {"faults": ["error"]},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            emulator(**wrong)


def test_the_plugin_and_the_package_load_neither_aiohttp_web_nor_pillow() -> None:
    script = (
        "import sys, importlib.util as u, asi_image_async.emulator.pytest_plugin;"
        "sys.exit('PIL' in sys.modules or 'aiohttp.web' in sys.modules and 'asi_image_async.session'"
        " not in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


def test_a_missing_extra_is_named_with_the_line_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'asi_image_async\[emulator\]'"):
        emulator()


def test_the_emulator_knows_nothing_of_the_client() -> None:
    for source in Path(room.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1, source
                assert node.level or not (node.module or "").startswith("asi_image_async"), source
            if isinstance(node, ast.Import):
                assert not any(name.name.startswith("asi_image_async") for name in node.names), source
