"""The chart of the README: CPU time a picture, in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

_TABLES = ("150 kB", "1.5 MB")
_THEMES = {
    "light": {
        "ink": "#1f2328",
        "grid": "#d1d9e0",
        "ours": "#8250df",
        "others": "#afb8c1",
        "floor": "#57606a",
    },
    "dark": {"ink": "#f0f6fc", "grid": "#3d444d", "ours": "#a371f7", "others": "#656c76", "floor": "#9198a1"},
}


def draw(found: dict[str, dict[str, dict[str, Any]]], lines: Sequence[str], folder: Path) -> None:
    """Write `speed-light.svg` and `speed-dark.svg`."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "speed", "svg.fonttype": "none", "font.family": "sans-serif"})
    for name, theme in _THEMES.items():
        _draw(found, lines, theme, folder / f"speed-{name}.svg")


def _draw(
    found: dict[str, dict[str, dict[str, Any]]], lines: Sequence[str], theme: dict[str, str], path: Path
) -> None:
    from matplotlib import pyplot

    figure, sides = pyplot.subplots(1, len(_TABLES), figsize=(9, 3.6), sharey=True)
    for side, table in zip(sides, _TABLES, strict=True):
        values = [found[table][line]["cpu_ms"] for line in lines]
        colours = [_colour(line, theme) for line in lines]
        bars = side.barh(list(lines), values, color=colours, height=0.7)
        side.bar_label(bars, [f"{value:.2g}" for value in values], padding=3, color=theme["ink"], fontsize=8)
        side.set_title(f"{table} a picture", color=theme["ink"], fontsize=10, loc="left")
        side.set_xlim(0, max(values) * 1.15)
        side.tick_params(colors=theme["ink"], labelsize=8, length=0)
        side.grid(axis="x", color=theme["grid"], linewidth=0.6)
        side.set_axisbelow(True)
        side.set_xlabel("CPU ms a picture, 16 in flight; less is better", color=theme["ink"], fontsize=8)
        for spine in side.spines.values():
            spine.set_visible(False)
    sides[0].invert_yaxis()  # of both, as they share it
    figure.tight_layout()
    figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def _colour(line: str, theme: dict[str, str]) -> str:
    if line.startswith("ours"):
        return theme["ours"]
    return theme["floor"] if line == "bare socket" else theme["others"]
