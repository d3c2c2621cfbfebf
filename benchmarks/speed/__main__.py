"""How much of a machine a picture takes: `python -m benchmarks.speed [--json] [--plot]`.

Canned replies over loopback: the service on one core, each contender in a process of its own on another, one
after another, round by round. Half an hour; `--rows`, `--who` and `--repeat` take less. It needs the package
with its extras, and `pip install trustme`; for the others `pip install "openai[aiohttp]" litellm`; for the
chart `pip install matplotlib`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..tables import machine, medians, print_machine, print_promises, print_table, show
from .contenders import Job
from .plot import draw
from .promises import PROMISES
from .rig import TOUCHED, WRITERS, Certificate, measure, service
from .rows import ENTRIES, MEMORY, PAYLOADS, STALLS, Entry, Payload, Special
from .starts import STARTS

_DRAWN = (
    "bare socket", "aiohttp alone", "ours: stream", "ours: run to disk", "ours: asi-image batch", "snippet",
    "worker loop", "worker loop, tuned", "openai", "litellm",
)  # fmt: skip
_FIGURES = {
    "cpu_ms": "CPU ms",
    "per_second": "a second",
    "peak_mb": "peak MB",
    "p99_ms": "loop late, p99 ms",
    "worst_ms": "worst ms",
}
Line = dict[str, Any]


def main() -> None:
    options = _options()
    about = machine()
    if not options.json:
        print_machine(about)
    rows = options.rows.split(",") if options.rows else _all_rows()
    found: dict[str, dict[str, Line]] = {}
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        _check_room(rows, options, folder)
        for row in rows:
            found[row] = _measure(row, options, Path(folder))
            if not options.json:
                _print(row, found[row])
    promises = [judged for promise in PROMISES if (judged := promise.judge(found)) is not None]
    if options.json:
        print(json.dumps({"machine": about, "tables": found, "promises": promises}, indent=1))
    else:
        print_promises(promises)
    if options.plot:
        draw(found, _DRAWN, Path(__file__).resolve().parent)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--json", action="store_true", help="everything that was measured, as JSON")
    parser.add_argument("--plot", action="store_true", help="draw the chart of the README")
    parser.add_argument("--repeat", type=int, default=5, help="how often each is measured (5)")
    parser.add_argument("--rows", help=f"some tables only: {','.join(_all_rows())}")
    parser.add_argument("--who", default="", help="some contenders only: a part of their names, such as ours")
    return parser.parse_args()


def _all_rows() -> list[str]:
    plain = [payload.label for payload in PAYLOADS]
    return [*plain, *(f"{label} TLS" for label in plain), "memory", "stall", "starts"]


def _measure(row: str, options: argparse.Namespace, folder: Path) -> dict[str, Line]:
    """The lines of one table."""
    if row == "starts":
        return _starts()
    payload, entries = _asked(row, options.who)
    certificate = Certificate(folder) if row.endswith("TLS") else None
    with service(payload.size, certificate) as address:
        jobs = {each.label: _job(each, payload, address, folder) for each in entries if not each.missing}
        measured: dict[str, list[Line]] = {label: [] for label in jobs}
        for _round in range(_rounds(row, options)):
            for label, job in jobs.items():
                measured[label].append(measure(job, certificate))
    lines: dict[str, Line] = {label: _summed(each) for label, each in measured.items()}
    return lines | {entry.label: {"missing": entry.missing} for entry in entries if entry.missing}


def _asked(row: str, who: str) -> tuple[Payload, list[Entry]]:
    """What is measured for a table, and of whom."""
    if row in ("memory", "stall"):
        entries: Sequence[Entry] = MEMORY if row == "memory" else STALLS
        payload = Payload(row, MEMORY[0].size, 0)
    else:
        entries = ENTRIES
        payload = next(each for each in PAYLOADS if each.label == row.removesuffix(" TLS"))
    return payload, [entry for entry in entries if who in entry.label]


def _rounds(row: str, options: argparse.Namespace) -> int:
    # What fills the memory says the same each time, and takes long.
    return 1 if row == "memory" else options.repeat


def _check_room(rows: Sequence[str], options: argparse.Namespace, folder: str) -> None:
    """What goes to the disk stays until all is measured: better told now than after half an hour."""
    needed = TOUCHED
    for row in rows:
        payload, entries = _asked(row, options.who) if row != "starts" else (PAYLOADS[0], [])
        jobs = [_job(entry, payload, "", Path(folder)) for entry in entries]
        written = sum(job.count * job.size for job in jobs if job.contender in WRITERS)
        needed += written * _rounds(row, options)
    if needed > shutil.disk_usage(folder).free:
        raise SystemExit(f"it takes {needed / 1e9:.0f} GB in {folder}: set TMPDIR, or take fewer --rows")


def _job(entry: Entry, payload: Payload, address: str, folder: Path) -> Job:
    count = entry.count if isinstance(entry, Special) else payload.count * entry.more
    job = Job(
        entry.contender,
        address,
        payload.size,
        count,
        warm=min(count, 50),
        options=entry.options,
        folder=str(folder),
    )
    if isinstance(entry, Special):
        job.reader, job.probe = entry.reader, entry.probe
    return job


def _summed(measured: Sequence[Mapping[str, float]]) -> Line:
    """Figure by figure the median; `rounds` has all of them."""
    return medians(measured) | {"rounds": {name: [each[name] for each in measured] for name in measured[0]}}


def _starts() -> dict[str, Line]:
    lines: dict[str, Line] = {}
    with service(2_000) as address:
        for name in STARTS:
            ended = subprocess.run(
                [sys.executable, "-m", "benchmarks.speed.starts", name, address],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            lines[name] = json.loads(ended.stdout)
    return lines


def _print(row: str, lines: Mapping[str, Line]) -> None:
    if row == "starts":
        print("\nStarts")
        for line in lines.values():
            print("  " + ", ".join(f"{name} {show(value)}" for name, value in line.items()))
        return
    names = [name for name in _FIGURES if any(name in line for line in lines.values())]
    table: list[list[object]] = []
    for label, line in lines.items():
        if "missing" in line:
            table.append([label, line["missing"]])
            continue
        took = line["rounds"]["cpu_ms"]
        table.append([label, *(line[name] for name in names), f"{show(min(took))}-{show(max(took))}"])
    print_table(row, ["", *(_FIGURES[name] for name in names), "CPU ms, spread"], table)


if __name__ == "__main__":
    main()
