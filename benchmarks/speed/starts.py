"""What a start takes, each in a process of its own: `python -m benchmarks.speed.starts NAME ADDRESS`."""

from __future__ import annotations

import asyncio
import compileall
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import asi_image_async

from .contenders import KEY

_IMPORT = "from asi_image_async import ImageSession, DiskSink"
_EXTRAS = {"typer", "rich", "PIL", "uvloop"}
_OTHERS = """
import contextlib, importlib
for name in {}:
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
import pydantic
pydantic.create_model("First")
"""
_TIMED = f"""
import time; began = time.process_time()
{{}}
there = time.process_time()
{_IMPORT}
print(there - began, time.process_time() - there)
"""


class Numbered:
    """So many prompts, made as they are read."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return (f"picture number {number}" for number in range(self._count))


def import_time(_: str) -> dict[str, Any]:
    """Milliseconds of the CPU over what the modules of others take that are loaded too; and which are extras.

    The first model of a process is one of pydantic's costs: it looks for plugins in all that is installed.
    """
    compileall.compile_dir(Path(asi_image_async.__file__).parent, quiet=1)  # as an installed package is
    code = f"import sys; {_IMPORT}; print(*sys.modules, sep='\\n')"
    loaded = _run("-c", code).split()
    others = [name for name in loaded if name.partition(".")[0] not in ("asi_image_async", "__main__")]
    timed = _TIMED.format(_OTHERS.format(others))
    took = [[float(seconds) * 1000 for seconds in _run("-c", timed).split()] for _again in range(9)]
    before, ours = map(median, zip(*took, strict=True))
    return {
        "import_ms": ours,
        "import_whole_ms": before + ours,
        "extras_loaded": sorted(_EXTRAS & set(loaded)),
    }


def help_time(_: str) -> dict[str, Any]:
    """Milliseconds until `asi-image --help` has printed, and ended."""
    took = []
    for _again in range(9):
        began = time.perf_counter()
        _run("-m", "asi_image_async", "--help")
        took.append(time.perf_counter() - began)
    return {"help_ms": median(took) * 1000}


def million_planned(address: str) -> dict[str, Any]:
    """A million prompts: seconds until the first request goes out, and what that takes of the memory."""
    from asi_image_async import ImageSession, MemorySink
    from asi_image_async.events import RequestStarted

    async def run() -> float:
        first: list[float] = []

        def watch(event: object) -> None:
            if isinstance(event, RequestStarted):
                first.append(time.perf_counter())
                session.drain()

        async with ImageSession(KEY, base_url=f"{address}/v1", observer=watch) as session:
            began = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                await session.run(Numbered(1_000_000), MemorySink(), journal=Path(folder) / "journal.sqlite")
        return first[0] - began

    return {"first_request_s": asyncio.run(run()), "peak_mb": _peak()}


def hundred_thousand_resumed(address: str) -> dict[str, Any]:
    """A finished list of 100,000 again: seconds, requests, and how much more memory than when it was made."""
    from asi_image_async import ImageSession

    prompts = Numbered(100_000)

    async def run(journal: Path) -> tuple[float, int]:
        async with ImageSession(KEY, base_url=f"{address}/v1", max_concurrency=16) as session:
            began = time.perf_counter()
            report = await session.run(prompts, lambda generation: None, journal=journal)
            assert report.succeeded + report.skipped == len(prompts)
            return time.perf_counter() - began, report.requests

    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.sqlite"
        asyncio.run(run(journal))
        made = _peak()
        took, requests = asyncio.run(run(journal))
    return {"resume_s": took, "resume_requests": requests, "made_peak_mb": made, "peak_mb": _peak()}


def _run(*arguments: str) -> str:
    """What Python prints, with its compiled modules kept, as those of an installed package are."""
    kept = {
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "speed-pyc"),
    }
    command = [sys.executable, *arguments]
    ended = subprocess.run(command, env=os.environ | kept, capture_output=True, text=True, check=True)
    return ended.stdout


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


STARTS = {
    "import": import_time,
    "help": help_time,
    "million": million_planned,
    "resumed": hundred_thousand_resumed,
}

if __name__ == "__main__":
    print(json.dumps(STARTS[sys.argv[1]](sys.argv[2])))
