"""`asi-image gallery`: one page to look through a folder, written once or served while a batch goes on."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from ..folder import has_metadata
from ..gallery import Gallery, make_gallery
from .display import Display
from .interrupts import Interrupts
from .loop import run_loop
from .speech import Voice, print_line, visible

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["gallery", "gallery_after_batch"]


class _View:
    """How many pictures have been looked at."""

    def __init__(self) -> None:
        self.seen = 0

    def line(self) -> str:
        return f"making the gallery, {self.seen} pictures"

    def live(self) -> RenderableType:
        from rich.text import Text

        return Text(self.line(), "cyan")


def gallery(folder: str, output: str | None, *, watch: bool, port: int) -> int:
    """Run the command; returns the exit status. Raises ConfigurationError and SinkError."""
    if watch and output is not None:
        raise ConfigurationError("--watch writes no file", hint="Leave out -o.")
    if port and not watch:
        raise ConfigurationError("--port needs --watch", hint="Leave it out, or serve the page: --watch.")
    if watch:
        return _watch(Path(folder), port)
    voice = Voice()
    made = _make(voice, folder, output, quiet=False)
    print_line(str(made.path))
    if not made.has_thumbnails:
        voice.say("without thumbnails, so a large one opens slowly: pip install pillow")
    return 0


def gallery_after_batch(voice: Voice, folder: Path, *, quiet: bool) -> None:
    """The same at the end of a batch, which it never makes fail."""
    try:
        made = _make(voice, str(folder), None, quiet=quiet)
    except (Exception, KeyboardInterrupt) as error:
        why = (
            "interrupted"
            if isinstance(error, KeyboardInterrupt)
            else visible(str(error) or type(error).__name__)
        )
        voice.say(
            f"no gallery was made ({why}): asi-image gallery makes it, with -o in another file", "yellow"
        )
        return
    if not quiet:
        voice.say(f"to look through them: {visible(str(made.path))}")


def _make(voice: Voice, folder: str, output: str | None, *, quiet: bool) -> Gallery:
    view = _View()

    def told(seen: int) -> None:
        view.seen = seen

    with Display(voice, view, quiet=quiet):
        return make_gallery(folder, output, told=told)


def _watch(folder: Path, port: int) -> int:
    if not os.path.isdir(folder):
        raise ConfigurationError(
            f"there is no folder {folder}", hint="Name the folder that its pictures went to."
        )
    has_metadata(folder)  # there may be none yet, but it is to be readable
    try:
        run_loop(_serve(folder, port))
    except OSError as error:
        raise ConfigurationError(
            f"cannot serve on port {port}: {os.strerror(error.errno) if error.errno else error}",
            hint="Name another port; --port 0 takes any free one.",
        ) from None
    return 0


async def _serve(folder: Path, port: int) -> None:
    from ..gallery.watch import watching

    ended = asyncio.Event()
    async with watching(folder, port) as address:
        print_line(address)
        Voice().say("open it in a browser: pictures appear as they arrive; Ctrl-C ends it")
        with Interrupts(ended.set, ended.set):
            await ended.wait()
