"""A run in a process of its own, to be killed or starved: reads its options and prints what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asi_image_async import DiskSink, ImageSession
from asi_image_async.errors import AsiImageError


async def run(base_url: str, out: str, prompts: list[str], width: int) -> dict[str, Any]:
    journal = Path(out) / ".asi-image" / "journal.sqlite"
    async with ImageSession("sk_test_0123456789", base_url=base_url, max_concurrency=width) as session:
        try:
            report = await session.run(prompts, DiskSink(out), journal=journal)
        except AsiImageError as error:
            return {"ok": False, "stopped_by": type(error).__name__, "said": str(error), "raised": True}
    stopped_by = report.stopped_by and type(report.stopped_by).__name__
    return {
        "ok": report.ok,
        "total": report.total,
        "succeeded": report.succeeded,
        "skipped": report.skipped,
        "requests": report.requests,
        "stopped_by": stopped_by,
        "said": str(report.stopped_by),
        "raised": False,
    }


@contextlib.contextmanager
def largest_file(size: int | None) -> Iterator[None]:
    if size is None:
        yield
        return
    import resource

    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:  # what measures the coverage has something to write too
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def main() -> None:
    options = json.load(sys.stdin)
    with largest_file(options.pop("largest_file", None)):
        said = asyncio.run(run(**options))
    print(json.dumps(said))


if __name__ == "__main__":
    main()
