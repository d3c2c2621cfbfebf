"""What is paid, and for what: `python -m benchmarks.money [--json]`.

Two tables, each also for a service that honours `Idempotency-Key` (whether ASI:One does is not known):
replies that are lost after the work was done, and batches that are killed. It takes about four minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections.abc import Sequence
from typing import Any

from .kills import KILLS, PROMPTS, WIDTH, kills
from .race import Entry, Result, races
from .tables import machine, medians, print_machine, print_promises, print_table

_COUNT = 200
_LOST = 5  # one reply in so many
_ALLOWED = 120.0

OURS = (
    Entry("ours, default", "ours with journal"),
    Entry("ours, and the same batch again", "ours with journal", {"runs": 2}),
    # One in five lost, four times in a row, befalls one prompt in 625: eight attempts are enough for 200.
    Entry("ours, resend_unknown, 8 tries", "ours with journal", {"resend_unknown": True, "max_attempts": 8}),
)
RIVALS = (
    Entry("openai, defaults", "openai"),
    Entry("openai, max_retries=20", "openai", {"max_retries": 20}),
    Entry("gather snippet, as documented", "gather snippet", {"return_exceptions": False}),
    Entry("gather snippet, return_exceptions", "gather snippet"),
    Entry("aiometer", "aiometer"),
)
# One who repeats a request, one who does not: with keys that are honoured the others are no different.
WITH_KEYS = (*OURS, RIVALS[0])
KILLED = (
    Entry("ours, a run with a journal", "ours"),
    Entry("aiometer, skips files that are there", "aiometer"),
    Entry("openai, from the start", "openai"),
)


def main() -> None:
    options = _options()
    found = machine()
    tables = asyncio.run(_measure(options))
    promises = _kept(tables)
    if options.json:
        print(json.dumps({"machine": found, "tables": tables, "promises": promises}, indent=1))
        return
    print_machine(found)
    print(f"{WIDTH} in flight; medians of {options.repeat}; seed of the kills {options.seed}")
    for table in tables:
        _print(table)
    print(
        "\n  billed per prompt: 1 is: none twice. A reply that is lost is paid for by everyone, so paid per"
        "\n  delivered is 1.25 for who asks again and for who does not, unless the service honours keys."
    )
    print_promises(promises)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.money", description=__doc__)
    parser.add_argument("--json", action="store_true", help="everything that was measured, as JSON")
    parser.add_argument("--repeat", type=int, default=3, help="how often each is measured (3)")
    parser.add_argument("--seed", type=int, default=random.randrange(1000), help="of the kills' moments")
    return parser.parse_args()


async def _measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    lost = f"{_COUNT} prompts, 1 reply in {_LOST} lost after the work was done"
    killed = f"{PROMPTS} prompts, {KILLS} times kill -9 and resume"
    keys = "; the service honours Idempotency-Key"
    return [
        await _lost("lost", lost, (*OURS, *RIVALS), options, honours_keys=False),
        await _lost("lost, keys", lost + keys, WITH_KEYS, options, honours_keys=True),
        await _killed("killed", killed, KILLED, options, honours_keys=False),
        await _killed("killed, keys", killed + keys, KILLED[:1], options, honours_keys=True),
    ]


async def _lost(
    key: str, title: str, entries: Sequence[Entry], options: argparse.Namespace, *, honours_keys: bool
) -> dict[str, Any]:
    job = {"count": _COUNT, "width": WIDTH, "rate": "auto"}
    service = {"latency": 0.05, "drop_every": _LOST, "honours_keys": honours_keys}
    lines = []
    for entry in entries:
        print(f"{key}: {entry.label} ...", file=sys.stderr)
        if entry.missing is not None:
            lines.append({"contender": entry.label, "missing": entry.missing})
            continue
        results = await races(entry, job, service, _ALLOWED, repeat=options.repeat, at_once=options.repeat)
        each = [_paid(entry, result) for result in results]
        lines.append({"contender": entry.label, "median": medians(each), "each": each})
    return {"table": key, "title": title, "contenders": lines}


def _paid(entry: Entry, result: Result) -> dict[str, float | None]:
    counted, delivered = result.stats, result.delivered
    knows_unknown = entry.contender.startswith("ours") and result.said is not None
    return {
        "billed per prompt": counted["paid"] / counted["paid_prompts"],
        "paid per delivered": counted["paid"] / delivered if delivered else None,
        "paid": counted["paid"],
        "delivered": delivered,
        "billed twice": counted["paid_twice"],
        "unknown": result.said["unknown"] if knows_unknown and result.said else None,
        "requests": counted["requests"],
        "seconds": result.seconds,
    }


async def _killed(
    key: str, title: str, entries: Sequence[Entry], options: argparse.Namespace, *, honours_keys: bool
) -> dict[str, Any]:
    lines = []
    for entry in entries:
        print(f"{key}: {entry.label} ...", file=sys.stderr)
        if entry.missing is not None:
            lines.append({"contender": entry.label, "missing": entry.missing})
            continue
        seeds = range(options.seed, options.seed + options.repeat)
        each = [await kills(entry, honours_keys=honours_keys, seed=seed) for seed in seeds]
        lines.append({"contender": entry.label, "median": medians(each), "each": each})
    return {"table": key, "title": title, "contenders": lines}


def _kept(tables: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What we promise of ours, and what was found; the worst repetition counts."""
    found = {
        (table["table"], line["contender"]): line["each"]
        for table in tables
        for line in table["contenders"]
        if "each" in line
    }
    default, resent = (found["lost", entry.label] for entry in (OURS[0], OURS[2]))
    killed = found["killed", KILLED[0].label]
    wanted = [
        ("default: billed per prompt 1.000", max(each["billed per prompt"] for each in default), 1),
        ("default: no prompt billed twice", max(each["billed twice"] for each in default), 0),
        ("default: paid for and neither delivered nor reported as unknown",
         max(each["paid"] - each["delivered"] - each["unknown"] for each in default), 0),
        ("resend_unknown, 8 tries: not delivered", max(_COUNT - each["delivered"] for each in resent), 0),
        ("after a kill: bought again beyond what was in flight, kills x width",
         max(0, *(each["bought again"] - each["kills x width"] for each in killed)), 0),
    ]  # fmt: skip
    return [{"promise": what, "found": value, "kept": value <= bound} for what, value, bound in wanted]


def _print(table: dict[str, Any]) -> None:
    columns = next(list(line["median"]) for line in table["contenders"] if "median" in line)
    rows = [
        [line["contender"], *(line["median"].values() if "median" in line else [line["missing"]])]
        for line in table["contenders"]
    ]
    print_table(table["title"], ["", *columns], rows)


if __name__ == "__main__":
    main()
