"""One page to look through what a batch has made: a contact sheet, without a server and without a network.

In goes a folder with its `metadata.jsonl` and journal, out comes an `index.html` beside the pictures, and
thumbnails in the folder's hidden part.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import ConfigurationError, SinkError
from ..files import write_durably
from ..folder import STATE, check_folder, check_output, journal_path
from .entries import find_failures, find_filters, read_entries
from .page import make_page
from .thumbnails import can_make_thumbnails, make_thumbnails

__all__ = ["THUMBNAILS", "Gallery", "gallery_data", "make_gallery", "title_of"]

THUMBNAILS = Path(STATE, "thumbnails")


@dataclass(frozen=True)
class Gallery:
    """A page that was written: where, and whether thumbnails could be made."""

    path: Path
    has_thumbnails: bool


def make_gallery(
    folder: str | Path, output: str | Path | None = None, *, told: Callable[[int], object] = lambda _: None
) -> Gallery:
    """Write the page of a folder, as `index.html` in it or as `output`. Blocking.

    `told` is called with the number of pictures that have been looked at. Raises ConfigurationError for what
    is no folder of pictures, SinkError where the page cannot be written.
    """
    folder = Path(folder)
    path = Path(output) if output is not None else folder / "index.html"
    check_folder(folder)
    check_output(folder, path)
    if os.path.exists(path) and not os.path.isfile(path):
        raise ConfigurationError(f"{path} is not a plain file", hint="Name a file for the page (-o).")
    if os.path.isfile(path) and os.path.getsize(path) and not _is_ours(path):
        raise ConfigurationError(
            f"{path} is there already and is no gallery", hint="Name another file for the page (-o)."
        )
    data = gallery_data(folder, path.parent, told)
    try:
        write_durably(path, make_page(title_of(folder), data).encode(errors="replace"))
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror or error}") from error
    return Gallery(path, can_make_thumbnails())


def gallery_data(
    folder: Path, seen_from: Path, told: Callable[[int], object] = lambda _: None
) -> dict[str, Any]:
    """What the page is told: its entries, and where it finds pictures and thumbnails from where it is."""
    read = read_entries(folder)
    names = [entry["file"] for entry in read.pictures]
    thumbnails = make_thumbnails(folder, names, folder / THUMBNAILS, told)
    for entry in read.pictures:
        if entry["file"] in thumbnails:
            entry["thumbnail"] = f"{entry['file']}.jpg"
    entries = [*find_failures(journal_path(folder)), *read.pictures]
    return {
        "entries": entries,
        "filters": find_filters(entries),
        "place": read.place,
        "older": read.total if read.total > len(read.pictures) else None,
        "pictures": _address(folder, seen_from),
        "thumbnails": _address(folder / THUMBNAILS, seen_from),
    }


def _is_ours(page: Path) -> bool:
    with suppress(OSError), page.open("rb") as file:
        return b'<meta name="generator" content="asi-image">' in file.read(4096)
    return False


def title_of(folder: Path) -> str:
    """What a page is called: its folder's name."""
    return folder.resolve().name or str(folder)


def _address(folder: Path, seen_from: Path) -> str:
    """The way from the page to a folder, as the beginning of an address: "" or `../pictures/`."""
    try:
        way = os.path.relpath(folder.resolve(), seen_from.resolve()).replace(os.sep, "/")
    except ValueError:  # on Windows no way leads from one drive to another
        return f"{folder.resolve().as_uri()}/"
    return "" if way == "." else f"{quote(way, errors='surrogateescape')}/"
