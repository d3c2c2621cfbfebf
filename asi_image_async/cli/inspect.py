"""`asi-image inspect`: the request that a picture was made for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from ..core.recipe import extract
from ..errors import AsiImageError, ConfigurationError
from ..sinks.disk import sidecar_of
from .speech import print_json, print_line, visible

__all__ = ["inspect"]


def inspect(file: str, *, json: bool) -> int:
    """Run the command; returns the exit status. Raises AsiImageError where there is nothing to print."""
    recipe = _find(Path(file))
    if recipe is None:
        raise AsiImageError(
            f"{file} has no recipe, neither in it nor beside it",
            hint="A batch keeps one with --recipe sidecar or --recipe embed.",
        )
    if json:
        print_json(recipe)
        return 0
    width = max(map(len, recipe), default=0)
    for name, value in recipe.items():
        text = value if isinstance(value, str) else to_json(value).decode()
        print_line(f"{visible(name):>{width}}: {visible(text)}")
    return 0


def _find(picture: Path) -> dict[str, Any] | None:
    """Of the picture itself, or else of the file beside it."""
    try:
        data = picture.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"cannot read {picture}: {reason}", hint="Name a picture.") from None
    try:
        recipe = from_json(extract(data) or sidecar_of(picture).read_bytes())
    except (OSError, ValueError):
        return None
    return recipe if isinstance(recipe, dict) else None
