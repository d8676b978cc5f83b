"""The metrics that docs/metrics.md lists, and those that an expression uses."""

import re

from tests.deploy.given import ROOT

ROW = re.compile(
    r"^\| `((?:ganserve|process)_[a-z_]+)` \| (counter|gauge|histogram) \| (.*?) \|", re.MULTILINE
)
USED = re.compile(r"\b((?:ganserve|process)_[a-z_]+)\b")


def documented() -> dict[str, tuple[str, set[str]]]:
    """Name -> type and labels, as the page has them."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    return {name: (kind, set(re.findall(r"`([a-z_]+)`", labels))) for name, kind, labels in ROW.findall(page)}


def series() -> set[str]:
    """Names as Prometheus stores them: a histogram is three series."""
    names = set()
    for name, (kind, _) in documented().items():
        names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return names


def used(expression: str) -> set[str]:
    return set(USED.findall(expression))


def labels_used(expression: str) -> set[str]:
    """The labels that an expression selects or groups by."""
    selected = re.findall(r"[{,]\s*([a-z_]+)\s*(?:=|!)", expression)
    grouped = ",".join(re.findall(r"\b(?:by|without|on|ignoring) \(([^)]*)\)", expression))
    return set(selected) | set(re.findall(r"[a-z_]+", grouped))
