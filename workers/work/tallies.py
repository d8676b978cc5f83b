"""What is counted while a shard is made, in a form that adds up over shards."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jobs.factors import CATEGORICAL, CONTINUOUS
from workers.work.members import Made

BINS = 130
LOW, HIGH = -1.5, 1.75  # every continuous factor of the world lies within
EDGES = np.linspace(LOW, HIGH, BINS + 1)
REST = "the rest"  # of the mix


class Tally:
    def __init__(self, attributes: bool) -> None:
        self._attributes = attributes
        self._counts: dict[str, Counter[str]] = {"splits": Counter(), "shares": Counter()}
        self._pictures = self._unmet = 0
        self._factors: dict[str, Counter[str]] = {}

    def add(self, made: Made) -> None:
        sample = made.sample
        self._pictures += len(made.rows)
        self._unmet += not sample.met
        self._counts["splits"][made.split] += 1
        self._counts["shares"][sample.share.name if sample.share else REST] += 1
        if self._attributes:
            for row in made.rows:
                self._see(row)

    def _see(self, row: Mapping[str, Any]) -> None:
        for column, value in row.items():
            if column.startswith("factor_"):
                name = column.removeprefix("factor_")
                self._factors.setdefault(name, Counter())[_bin(name, value)] += 1

    def plain(self) -> dict[str, Any]:
        """As JSON: part of the shard's result."""
        found: dict[str, Any] = {"pictures": self._pictures, "unmet": self._unmet}
        found |= {name: dict(sorted(count.items())) for name, count in self._counts.items()}
        if self._attributes:
            found["factors"] = {n: dict(sorted(c.items())) for n, c in sorted(self._factors.items())}
        return found


def _bin(name: str, value: Any) -> str:
    """A value's name, yes or no, or the number of its bin."""
    if name in CATEGORICAL:
        return str(value)
    if name in CONTINUOUS:
        return str(int(np.clip((value - LOW) / (HIGH - LOW) * BINS, 0, BINS - 1)))
    return "yes" if value > 0.5 else "no"


def together(tallies: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sums over shards."""
    total: dict[str, Any] = {
        "samples": 0,
        "pictures": 0,
        "unmet": 0,
        "splits": {},
        "shares": {},
        "factors": {},
    }
    for tally in tallies:
        total["samples"] += tally["count"]
        for name in ("pictures", "unmet"):
            total[name] += tally[name]
        for name in ("splits", "shares"):
            _add(total[name], tally[name])
        for factor, counts in tally.get("factors", {}).items():
            _add(total["factors"].setdefault(factor, {}), counts)
    return total


def _add(total: dict[str, int], counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        total[name] = total.get(name, 0) + count
