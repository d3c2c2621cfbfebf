"""A batch in a process of its own, to be killed, starved or cut off: settings on standard input, report out.

Both are JSON: in the fields of `batch.Batch`, out `batch.Report`. With `--forking`: of many, one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from asi_image_async import DiskSink, ImageSession, RetryPolicy
from asi_image_async.errors import AsiImageError
from asi_image_async.events import OutcomeReady, RequestStarted

KEY = "sk_chaos_0123456789abcdef"


class Watch:
    """How long a prompt was held at most, from its first request to its outcome, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._since: dict[int, float] = {}

    def __call__(self, event: object) -> None:
        now = time.monotonic()
        if isinstance(event, RequestStarted):
            self._since.setdefault(id(event.request), now)
        elif isinstance(event, OutcomeReady):
            self.longest = max(self.longest, now - self._since.pop(id(event.outcome.request), now))


async def run(settings: dict[str, Any]) -> dict[str, Any]:
    out = settings["out"]
    watch = Watch()
    async with contextlib.AsyncExitStack() as stack:
        http = None
        if settings["client"]:  # a client of the user's own, with a proxy or an authority of theirs
            http = await stack.enter_async_context(client(**settings["client"]))
        session = await stack.enter_async_context(
            ImageSession(
                KEY,
                base_url=settings["base_url"],
                max_concurrency=settings["width"],
                rate_limit=settings["rate_limit"],
                retry=RetryPolicy(**settings["retry"]),
                timeout=settings["timeout"],
                max_response_bytes=settings["max_response_bytes"],
                http=http,
                observer=watch,
            )
        )
        try:
            report = await session.run(
                settings["prompts"], DiskSink(out), journal=Path(out, ".asi-image", "journal.sqlite")
            )
        except AsiImageError as error:
            return {"ok": False, "stopped_by": type(error).__name__, "said": str(error), "raised": True}
    return {
        "ok": report.ok,
        "total": report.total,
        "succeeded": report.succeeded,
        "skipped": report.skipped,
        "failed": report.failed,
        "unknown": report.unknown,
        "requests": report.requests,
        "throttled": report.throttled,
        "billed_at_most": report.billed_at_most,
        "stopped_by": report.stopped_by and type(report.stopped_by).__name__,
        "said": str(report.stopped_by),
        "failures": [f"{type(each.error).__name__}: {each.error}" for each in report.failures],
        "elapsed": report.elapsed,
        "longest": watch.longest,
        "peak_mb": peak_mb(),
        "raised": False,
    }


def peak_mb() -> float | None:
    """The most memory that this process has had; `ru_maxrss` would begin with its parent's."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    return next(int(line.split()[1]) / 1024 for line in status.open() if line.startswith("VmHWM"))


def client(proxy: str | None = None, authority: str | None = None) -> aiohttp.ClientSession:
    import ssl

    trusted = ssl.create_default_context(cafile=authority)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusted), proxy=proxy)


@contextlib.contextmanager
def limited(limits: dict[str, int]) -> Iterator[None]:
    """Limits of the system, such as {"RLIMIT_FSIZE": 1000}, for as long as the batch lasts."""
    before = {name: resource.getrlimit(getattr(resource, name)) for name in limits}
    try:
        for name, soft in limits.items():
            resource.setrlimit(getattr(resource, name), (soft, before[name][1]))
        yield
    finally:  # what measures the coverage has something to write too
        for name, limit in before.items():
            resource.setrlimit(getattr(resource, name), limit)


def fork_each() -> None:
    """A process for each line of settings, forked from this one: most take less time than the imports.

    Tells the number of each, and in the end how it ended and what it said: a line of JSON each time.
    """
    for line in sys.stdin:
        reader, writer = os.pipe()
        if (number := os.fork()) == 0:
            os.dup2(writer, sys.stdout.fileno())
            sys.exit(main(line))
        os.close(writer)
        print(number, flush=True)
        with open(reader) as output:
            said = output.read()
        _, status = os.waitpid(number, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), said]), flush=True)


def main(given: str) -> None:
    settings = json.loads(given)
    with limited(settings["limits"]):
        said = asyncio.run(run(settings))
    print(json.dumps(said))


if __name__ == "__main__":
    if sys.argv[1:] == ["--forking"]:
        fork_each()
    else:
        main(sys.stdin.read())
