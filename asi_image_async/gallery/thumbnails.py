"""Small pictures for a contact sheet, made once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from ..files import write_whole

__all__ = ["can_make_thumbnails", "make_thumbnails"]

_EDGE = 320  # pixels: a tile's width on a screen with two of them a point
_QUALITY = 78
_MOST_PIXELS = 200_000_000  # of a larger one the picture itself is shown


def can_make_thumbnails() -> bool:
    """Whether Pillow is installed."""
    try:
        import PIL.Image  # noqa: F401 - whether it is there
    except ImportError:
        return False
    return True


def make_thumbnails(
    folder: Path, names: Iterable[str], into: Path, told: Callable[[int], object] = lambda _: None
) -> set[str]:
    """Make what is not there yet; returns the names of pictures that have one, as `NAME.jpg` in `into`.

    `told` is called with the number of those that were looked at. A picture that Pillow cannot read has none.
    """
    if not can_make_thumbnails():
        return set()
    with suppress(OSError):  # where nothing can be written none is made
        into.mkdir(parents=True, exist_ok=True)
    made = set()
    # Pillow's work on pixels lets other threads run.
    threads = ThreadPoolExecutor(os.cpu_count())
    try:
        looked_at = threads.map(lambda name: (name, _has(folder, name, into)), names)
        for number, (name, there) in enumerate(looked_at, 1):
            if there:
                made.add(name)
            told(number)
    finally:
        threads.shutdown(cancel_futures=True)
    return made


def _has(folder: Path, name: str, into: Path) -> bool:
    source, target = folder / name, into / f"{name}.jpg"
    try:
        of = source.stat().st_mtime_ns
        if not target.exists() or target.stat().st_mtime_ns != of:  # an older one may take another's place
            write_whole(target, _smaller(source))
            with suppress(OSError):
                os.utime(target, ns=(of, of))
    except Exception:  # whatever is in a file; Pillow raises many things
        return False
    return True


def _smaller(path: Path) -> bytes:
    from io import BytesIO

    from PIL import Image

    with Image.open(path) as picture:
        if picture.width * picture.height > _MOST_PIXELS:
            raise ValueError("too large")
        picture.draft("RGB", (_EDGE, _EDGE))  # of a JPEG only so much is decoded
        picture.thumbnail((_EDGE, _EDGE))
        whole = picture.convert("RGBA")
    paper = Image.new("RGB", whole.size, "white")
    paper.paste(whole, mask=whole.getchannel("A"))
    out = BytesIO()
    paper.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
