"""A batch in this very process: quick, for what nobody is killed in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chaos.batch import journal_of

from asi_image_async import DiskSink, ImageSession, RunReport


async def run_here(base_url: str, out: Path, prompts: Sequence[str], *, width: int = 8) -> RunReport:
    """As child.py does it. Raises what `ImageSession.run` raises."""
    async with ImageSession("a-key", base_url=base_url, rate_limit=None, max_concurrency=width) as session:
        return await session.run(prompts, DiskSink(out), journal=journal_of(out))
