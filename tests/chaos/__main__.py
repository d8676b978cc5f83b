"""`python -m tests.chaos`: the five storms of fixed seeds, 60 jobs each, and a table of what came of them.

The exit code is 1 if anything was lost, doubled or published by a worker that had lost the job.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.rig import Ground
from tests.chaos.storm import Report, sound, storm
from tests.servers import Unavailable

GROUNDS = {
    1: Ground(),
    2: Ground(append_only=True, blobs="s3"),
    3: Ground("postgresql", blobs="s3"),
    4: Ground(append_only=True, blobs="small disk"),
    5: Ground("postgresql", append_only=True, blobs="s3"),
}
COLUMNS = (
    "seed",
    "ground",
    "jobs",
    "ended",
    "parts",
    "faults",
    "lost",
    "doubled",
    "stale",
    "refused",
    "losses",
    "attempts",
    "claims",
    "seconds",
)


def row(report: Report) -> list[str]:
    known = vars(report) | {
        "jobs": report.jobs,
        "ended": _counts(report.ended),
        "faults": f"{report.faults.total()}: {_counts(report.faults)}",
        "seconds": round(report.seconds),
    }
    return [str(known[name]) for name in COLUMNS]


def _counts(counter: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counter.items()))


def table(reports: Sequence[Report]) -> str:
    """In Markdown."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *map(row, reports)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("seeds", nargs="*", type=int, default=list(GROUNDS), help="1 to 5; left out: all")
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--json", type=Path, help="append what came of each run to this file")
    given = parser.parse_args()
    reports = []
    for seed in given.seeds:
        ground = GROUNDS[1 + (seed - 1) % len(GROUNDS)]
        try:
            report = storm(seed, ground, jobs=given.jobs, faults=given.faults)
        except Unavailable as reason:
            print(f"seed {seed} ({ground}) is skipped: {reason}", flush=True)
            continue
        reports.append(report)
        print(table([report]).splitlines()[-1], flush=True)
        print(f"  refusals {dict(report.refusals)}; died {list(report.died)}", flush=True)
        print(f"  jobs failed with {sorted(report.failures)}", flush=True)
        for rule, told in report.violations.items():
            print(f"  BROKEN {rule}: {told}", flush=True)
        if given.json:
            with given.json.open("a") as file:
                print(json.dumps(dict(zip(COLUMNS, row(report), strict=True))), file=file)
    print(f"\n{table(reports)}")
    return 0 if all(map(sound, reports)) else 1


if __name__ == "__main__":
    sys.exit(main())
