"""What is printed: the machine, the versions, and tables."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = (
    "asi_image_async", "aiohttp", "aiolimiter", "anyio", "pydantic", "pybase64", "pillow",
    "openai", "httpx", "litellm", "aiometer",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """Where this was measured, with what, and how busy it was already."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = f"not installed: pip install {package}"
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} cores",
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "commit": _commit(),
        "versions": versions,
    }


def _commit() -> str:
    root = Path(__file__).resolve().parent.parent
    said = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    return said or "unknown"


def median(values: Iterable[float | None]) -> float | None:
    """The median of what there is."""
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


def medians(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Figure by figure, the median over the repetitions."""
    return {name: median(each[name] for each in measured) for name in measured[0]}


def show(value: object) -> str:
    """A figure as it stands in a table."""
    if value is None:
        return "-"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return f"{value:,.0f}" if isinstance(value, int | float) else str(value)


def print_machine(found: Mapping[str, Any]) -> None:
    print(f"{found['python']} on {found['system']}, load {found['load']}, commit {found['commit']}")
    print(", ".join(f"{name} {number}" for name, number in found["versions"].items()))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A plain table: the first column is to the left, numbers are to the right.

    A row of two where there are more columns says in words why there are no figures.
    """
    cells = [list(columns), *([show(value) for value in row] for row in rows)]
    whole = [row for row in cells if len(row) == len(columns)]
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    first = max(len(row[0]) for row in cells)
    print(f"\n{title}")
    for row in cells:
        rest = row[1:]
        if len(row) == len(columns):
            rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(["", row[0].ljust(first), *rest]))


def print_promises(promises: Sequence[Mapping[str, Any]]) -> None:
    """Each figure that was promised, and whether it is kept."""
    print("\nPromised, and found")
    for each in promises:
        mark = "ok    " if each["kept"] else "MISSED"
        print(f"  {mark} {each['promise']}: {show(each['found'])}")
