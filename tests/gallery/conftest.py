from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from service import picture
from terminal import starting

Fill = Callable[..., Path]


@pytest.fixture
def fill(tmp_path: Path) -> Fill:
    """Make a folder as a batch leaves it: pictures, and their lines with what is given of each."""

    def fill(*lines: dict[str, Any]) -> Path:
        folder = tmp_path / "pictures"
        folder.mkdir(exist_ok=True)
        small = picture(size=(40, 30))
        with open(folder / "metadata.jsonl", "a", encoding="utf-8") as file:
            for number, line in enumerate(lines):
                name = line.get("file_name", f"{number}.jpg")
                (folder / name).write_bytes(small)
                whole = {"file_name": name, "prompt": f"picture {number}", "size": "1024x1024", "width": 40}
                file.write(json.dumps(whole | {"height": 30, "model": "asi1-mini"} | line) + "\n")
        return folder

    return fill


@pytest.fixture
def watched(fill: Fill) -> Iterator[str]:
    """The address at which a folder with one picture is watched, by the command."""
    folder = fill({"prompt": "here already"})
    with starting() as start:
        process = start("gallery", folder, "--watch", stdout=None)
        yield process.until("Ctrl-C ends it").split()[0]
        process.send(signal.SIGINT)
        assert process.end().status == 0
