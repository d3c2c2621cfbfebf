"""Where pictures go: one room for each kind of place, and `open_sink`, which finds the right one."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import ConfigurationError
from ..protocols import Sink
from .disk import DiskSink

__all__ = ["open_sink"]

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_FILE_ENDINGS = {".tar", ".parquet", ".zip", ".jpg", ".jpeg", ".png", ".webp"}


def open_sink(destination: str | Path) -> Sink:
    """The sink for a destination, told by its scheme or ending: a folder is a DiskSink.

    Raises ConfigurationError for a destination that no sink of this version can write.
    """
    text = str(destination)
    if not text.strip():
        raise ConfigurationError("the destination is empty", hint="Name a folder, such as out/.")
    scheme = _SCHEME.match(text)
    if scheme and scheme[0].lower() != "file://":
        raise ConfigurationError(f"there is no sink for {scheme[0]}", hint="Name a folder, such as out/.")
    ending = Path(text).suffix.lower()
    if ending in _FILE_ENDINGS and not text.endswith("/") and not Path(text).is_dir():
        raise ConfigurationError(f"there is no sink for a {ending} file", hint="Name a folder, such as out/.")
    return DiskSink(text[len(scheme[0]) :] if scheme else destination)
