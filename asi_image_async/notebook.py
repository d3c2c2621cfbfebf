"""Progress in a notebook: a bar under the cell, kept up to date while the run goes on."""

from __future__ import annotations

import asyncio
import html
import time
from collections.abc import Callable, Iterable
from typing import Any

from .events import Event, OutcomeReady
from .policies import RateLimit, parse_rate_limits
from .progress import Progress
from .progress.spans import span

__all__ = ["display_progress"]

_EVERY = 0.2  # seconds


def display_progress(
    total: int,
    *,
    rate_limit: str | RateLimit | Iterable[str | RateLimit] | None = "auto",
    max_concurrency: int = 8,
    price_per_image: float | None = None,
) -> Callable[[Event], None]:
    """Show a bar for a run of `total` prompts; give what this returns to `ImageSession(observer=...)`.

    `rate_limit` and `max_concurrency` as the session has them: the time left follows them. Raises ImportError
    where IPython, which every notebook has, is missing.
    """
    from IPython.display import HTML, display

    progress = Progress(
        total,
        limits=parse_rate_limits(rate_limit) or (),
        concurrency=max_concurrency,
        price=price_per_image,
    )
    handle: Any = display(HTML(_as_html(progress)), display_id=True)  # None where it is no notebook
    drawn_at = due_at = time.monotonic()

    def draw() -> None:
        nonlocal drawn_at
        drawn_at = time.monotonic()
        if handle is not None:
            handle.update(HTML(_as_html(progress)))

    def observe(event: Event) -> None:
        nonlocal due_at
        progress(event)
        is_last = isinstance(event, OutcomeReady) and progress.settled >= total
        now = time.monotonic()
        if is_last or now - drawn_at >= _EVERY:
            draw()
        elif now >= due_at:  # also what comes last is drawn, whatever it is
            due_at = now + _EVERY
            asyncio.get_running_loop().call_later(_EVERY, draw)

    return observe


def _as_html(progress: Progress) -> str:
    # Where nothing is under way and nothing waited for, it is over, early or not.
    left = progress.seconds_left if progress.in_flight or progress.waiting() else None
    words = [
        f"{progress.new + progress.skipped} of {progress.total}",
        f"{progress.failed} failed" if progress.failed else "",
        f"{progress.unknown} unknown" if progress.unknown else "",
        progress.rate(),
        progress.cost(),
        f"{span(left)} left" if left is not None and progress.settled < progress.total else "",
        progress.waiting(),
    ]
    said = html.escape(" · ".join(filter(None, words)))
    last = html.escape(", ".join(progress.last))
    bar = (
        f'<progress value="{progress.settled}" max="{max(progress.total, 1)}" style="width: 20em"></progress>'
    )
    return f"{bar} {said}<br><small>{last}</small>"
