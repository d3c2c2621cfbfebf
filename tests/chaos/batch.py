"""A batch of prompts in a process of its own, and whether what it left is whole and agrees."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from PIL import Image

from asi_image_async.core.naming import digest
from asi_image_async.models import ImageRequest
from asi_image_async.runtime.journal import Journal, State
from asi_image_async.runtime.journal.summary import read_summary

CHILD = Path(__file__).parent / "child.py"
Report = dict[str, Any]


@dataclass(frozen=True)
class Batch:
    """What child.py is told. `client`: a client of the user's own, with `proxy` and `authority` (a file).

    `limits`: of the system, such as {"RLIMIT_FSIZE": 1000}. `before`: what the process is started with,
    such as ["setpriv", ...].
    """

    base_url: str
    out: Path
    prompts: Sequence[str]
    width: int = 8
    rate_limit: str | None = "auto"
    retry: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 120.0
    max_response_bytes: int = 64 * 2**20
    client: Mapping[str, str] | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    before: Sequence[str] = ()

    @property
    def settings(self) -> bytes:
        """In one line."""
        return json.dumps(asdict(self), default=str).encode()

    async def start(self) -> Process:
        """Start it, to be killed or waited for."""
        process = await _child(*self.before, sys.executable, CHILD)
        assert process.stdin is not None
        process.stdin.write(self.settings)
        process.stdin.close()
        return process

    async def finish(self, *, within: float = 60.0) -> Report:
        """Start it and wait for its report; it is killed where it takes longer than `within` seconds."""
        process = await self.start()
        try:
            async with asyncio.timeout(within):
                said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0
        report: Report = json.loads(said)
        return report


async def _child(*command: str | Path) -> Process:
    """A process whose coverage is not measured: a batch is to be as quick as it is."""
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=unmeasured)


class Forked:
    """A batch that was forked; as much of a Process as is needed to kill it."""

    def __init__(self, number: int, end: Awaitable[bytes]) -> None:
        self._number = number
        self._end = asyncio.ensure_future(end)

    @property
    def returncode(self) -> int | None:
        """How it ended; None before that."""
        return int(json.loads(self._end.result())[0]) if self._end.done() else None

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._number, signal.SIGKILL)

    async def wait(self) -> None:
        """Until it has ended."""
        await self._end


class Forking:
    """Starts batches from one process, which has imported what they need: half a second less for each."""

    async def __aenter__(self) -> Self:
        self._process = await _child(sys.executable, CHILD, "--forking")
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._process.kill()
        await self._process.wait()

    async def start(self, batch: Batch) -> Forked:
        """Start one; the one before has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(batch.settings + b"\n")
        number = int(await self._process.stdout.readline())
        return Forked(number, self._process.stdout.readline())


def journal_of(out: Path) -> Path:
    return out / ".asi-image" / "journal.sqlite"


def whole_pictures(out: Path) -> set[str]:
    """The names of the pictures, each of which can be opened and read to its end."""
    names = set()
    for path in out.glob("*.*g"):  # .jpg and .png
        Image.open(io.BytesIO(path.read_bytes())).load()
        names.add(path.name)
    return names


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metadata.jsonl").read_bytes().splitlines()]


def nothing_is_half(out: Path) -> None:
    """What holds whenever a batch has ended by itself: whole pictures, whole lines, no leftovers."""
    pictures = whole_pictures(out)
    if (out / "metadata.jsonl").exists():
        assert (out / "metadata.jsonl").read_bytes()[-1:] in (b"", b"\n")
        assert {line["file_name"] for line in lines_of(out)} <= pictures
    if (out / ".asi-image" / "tmp").exists():
        assert list((out / ".asi-image" / "tmp").iterdir()) == []


async def everything_agrees(out: Path, prompts: Sequence[str]) -> None:
    """What holds in the end: one whole picture a prompt, and folder, metadata and journal say the same."""
    nothing_is_half(out)
    pictures = whole_pictures(out)
    there = {path.name for path in out.iterdir()} - {"index.html"}  # a page, where the command has run
    assert there == {*pictures, "metadata.jsonl", ".asi-image"}
    named = {line["prompt"]: line["file_name"] for line in lines_of(out)}
    assert len(lines_of(out)) == len(named) == len(prompts)
    assert set(named) == set(prompts)
    assert set(named.values()) == pictures
    summary = read_summary(journal_of(out))
    assert (summary.total, summary.done, summary.left) == (len(prompts), len(prompts), 0)
    async with Journal(journal_of(out)) as journal:
        for prompt in prompts:
            claim = await journal.claim(digest(ImageRequest(prompt=prompt)))
            assert claim.state is State.DONE
            assert Path(claim.detail) == out / named[prompt]
