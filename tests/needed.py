"""Programs of the system that some tests need."""

from __future__ import annotations

import os
import shutil

import pytest
from chaos.scale import LONG


def find(name: str, *others: str) -> str:
    """Where a program is whose package in Debian has its name; without it the test is skipped, or fails."""
    # Programs that serve are in a folder that is on nobody's path but root's.
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    for each in (name, *others):
        found = shutil.which(each, path=places)
        if found is not None:
            return found
    missing = f"{name} is not installed (Debian: apt-get install {name})"
    if LONG:
        pytest.fail(f"{missing}, and the long form leaves nothing out")
    pytest.skip(missing)
