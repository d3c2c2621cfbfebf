"""Pictures that are paid for and whose place will not have them: kept where there is room."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.naming import file_names
from ..models import Generation, Image
from .speech import visible

__all__ = ["Spare", "save_all_elsewhere", "save_elsewhere"]


@dataclass(frozen=True)
class Spare:
    """Where pictures are that were bought and not stored: `saved` of them, and `lost` for want of room."""

    folder: str | None = None
    saved: int = 0
    lost: int = 0

    def __str__(self) -> str:
        count = self.saved + self.lost
        one = count == 1
        of_them = f"{self.saved} of them {'is' if self.saved == 1 else 'are'}"
        where = f"{'it is' if one else of_them} in {visible(self.folder or '')}"
        return (
            f"{count} {'was' if one else 'were'} bought and could not be stored:"
            f" {where if self.saved else 'there was no room elsewhere either'};"
            f" the same line buys {'it' if one else 'them'} again"
        )


async def save_elsewhere(image: Image, name: str, folder: Path | None = None) -> Path:
    """Write a picture into a temporary folder, one of its own unless told which. Raises OSError."""
    return await image.save((folder or _temporary()) / name)


async def save_all_elsewhere(generations: Sequence[Generation]) -> Spare:
    """Write what could not be stored into one temporary folder, as far as there is room."""
    if not generations:
        return Spare()
    saved = 0
    try:
        folder = _temporary()
    except OSError:
        return Spare(lost=len(generations))
    for generation in generations:
        try:
            for name, image in zip(file_names(generation), generation.images, strict=True):
                await save_elsewhere(image, name, folder)
        except OSError:  # a smaller one may fit
            continue
        saved += 1
    return Spare(str(folder), saved, len(generations) - saved)


def _temporary() -> Path:
    return Path(tempfile.mkdtemp(prefix="asi-image-"))
