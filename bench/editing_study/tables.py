"""The tables of the page."""

from collections.abc import Mapping, Sequence

from bench.editing_study.editors import Way
from bench.editing_study.measuring import Score
from bench.editing_study.people import FACTORS
from bench.editing_study.records import Records
from bench.page import markdown

AIM = 3.0
MARKS = ("disentanglement", "completeness", "informativeness")


def tables(ways: Sequence[Way], spaces: Sequence[str], records: Records) -> dict[str, str]:
    """By the name of the mark."""
    return {
        "ratios": _ratios(ways, records),
        "keeping": _keeping(ways, records),
        "chosen": _chosen(ways, records),
        "disentanglement": _disentanglement(spaces, records),
    }


def scores(way: Way, records: Records) -> dict[str, Score]:
    """By factor, those that were measured."""
    found = {factor: records.get(way, factor) for factor in FACTORS}
    return {factor: score for factor, score in found.items() if score is not None}


def _ratios(ways: Sequence[Way], records: Records) -> str:
    """How many times farther each factor moves than any other, which is named below `AIM`."""
    lines = []
    for way in ways:
        found = scores(way, records)
        if found:
            cells = [_ratio(found.get(factor), factor) for factor in FACTORS]
            reached = sum(score.ratio(factor) >= AIM for factor, score in found.items())
            lines.append([*_named(way), *cells, f"{reached} of {len(found)}"])
    return markdown(["method", "space", *map(_said, FACTORS), f"≥ {AIM:g}"], lines, words=2)


def _ratio(score: Score | None, factor: str) -> str:
    if score is None:
        return "-"
    others = {name: abs(value) for name, value in score.moves.items() if name != factor}
    ratio = score.ratio(factor)
    return f"{ratio:.1f}" if ratio >= AIM else f"{ratio:.1f} {_said(max(others, key=others.__getitem__))}"


def _keeping(ways: Sequence[Way], records: Records) -> str:
    """Means over the factors."""
    lines = []
    for way in ways:
        found = list(scores(way, records).values())
        if found:
            columns = [[s.others, s.identity, s.monotone, s.strangeness, s.strength] for s in found]
            means = [sum(column) / len(found) for column in zip(*columns, strict=True)]
            digits = (3, 2, 3, 2, 2)
            lines.append([*_named(way), *(f"{m:.{d}f}" for m, d in zip(means, digits, strict=True))])
    head = ["others move", "identity kept", "onward steps", "strangeness", "strength"]
    return markdown(["method", "space", *head], lines, words=2)


def _chosen(ways: Sequence[Way], records: Records) -> str:
    """Which candidate was taken, for methods that have several."""
    lines = []
    for way in ways:
        found = scores(way, records)
        if any(score.words for score in found.values()):
            lines.append([*_named(way), *(found[f].words if f in found else "-" for f in FACTORS)])
    return markdown(["method", "space", *map(_said, FACTORS)], lines, words=2 + len(FACTORS))


def _disentanglement(spaces: Sequence[str], records: Records) -> str:
    lines = []
    for space in spaces:
        found: Mapping[str, float] | None = records.note(f"dci-{space}")
        if found:
            marks = [f"{found[name]:.2f}" for name in MARKS]
            lines.append([space.upper(), f"{found['dimensions']:.0f}", *marks])
    return markdown(["space", "dimensions", *MARKS], lines, words=1)


def _named(way: Way) -> list[str]:
    method, space = way
    head, comma, rest = method.partition(",")
    return [f"`{head}`{comma}{rest}", space.upper()]


def _said(factor: str) -> str:
    return factor.replace("_", " ")
