"""Progress on standard error: a live bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from rich.text import Text

from ..progress import Progress
from ..progress.spans import span
from .outlets import wait_for
from .speech import Voice, visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

__all__ = ["BatchView", "Display", "OneView"]

_logger = logging.getLogger("asi_image_async")

_TICK = 0.2
_LINE_EVERY = 10.0
_SAME_LINE_EVERY = 60.0
_WIDEST = 110
_PATIENCE = 60.0
_HASTE = 2.0


class View(Protocol):
    """What a display shows."""

    def line(self) -> str:
        """In words, for a log."""

    def live(self) -> RenderableType:
        """For a terminal, many times a second."""


class _Warnings(logging.Handler):
    """What the library warns of, as lines that stay."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """One of them."""
        self._say(visible(f"warning: {record.getMessage()}"))


class Display:
    """Shows a view while entered, from a thread of its own, and says what the library warns of.

    A terminal can stall (Ctrl-S), and so can a pipe; then the thread waits, and the run does not. When the
    run is over, what is still to be said waits for a minute, and where it was told to stop for two seconds.
    """

    def __init__(self, voice: Voice, view: View, *, quiet: bool = False) -> None:
        self._voice = voice
        self._view = view
        self._sayings: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._over = threading.Event()
        self._warnings = _Warnings(self.say)
        shown = self._live if voice.is_terminal else self._lines
        self._thread = threading.Thread(
            target=self._words if quiet else shown, name="asi-image-display", daemon=True
        )

    def __enter__(self) -> Display:
        _logger.addHandler(self._warnings)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        _logger.removeHandler(self._warnings)
        self._end(_PATIENCE)

    def say(self, text: str) -> None:
        """A line that stays; returns at once."""
        self._sayings.put(text)

    def stop(self) -> None:
        """Take the bar away now; what was said stays."""
        self._end(_HASTE)

    def _end(self, patience: float) -> None:
        self._over.set()
        self._voice.hurry(patience)
        try:
            wait_for(self._thread)
        except KeyboardInterrupt:  # the work is done; it is the waiting that is to end
            self._voice.on_broken_pipe()

    def _ticks(self) -> Iterator[float]:
        ticks = 0
        while not self._over.wait(_TICK):
            self._speak()
            ticks += 1
            yield ticks * _TICK
        self._speak()

    def _speak(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._voice.say(self._sayings.get_nowait())

    def _words(self) -> None:
        for _ in self._ticks():
            pass

    def _lines(self) -> None:
        last, said = 0.0, ""
        for now in self._ticks():
            if now - last < _LINE_EVERY:
                continue
            line = self._view.line()
            counts = line.partition(";")[0].partition(" done")[0]  # the rate sinks, and the time left does
            if counts != said or now - last >= _SAME_LINE_EVERY:
                last, said = now, counts
                self._voice.say(line)

    def _live(self) -> None:
        from rich.live import Live

        with Live(
            console=self._voice,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as live:
            for _ in self._ticks():
                live.update(self._view.live(), refresh=True)


class OneView:
    """A single picture being waited for."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def line(self) -> str:
        """In words."""
        return _joined(f"waiting for the picture, {span(self._progress.elapsed)}", self._progress.waiting())

    def live(self) -> RenderableType:
        """The same, with a little movement."""
        beat = "·•●•"[int(self._progress.elapsed * 5) % 4]
        elapsed = f"{self._progress.elapsed:.0f} s"
        words = _joined(f"waiting for the picture, {elapsed}", self._progress.waiting())
        return _LastLine(Text.assemble((f"{beat} ", "magenta"), words, no_wrap=True, overflow="ellipsis"))


class BatchView:
    """A list of prompts on its way."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def line(self) -> str:
        """In words, such as `412 of 1632 done, 2 failed, 61 a minute, 20 min left; waiting ...`."""
        progress = self._progress
        left = progress.seconds_left
        parts = [
            f"{progress.new + progress.skipped} of {progress.total} done",
            *self._counts(),
            progress.rate(),
            progress.cost(),
        ]
        if left is not None and progress.settled < progress.total:
            parts.append(f"{span(left)} left")
        return _joined(", ".join(filter(None, parts)), progress.waiting())

    def live(self) -> RenderableType:
        """Three lines: how far, how it goes, and the last pictures' names."""
        from rich.console import Group
        from rich.constrain import Constrain
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        progress = self._progress
        digits = len(str(progress.total))
        done = f"{progress.new + progress.skipped:>{digits}} of {progress.total}"
        share = math.floor(100 * progress.settled / max(progress.total, 1))
        # Fixed widths, so that nothing moves but the bar and the figures.
        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column(width=len(done), no_wrap=True)
        row.add_column(ratio=1)
        row.add_column(width=4, justify="right", no_wrap=True)
        row.add_column(width=13, justify="right", no_wrap=True)
        bar = ProgressBar(
            progress.total,
            progress.settled,
            complete_style="cyan",
            finished_style="green",
            style="bright_black",
        )
        row.add_row(Text(done, "bold"), bar, f"{share}%", Text(_clock(progress.seconds_left), "cyan"))
        return Constrain(Group(row, self._how(), _LastLine(self._last())), _WIDEST)

    def _last(self) -> Text:
        names = ", ".join(map(visible, self._progress.last))
        return Text(names, "bright_black", no_wrap=True, overflow="ellipsis")

    def _how(self) -> Text:
        progress = self._progress
        text = Text(no_wrap=True, overflow="ellipsis")
        flight = f"{progress.in_flight} in flight"
        for part in (progress.rate(), flight, *self._counts(), progress.waiting(), progress.cost()):
            if part:
                text.append(" · " if text else "", "bright_black").append(part, _style(part))
        return text

    def _counts(self) -> list[str]:
        progress = self._progress
        counts = {
            "from earlier": progress.skipped,
            "failed": progress.failed,
            "unknown": progress.unknown,
        }
        return [f"{count} {what}" for what, count in counts.items() if count]


class _LastLine:
    """A text with room for the ^C that a terminal writes behind it: in a line more, it would leave a part."""

    def __init__(self, text: Text) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self._text, options.update_width(max(1, options.max_width - len("^C^C"))))


def _style(part: str) -> str:
    if part.startswith(("waiting", "throttled")):
        return "yellow"
    if part.endswith("failed"):
        return "red"
    return "yellow" if part.endswith("unknown") else ""


def _joined(line: str, waiting: str) -> str:
    return f"{line}; {waiting}" if waiting else line


def _clock(seconds: float | None) -> str:
    """`6:41 left`: figures that keep their places while they count down."""
    if seconds is None:
        return ""
    left = math.ceil(seconds)
    if left >= 86400:
        days, rest = divmod(left, 86400)
        return f"{days} d {rest // 3600} h left" if days < 10 else f"{days} d left"
    hours, minutes = f"{left // 3600}:", left % 3600 // 60
    return f"{hours}{minutes:02}:{left % 60:02} left" if left >= 3600 else f"{minutes}:{left % 60:02} left"
