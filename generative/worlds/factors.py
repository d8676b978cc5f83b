"""The named factors of a portrait, and how they are drawn.

A population of portraits is one matrix (N, F): a row is a person in a moment, a column is a factor of
`FACTORS`. Factors are drawn correlated, as reality would have them: an unnamed trait moves jaw, beard, hair
length, nose and earrings together; age brings lines, grey hair, glasses and a receding hairline; skin,
hair and iris go together; a broad smile opens the mouth. With `independent=True` each factor keeps its own
distribution and forgets the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from generative.worlds.palettes import HAIR, IRIS


@dataclass(frozen=True)
class Factor:
    """One column of the factor matrix.

    `low` and `high` are inclusive. A binary factor is 0 or 1; a categorical one is a whole number that
    indexes `values`.
    """

    name: str
    kind: Literal["continuous", "binary", "categorical"]
    low: float
    high: float
    doc: str
    values: tuple[str, ...] = ()


def _continuous(name: str, low: float, high: float, doc: str) -> Factor:
    return Factor(name, "continuous", low, high, doc)


def _binary(name: str, doc: str) -> Factor:
    return Factor(name, "binary", 0.0, 1.0, doc, ("no", "yes"))


def _categorical(name: str, values: tuple[str, ...], doc: str) -> Factor:
    return Factor(name, "categorical", 0.0, len(values) - 1.0, doc, values)


FACTORS: tuple[Factor, ...] = (
    _continuous("yaw", -0.5, 0.5, "head turned to the viewer's right, radians; uniform"),
    _continuous("pitch", -0.22, 0.22, "chin lowered, radians; bell-shaped around 0"),
    _continuous("light_azimuth", -1.1, 1.1, "light from the viewer's right, radians; uniform"),
    _continuous("light_elevation", 0.15, 0.9, "light above the horizon, radians; uniform"),
    _continuous("skin_tone", 0.0, 1.0, "from very fair to dark brown; uniform"),
    _categorical("hair_color", tuple(HAIR), "black and brown are common; grey comes with age"),
    _continuous(
        "hair_length", 0.0, 1.0, "from cropped to below the shoulders; two humps, by the hidden trait"
    ),
    _continuous("hair_volume", 0.0, 1.0, "from flat to full; bell-shaped"),
    _continuous(
        "fringe", 0.0, 1.0, "from a high hairline to a fringe above the brows; high hairlines come with age"
    ),
    _continuous("curl", 0.0, 1.0, "from straight to wavy; uniform"),
    _continuous(
        "age", 0.0, 1.0, "furrows of forehead, eyes and cheeks, and paler cheeks; more young than old"
    ),
    _continuous("smile", -1.0, 1.0, "from sad to a broad smile; more smiles than not"),
    _continuous(
        "mouth_open", 0.0, 1.0, "from closed to wide open; half are nearly closed; goes with a smile"
    ),
    _binary("glasses", "a third wear them; more with age"),
    _binary("beard", "a quarter wear one; only with the hidden trait of a broad jaw"),
    _continuous("brow", -1.0, 1.0, "from frowning to raised; bell-shaped"),
    _continuous("eye_size", 0.8, 1.25, "relative to the usual size; uniform"),
    _continuous("gaze", -1.0, 1.0, "eyes turned to the viewer's right; bell-shaped around 0"),
    _categorical("iris_color", tuple(IRIS), "mostly brown; lighter colours come with fair skin"),
    _continuous("face_width", 0.92, 1.08, "relative to the usual width; bell-shaped"),
    _continuous("jaw", 0.0, 1.0, "from narrow to broad; goes with beards and short hair"),
    _continuous("nose_size", 0.6, 1.5, "relative to the usual size; bell-shaped"),
    _binary("earrings", "a quarter wear them; mostly with long hair"),
    _binary("hat", "a knitted cap, one in twelve"),
    _continuous("shirt_color", 0.0, 1.0, "place on the path red, orange, ..., dark grey, white; uniform"),
    _binary("collar", "shirt collar instead of a round neck; two in five"),
    _continuous("background", 0.0, 1.0, "place on the path cream, peach, ..., sage green; uniform"),
)
NAMES: tuple[str, ...] = tuple(factor.name for factor in FACTORS)
_INDEX = {name: i for i, name in enumerate(NAMES)}


def index(name: str) -> int:
    """Column of a factor. Raises `KeyError` for a name that is not a factor."""
    return _INDEX[name]


def columns(factors: Tensor) -> dict[str, Tensor]:
    """Split (N, F) into a dictionary of (N,) views by name."""
    if factors.ndim != 2 or factors.shape[1] != len(FACTORS):
        raise ValueError(f"factors must be (N, {len(FACTORS)}), got {tuple(factors.shape)}")
    return dict(zip(NAMES, factors.unbind(1), strict=True))


def matrix(values: Mapping[str, Tensor]) -> Tensor:
    """Join (N,) columns into (N, F) float32, the inverse of `columns`; refuses missing and unknown names."""
    if set(values) != set(NAMES):
        raise ValueError(f"factors missing or unknown: {sorted(set(values) ^ set(NAMES))}")
    return torch.stack([values[name].float() for name in NAMES], dim=1)


def replace(factors: Tensor, **values: float | Tensor) -> Tensor:
    """Copy of (N, F) with the named columns set; a value is a number or (N,)."""
    out = factors.clone()
    for name, value in values.items():
        out[:, index(name)] = value
    return out


def check(factors: Tensor) -> None:
    """Raise `ValueError` when a factor is out of its range, or not whole where it must be."""
    columns(factors)
    low, high = (factors.new_tensor([getattr(f, end) for f in FACTORS]) for end in ("low", "high"))
    real = torch.tensor([f.kind == "continuous" for f in FACTORS], device=factors.device)
    inside = ((factors >= low) & (factors <= high) & (real | (factors == factors.round()))).all(0)
    for factor, fine in zip(FACTORS, inside.tolist(), strict=True):
        if not fine:
            whole = "" if factor.kind == "continuous" else "a whole number "
            raise ValueError(f"{factor.name} must be {whole}in [{factor.low:g}, {factor.high:g}]")


def sample(n: int, rng: torch.Generator, independent: bool = False) -> Tensor:
    """Draw (n, F) factors with a CPU generator; with `independent`, same distributions but no correlation."""
    if not independent:
        return _population(n, rng)
    # Each column of its own population: the marginal stays exactly, what it went along with is dropped.
    return torch.stack([_population(n, rng)[:, i] for i in range(len(FACTORS))], dim=1)


def _population(n: int, rng: torch.Generator) -> Tensor:
    def uniform(low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=rng)

    def bell(mean: float | Tensor = 0.0, spread: float = 1.0) -> Tensor:
        # Sum of three uniforms: bell-shaped with finite reach of 3 * spread
        return mean + spread * (torch.rand(3, n, generator=rng) * 2 - 1).sum(0)

    def chance(p: float | Tensor) -> Tensor:
        return (torch.rand(n, generator=rng) < p).float()

    trait = chance(0.5)
    age = uniform() ** 1.5
    skin = uniform()
    smile = bell(0.25, 0.4).clamp(-1, 1)
    long_hair = chance(0.8 - 0.65 * trait)
    grey = chance(((age - 0.6) * 3).clamp(0, 0.9))
    values = {
        "yaw": uniform(-0.5, 0.5),
        "pitch": bell(0, 0.22 / 3),
        "light_azimuth": uniform(-1.1, 1.1),
        "light_elevation": uniform(0.15, 0.9),
        "skin_tone": skin,
        "hair_color": torch.where(grey > 0, 5.0, _hair(skin, uniform())),
        "hair_length": torch.where(long_hair > 0, uniform(0.45, 1.0), uniform(0.0, 0.35)),
        "hair_volume": bell(0.5, 0.5 / 3),
        "fringe": (bell(0.5, 0.22) - 0.35 * trait * age).clamp(0, 1),
        "curl": uniform(),
        "age": age,
        "smile": smile,
        "mouth_open": (bell(0.05, 0.3) + 0.3 * smile.clamp(min=0)).clamp(0, 1),
        "glasses": chance(0.22 + 0.3 * age),
        "beard": chance(0.5 * trait),
        "brow": bell(0, 1 / 3),
        "eye_size": uniform(0.8, 1.25),
        "gaze": bell(0, 1 / 3),
        "iris_color": _iris(skin, uniform()),
        "face_width": bell(1.0, 0.08 / 3),
        "jaw": bell(0.3 + 0.4 * trait, 0.1).clamp(0, 1),
        "nose_size": bell(1.0 + 0.1 * trait, 0.13),
        "earrings": chance(0.05 + 0.5 * long_hair * (1 - trait)),
        "hat": chance(0.08),
        "shirt_color": uniform(),
        "collar": chance(0.4),
        "background": uniform(),
    }
    return matrix(values)


def _hair(skin: Tensor, draw: Tensor) -> Tensor:
    """Index into HAIR without grey: the darker the skin, the more black; `draw` (N,) is uniform."""
    fair = (1.15 - 1.5 * skin).clamp(0.04, 1.0)
    weights = torch.stack([1.25 - fair, 0.35 + 0.2 * fair, 0.25 * fair, 0.3 * fair, 0.5 * fair], 1)
    return _categories(weights, draw)


def _iris(skin: Tensor, draw: Tensor) -> Tensor:
    """Index into IRIS: light eyes come with fair skin; `draw` (N,) is uniform."""
    fair = (1.0 - 1.4 * skin).clamp(0.04, 1.0)
    return _categories(torch.stack([1.1 - 0.7 * fair, 0.3 * fair, 0.5 * fair, 0.25 * fair], 1), draw)


def _categories(weights: Tensor, draw: Tensor) -> Tensor:
    edges = (weights / weights.sum(1, keepdim=True)).cumsum(1)
    return (draw[:, None] > edges[:, :-1]).sum(1).float()
