"""What somebody else has for himself: names that are there, and that is all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOO_LONG = "a" * 300  # no file system takes such a name


@contextmanager
def locked(path: Path, mode: int = 0) -> Iterator[None]:
    """A folder that nobody may look into, or a file that nobody may read; or as far as `mode` says."""
    path.parent.chmod(0o755)
    path.chmod(mode)
    root = os.geteuid() == 0
    if root:  # who may look anyway
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        path.chmod(0o755)
