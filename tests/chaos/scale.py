"""How much is done to a run: a little in the everyday form, ASI_CHAOS=long for all of it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

LONG = os.environ.get("ASI_CHAOS") == "long"
TABLE = os.environ.get("ASI_CHAOS_FIGURES")  # the file that its rows go to
SLACK = 5.0  # seconds that a busy machine may take beyond a timeout


def scaled(short: T, long: T) -> T:
    """The one or the other, by the form."""
    return long if LONG else short


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a fault came to: a row of the table that `python -m benchmarks.chaos` prints.

    `tries`: how often it was done, or requests it was done to. `delivered`: whole pictures in the end.
    `lost`: billed, and neither delivered nor told as unknown. `billed_twice`: pictures bought again without
    the user's word, or beyond it. `longest_hang`: seconds that a prompt was held at most. `peak_mb`: memory
    of the client. None is what a fault has no figure for.
    """

    fault: str
    tries: int
    delivered: int
    lost: int
    billed_twice: int
    longest_hang: float | None = None
    peak_mb: float | None = None

    def tell(self) -> None:
        """Keep it for the table, where one is being made."""
        if TABLE is not None:
            with Path(TABLE).open("a", encoding="utf-8") as table:  # one write a line, by several workers
                table.write(json.dumps(asdict(self)) + "\n")
