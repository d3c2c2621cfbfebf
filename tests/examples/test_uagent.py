"""Two agents of the ecosystem on this machine: what one asks for in words, the other draws."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from asi_image_async.emulator import Emulator

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent.parent / "examples"


def talk(*messages: str) -> dict[str, Any]:
    """Send them all at once, and wait for as many answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ended = subprocess.run(
        [sys.executable, str(HERE / "two_agents.py"), str(EXAMPLES), json.dumps(messages), str(port)],
        capture_output=True, text=True, timeout=60, check=False, env=os.environ,
    )  # fmt: skip
    said = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    assert said, ended.stdout + ended.stderr
    found: dict[str, Any] = json.loads(said[-1])
    return found


@pytest.mark.asi_emulator(latency=1.0)
def test_messages_are_acknowledged_at_once_and_answered_with_a_picture_side_by_side(
    asi_emulator: Emulator,
) -> None:
    found = talk("a red fox", "a blue whale", "a boat")
    assert [each["words"] for each in found["heard"]] == ["Here it is."] * 3
    assert found["pictures"] == ["ffd8ff"] * 3
    assert asi_emulator.peak_in_flight > 1
    assert max(found["acknowledged"]) < min(each["at"] for each in found["heard"]) - 0.5


@pytest.mark.asi_emulator(canned=2000)
def test_a_sender_has_a_limit_and_an_empty_message_a_question(asi_emulator: Emulator) -> None:
    words = [each["words"] for each in talk("a fox", " ", "a boat", "a tree", "a cat")["heard"]]
    assert sorted(text.split(":")[0] for text in words) == [
        "Here it is.", "Here it is.", "Here it is.", "Tell me what the picture is to show.", "That was a lot",
    ]  # fmt: skip
    assert asi_emulator.requests == 3


@pytest.mark.asi_emulator(api_key="sk_the_only_one")
def test_what_goes_wrong_is_said_in_words(asi_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASI_ONE_API_KEY", "sk_of_somebody_else")
    [answer] = talk("a fox")["heard"]
    assert answer["words"].startswith("There is no picture: ")
    assert "key" in answer["words"]
    assert answer["links"] == []


def test_without_a_key_whoever_asks_is_told(asi_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASI_ONE_API_KEY")
    [answer] = talk("a fox")["heard"]
    assert answer["words"].startswith("There is no picture: ")
