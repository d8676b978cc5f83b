"""What an evaluation found, as numbers and as a table."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict

from generative.metrics.factor_distance import FactorDistance, FactorKind
from generative.metrics.identity import Identity
from generative.metrics.kernel import KernelDistance
from generative.metrics.precision_recall import PrecisionRecall

DIGITS = 6  # significant ones


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Scores(_Record):
    """One set of pictures against the reference. None: not asked for."""

    name: str
    fid: float | None = None
    kid: float | None = None
    kid_std: float | None = None
    precision: float | None = None
    recall: float | None = None
    density: float | None = None
    coverage: float | None = None
    factors: float | None = None  # mean of the factor distances


class FactorScore(_Record):
    """One factor. `reference` and `samples`: mean of a continuous one, else the share of each class."""

    name: str
    kind: FactorKind
    distance: float
    floor: float | None  # of other renders
    reference: tuple[float, ...]
    samples: tuple[float, ...]


class IdentityScore(_Record):
    """How much of who somebody is was kept by a change."""

    change: str
    consistency: float
    drift: dict[str, float]
    moved: float | None = None  # the factor that the change is for, in its standard deviations


class Report(_Record):
    extractor: str
    dimensions: int | None  # of the features, where pictures were compared
    count: int
    reference: dict[str, Any] | None
    psi: float
    seed: int
    sets: tuple[Scores, ...]
    ppl: dict[str, Any] | None = None
    factors: tuple[FactorScore, ...] = ()
    identity: tuple[IdentityScore, ...] = ()

    def plain(self) -> dict[str, Any]:
        """JSON without what was not asked for; numbers to 6 significant digits."""
        found: dict[str, Any] = _rounded(self.model_dump(mode="json", exclude_none=True))
        return {name: value for name, value in found.items() if value != []}

    def markdown(self) -> str:
        """Tables for a page."""
        tables = []
        if self.reference is not None:
            named = [n for n in _TITLES if getattr(self.sets[0], n) is not None]
            rows = [[s.name, *(_text(getattr(s, n)) for n in named)] for s in self.sets]
            against = f"against {self.reference['count']:,} {self.reference['kind']}"
            tables.append(_table([against, *(_TITLES[n] for n in named)], rows))
        if self.ppl is not None:
            about = f"Perceptual path length ({self.ppl['space']}, {self.ppl['sampling']}): "
            tables.append(about + _text(self.ppl["length"]))
        if self.factors:
            tables.append(
                _table(["factor", "distance", "floor", "reference", "samples"], _factor_rows(self.factors))
            )
        if self.identity:
            rows = [
                [
                    i.change,
                    _text(i.moved),
                    _text(i.consistency),
                    ", ".join(f"{n} {d:.2f}" for n, d in i.drift.items()),
                ]
                for i in self.identity
            ]
            tables.append(_table(["change", "moved", "consistency", "drift"], rows))
        return "\n\n".join(tables) + "\n"


_TITLES = {
    "fid": "Fréchet distance",
    "kid": "kernel distance",
    "kid_std": "± over subsets",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "factors": "mean factor distance",
}


def scores(
    name: str,
    fid: float | None,
    kernel: KernelDistance | None,
    found: PrecisionRecall | None,
    factors: Sequence[FactorDistance],
) -> Scores:
    """One row."""
    return Scores(
        name=name,
        fid=fid,
        kid=kernel.mean if kernel else None,
        kid_std=kernel.std if kernel else None,
        factors=sum(f.distance for f in factors) / len(factors) if factors else None,
        **(asdict(found) if found else {}),
    )


def factor_scores(
    found: Sequence[FactorDistance], floor: Sequence[FactorDistance]
) -> tuple[FactorScore, ...]:
    """`floor` may be empty, else it has the same factors."""
    floors = {f.name: f.distance for f in floor}
    return tuple(
        FactorScore(
            name=f.name,
            kind=f.kind,
            distance=f.distance,
            floor=floors.get(f.name),
            reference=f.reference,
            samples=f.samples,
        )
        for f in found
    )


def identity_score(change: str, found: Identity, moved: float | None = None) -> IdentityScore:
    return IdentityScore(change=change, consistency=found.consistency, drift=found.drift, moved=moved)


def _factor_rows(factors: Sequence[FactorScore]) -> list[list[str]]:
    unit = {"continuous": "sd", "binary": "tv", "categorical": "tv"}
    return [
        [
            f.name,
            f"{f.distance:.3f} {unit[f.kind]}",
            _text(f.floor),
            _shown(f, f.reference),
            _shown(f, f.samples),
        ]
        for f in sorted(factors, key=lambda f: -f.distance)
    ]


def _shown(factor: FactorScore, values: Sequence[float]) -> str:
    if factor.kind == "continuous":
        return f"{values[0]:.3f}"
    shown = values[1:] if factor.kind == "binary" else values
    return " ".join(f"{100 * v:.1f} %" for v in shown)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value
