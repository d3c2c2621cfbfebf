"""`asi-image inspect`: the request that a picture was made for."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from ..core.recipe import extract
from ..errors import AsiImageError, ConfigurationError
from ..folder import sidecar_of
from .speech import print_json, print_line, shortened, visible

__all__ = ["inspect"]

_LARGEST = 8 * 2**20  # bytes of a file beside a picture


def inspect(file: str, *, json: bool) -> int:
    """Run the command; returns the exit status. Raises AsiImageError where there is nothing to print."""
    recipe = _find(Path(file))
    if recipe is None:
        raise AsiImageError(
            f"{file} has no recipe that can be read, neither in it nor beside it",
            hint="A batch keeps one with --recipe sidecar or --recipe embed.",
        )
    if json:
        print_json(recipe)
        return 0
    names = {name: shortened(name, 20) for name in recipe}
    width = max(map(len, names.values()))
    for name, value in recipe.items():
        text = value if isinstance(value, str) else to_json(value).decode()
        print_line(f"{names[name]:>{width}}: {visible(text)}")
    return 0


def _find(picture: Path) -> dict[str, Any] | None:
    """Of the picture itself, or else of the file beside it."""
    try:
        if not picture.is_file():
            picture.stat()  # says why, where there is nothing
            raise OSError("it is no file")
        recipe = _read(extract(picture.read_bytes()) or "")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"cannot read {picture}: {reason}", hint="Name a picture.") from None
    if recipe is not None:
        return recipe
    try:
        with open(sidecar_of(picture), "rb") as file:
            beside = file.read(_LARGEST + 1)
    except OSError:
        return None
    return None if len(beside) > _LARGEST else _read(beside)


def _read(text: str | bytes) -> dict[str, Any] | None:
    """A request, or None for what is none."""
    try:
        recipe = from_json(text)
        dumps(recipe, allow_nan=False)  # numbers beyond all bounds are read, and are no JSON
    except ValueError:
        return None
    return recipe if isinstance(recipe, dict) and isinstance(recipe.get("prompt"), str) else None
