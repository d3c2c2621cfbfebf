"""A file system in memory that is too small, and grows when it is told to: for those who may mount one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PAGE = 4096


class SmallDisk:
    """A mounted file system; its size can be changed while it is in use."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def pages(self, count: int) -> None:
        """Have so many pages in all."""
        _mount(self.place, f"remount,size={count * PAGE}")


@contextlib.contextmanager
def small_disk(place: Path, pages: int) -> Iterator[SmallDisk]:
    """A disk of so many pages at `place`, which is made, and is gone afterwards."""
    place.mkdir()
    _mount(place, f"size={pages * PAGE}")
    try:
        yield SmallDisk(place)
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
        place.rmdir()


def _mount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True, capture_output=True)


def may_mount() -> bool:
    """Whether this user and this system can have such a disk."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder, "disk"), 1):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False
