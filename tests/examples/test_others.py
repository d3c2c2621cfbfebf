"""The other examples do what they say, against the emulator."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asi_image_async.emulator import Emulator

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
SECONDS = 20.0


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.asi_emulator(canned=2000)
def test_the_batch_carries_on_where_it_stopped(asi_emulator: Emulator, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "batch.py"), str(tmp_path / "out")]
    said = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert said == ["3 new, 0 from an earlier run, 0 failed\n", "0 new, 3 from an earlier run, 0 failed\n"]
    assert asi_emulator.requests == 3
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 3


@pytest.fixture
def fastapi(asi_emulator: Emulator) -> Iterator[str]:
    """The FastAPI example under uvicorn; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "fastapi_app:app", "--fd", str(listener.fileno())],
            cwd=EXAMPLES, pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL, env=os.environ,
        )  # fmt: skip
        yield f"http://127.0.0.1:{port}/api/generate-image"
        process.terminate()
        process.wait(SECONDS)


def ask(address: str, prompt: str) -> tuple[int, bytes, str]:
    request = urllib.request.Request(
        address, json.dumps({"prompt": prompt}).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as reply:
            return reply.status, reply.read(), reply.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers["Content-Type"]


@pytest.mark.asi_emulator(canned=2000)
def test_fastapi_answers_with_the_picture_or_an_error_in_words(fastapi: str) -> None:
    status, body, kind = ask(fastapi, "a fox")
    assert (status, body[:3], kind) == (200, b"\xff\xd8\xff", "image/jpeg")
    status, body, _ = ask(fastapi, "   ")
    assert (status, json.loads(body)["error"]) == (400, "the prompt is empty")


@pytest.mark.asi_emulator(latency=30.0)
def test_fastapi_draws_no_longer_for_a_visitor_who_leaves(fastapi: str, asi_emulator: Emulator) -> None:
    with socket.create_connection(("127.0.0.1", int(fastapi.split(":")[2].split("/")[0]))) as visitor:
        body = b'{"prompt": "a fox"}'
        visitor.sendall(
            b"POST /api/generate-image HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        until(lambda: asi_emulator.in_flight == 1)
    until(lambda: asi_emulator.in_flight == 0)
