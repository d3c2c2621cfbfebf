"""What the world can do to a run, and what it came to: `python -m benchmarks.chaos [--json] [--short]`.

Runs tests/chaos in its long form (ten minutes) and prints the figures that its tests tell. It needs
what the tests need, and nginx and tinyproxy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .race import ROOT
from .tables import machine, print_machine, print_table

COLUMNS = ("tries", "delivered", "lost", "billed_twice", "longest_hang", "peak_mb")


def main() -> int:
    options = _options()
    found = machine()
    status, rows = _run(short=options.short)
    if options.json:
        print(json.dumps({"machine": found, "passed": status == 0, "faults": rows}, indent=1))
        return status
    print_machine(found)
    titles = ["", "tries", "delivered", "lost", "billed twice", "longest hang, s", "peak memory, MB"]
    print_table("Faults", titles, [[row["fault"], *(row[name] for name in COLUMNS)] for row in rows])
    ends = {0: "every promise held", 1: "A PROMISE FELL: see above"}  # of pytest's exit codes
    print(f"\n  {ends.get(status, 'the tests could not be run: see above')}")
    return status


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--json", action="store_true", help="everything that was measured, as JSON")
    parser.add_argument("--short", action="store_true", help="the everyday form, about two minutes")
    return parser.parse_args()


def _run(*, short: bool) -> tuple[int, list[dict[str, Any]]]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.jsonl"
        form = {} if short else {"ASI_CHAOS": "long"}
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-rf", "tests/chaos"],
            cwd=ROOT, stdout=sys.stderr, check=False,
            env=os.environ | form | {"ASI_CHAOS_FIGURES": str(file)},
        )  # fmt: skip
        told = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return ended.returncode, [json.loads(line) for line in told]


if __name__ == "__main__":
    sys.exit(main())
