"""The web app in a browser, against the emulator: a picture, an error's own words, a visitor who leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import barriers

from asi_image_async.emulator import Emulator

APP = Path(__file__).resolve().parent.parent.parent / "examples" / "web_app" / "app.py"
SECONDS = 20.0


@pytest.fixture
def app(asi_emulator: Emulator) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The example in a process of its own, which finds the emulator in its environment; and its address."""
    process = subprocess.Popen(
        [sys.executable, str(APP), "--port", "0"],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()  # ======== Running on http://127.0.0.1:38129 ========
    yield line.split("Running on ")[1].split(" ")[0], process
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(SECONDS)
    process.stdout.close()


def ask(address: str, body: bytes) -> tuple[int, bytes, Any]:
    request = urllib.request.Request(
        f"{address}/api/generate-image", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as reply:
            return reply.status, reply.read(), reply.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.asi_emulator(latency=1.5)
def test_a_visitor_sees_that_it_is_drawn_and_then_the_picture(app: Any, page: Any) -> None:
    page.goto(app[0])
    page.get_by_label("What shall the picture show?").fill("a red <fox>")
    page.get_by_role("button", name="Draw it").click()
    page.get_by_text("Drawing …").wait_for()
    assert page.get_by_role("button", name="Draw it").is_disabled()
    page.get_by_text("Drawn in").wait_for()
    picture = page.get_by_role("img", name="a red <fox>")
    assert picture.is_visible()
    assert picture.evaluate("picture => picture.naturalWidth") == 1024
    assert page.get_by_role("button", name="Draw it").is_enabled()
    assert barriers(page) == []


@pytest.fixture
def wrong_key(asi_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ASI_ONE_API_KEY", "sk_of_somebody_else")
    return "sk_of_somebody_else"


@pytest.mark.asi_emulator(api_key="sk_the_only_one")
def test_an_error_is_told_in_the_service_s_own_words(wrong_key: str, app: Any, browser: Any) -> None:
    page = browser.new_page()
    page.goto(app[0])
    page.get_by_role("button", name="Draw it").click()
    page.locator("#said.error").wait_for()
    assert "key" in page.locator("#said").inner_text().lower()
    assert wrong_key not in page.content()
    page.close()


@pytest.mark.asi_emulator(latency=30.0)
def test_a_visitor_who_leaves_is_not_drawn_for_any_longer(
    app: Any, page: Any, asi_emulator: Emulator
) -> None:
    page.goto(app[0])
    page.get_by_role("button", name="Draw it").click()
    until(lambda: asi_emulator.in_flight == 1)
    page.goto("about:blank")
    until(lambda: asi_emulator.in_flight == 0)


@pytest.mark.asi_emulator(canned=2000)
def test_each_visitor_has_a_limit_and_is_told_when_to_come_back(app: Any, asi_emulator: Emulator) -> None:
    answers = [ask(app[0], b'{"prompt": "a fox"}') for _ in range(7)]
    assert [status for status, _, _ in answers] == [200] * 5 + [429] * 2
    _, body, headers = answers[-1]
    assert 0 < int(headers["Retry-After"]) <= 60
    assert "come back in" in json.loads(body)["error"]
    assert asi_emulator.requests == 5


@pytest.mark.asi_emulator(canned=2000)
@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"prompt": 7}', b'{"prompt": " "}', json.dumps({"prompt": "x" * 2001}).encode()],
)
def test_what_is_no_prompt_is_refused_before_anything_is_asked(
    app: Any, asi_emulator: Emulator, body: bytes
) -> None:
    status, said, _ = ask(app[0], body)
    assert status == 400
    assert json.loads(said)["error"]
    assert asi_emulator.requests == 0


@pytest.mark.asi_emulator(latency=1.0)
def test_it_ends_when_the_pictures_under_way_are_finished(
    app: Any, page: Any, asi_emulator: Emulator
) -> None:
    address, process = app
    page.goto(address)
    page.get_by_role("button", name="Draw it").click()
    until(lambda: asi_emulator.in_flight == 1)
    process.send_signal(signal.SIGTERM)
    page.get_by_text("Drawn in").wait_for()
    assert process.wait(SECONDS) == 0
