"""Where pictures go: one room for each kind of place, and `open_sink`, which finds the right one."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..errors import ConfigurationError
from ..protocols import Sink

__all__ = ["open_sink"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_HINT = "Name a folder, such as out/."
_TO_EXPORT = f"{_HINT} Then, for other tools: asi-image export out/ PATH --to webdataset, parquet or csv."
_FILE_ENDINGS = {".tar", ".parquet", ".zip", ".jpg", ".jpeg", ".png", ".webp"}


def open_sink(destination: str | Path) -> Sink:
    """The sink for a destination, told by its scheme or ending: a folder is a DiskSink.

    Raises ConfigurationError for a destination that no sink of this version can write.
    """
    from .disk import DiskSink  # a session comes by here for its callback sink, and needs no folder

    text = str(destination)
    scheme = _SCHEME.match(text)
    if scheme and scheme[0].lower() != "file://":
        raise ConfigurationError(f"there is no sink for {scheme[0]}", hint=_HINT)
    if scheme:
        text = destination = _local_path(text)
    if not text.strip():
        raise ConfigurationError("the destination is empty", hint=_HINT)
    ending = Path(text).suffix.lower()
    if ending in _FILE_ENDINGS and not text.endswith("/") and not os.path.isdir(text):
        hint = _TO_EXPORT if ending in (".tar", ".parquet") else _HINT
        raise ConfigurationError(f"there is no sink for a {ending} file", hint=hint)
    return DiskSink(destination)


def _local_path(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"{url[:80]!r} is not a folder: {error}", hint=_HINT) from None
    if parts.netloc not in ("", "localhost"):
        raise ConfigurationError(
            f"{url} is on another machine, {parts.netloc}",
            hint="Name a folder of this one with three slashes, such as file:///home/me/out.",
        )
    return url2pathname(parts.path)
