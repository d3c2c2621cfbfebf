"""How near to the limit, and at how many refusals: `python -m benchmarks.pace [--json]`.

Each contender meets the same service, in another process, over loopback. Three repetitions of one contender
run at once (they mostly wait), never two contenders. It takes about a quarter of an hour; `--rows a,f` and
`--repeat 1` take less.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any

from .pace_rows import ROWS, Row
from .race import Entry, Result, race, races
from .tables import machine, medians, print_machine, print_promises, print_table

# What we promise of ours: row, figure, whether it is a floor or a ceiling, and the number.
PROMISES = (
    ("a", "429s / 1,000", "at most", 0),
    ("a", "efficiency", "at least", 0.93),
    ("b", "efficiency", "at least", 0.95),
    ("b", "429s in 1st second", "at most", 30),
    ("b", "429s after it", "at most", 0),
    ("c1", "efficiency", "at least", 0.85),
    ("c1", "429s / 1,000", "at most", 60),
    ("c2", "efficiency", "at least", 0.85),
    ("c2", "429s / 1,000", "at most", 60),
    ("d", "429s / 1,000", "at most", 60),
    ("e1", "follows after (s)", "at most", 30),
    ("e2", "follows after (s)", "at most", 30),
    ("f", "auto / None", "at most", 1.10),
)


def main() -> None:
    options = _options()
    found = machine()
    if not options.json:
        print_machine(found)
        print(f"32 in flight, a picture takes {options.latency:g} s; medians of {options.repeat}")
    rows = [row for row in ROWS if options.rows is None or row.key in options.rows.split(",")]
    measured = [asyncio.run(_measure(row, options)) for row in rows]
    promises = [promise for row in measured for promise in _kept(row)]
    if options.json:
        print(json.dumps({"machine": found, "rows": measured, "promises": promises}, indent=1))
        return
    for row in measured:
        _print(row)
    print_promises(promises)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pace", description=__doc__)
    parser.add_argument("--json", action="store_true", help="everything that was measured, as JSON")
    parser.add_argument("--repeat", type=int, default=3, help="how often each is measured (3)")
    parser.add_argument("--at-once", type=int, default=3, help="how many of these run at once (3)")
    parser.add_argument("--latency", type=float, default=0.1, help="seconds that a picture takes (0.1)")
    parser.add_argument("--rows", help="some rows only: a,b,c1,c2,d,e1,e2,f")
    parser.add_argument("--who", help="some contenders only: a part of their names, such as ours")
    return parser.parse_args()


async def _measure(row: Row, options: argparse.Namespace) -> dict[str, Any]:
    """All contenders of a row, one after another."""
    entries = [entry for entry in row.entries if options.who is None or options.who in entry.label]
    here = [entry for entry in entries if entry.missing is None]
    results = await (_in_turns if row.alone else _each_by_itself)(row, here, options)
    lines: list[dict[str, Any]] = []
    for entry in entries:
        if entry.missing is not None:
            lines.append({"contender": entry.label, "missing": entry.missing})
            continue
        each = [row.read(row, result) for result in results[entry.label]]
        cut = sum(result.said is None for result in results[entry.label])
        lines.append({"contender": entry.label, "median": medians(each), "each": each, "cut_off": cut})
    return {"row": row.key, "title": row.title, "contenders": lines}


async def _each_by_itself(
    row: Row, entries: list[Entry], options: argparse.Namespace
) -> dict[str, list[Result]]:
    results = {}
    for entry in entries:
        print(f"{row.key}: {entry.label} ...", file=sys.stderr)
        results[entry.label] = await races(
            entry, *_settings(row, entry, options), repeat=options.repeat, at_once=options.at_once
        )
    return results


async def _in_turns(row: Row, entries: list[Entry], options: argparse.Namespace) -> dict[str, list[Result]]:
    """Round after round, so that a machine that slows down slows all of them."""
    results: dict[str, list[Result]] = {entry.label: [] for entry in entries}
    for turn in range(options.repeat):
        print(f"{row.key}: round {turn + 1} ...", file=sys.stderr)
        for entry in entries:
            results[entry.label].append(await race(entry, *_settings(row, entry, options)))
    return results


def _settings(row: Row, entry: Entry, options: argparse.Namespace) -> tuple[Any, Any, float]:
    """The job, the service's settings, and the seconds allowed."""
    job = {"count": row.count, "rate": row.told.get(entry.label, row.rate), "per_second": row.per_second}
    service = {"limit": row.limit, "retry_after": row.retry_after, "latency": options.latency}
    return job, service, row.allowed


def _figures(row: dict[str, Any], label: str) -> dict[str, Any]:
    return next((line.get("median", {}) for line in row["contenders"] if line["contender"] == label), {})


def _kept(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The promises of a row, each with what was found; a figure that is not there keeps none."""
    ours = _figures(row, "ours")
    auto, none = _figures(row, "ours, auto"), _figures(row, "ours, rate_limit=None")
    if auto and none:
        ours = {"auto / None": auto["seconds"] / none["seconds"]}
    kept = []
    for key, name, way, bound in PROMISES:
        if key == row["row"] and ours:
            found = ours[name]
            good = found is not None and (found <= bound if way == "at most" else found >= bound)
            kept.append({"promise": f"{key}) {name} {way} {bound:g}", "found": found, "kept": good})
    return kept


def _print(row: dict[str, Any]) -> None:
    columns = next((list(line["median"]) for line in row["contenders"] if "median" in line), [])
    table = []
    for line in row["contenders"]:
        figures = line["median"].values() if "median" in line else [line["missing"]]
        late = " (time was up)" if line.get("cut_off") and row["row"][0] != "e" else ""
        table.append([line["contender"] + late, *figures])
    print_table(f"{row['row']}) {row['title']}", ["", *columns], table)


if __name__ == "__main__":
    main()
