"""What a direction does, measured: the re-scoring of "Interpreting the Latent Space of GANs for Semantic Face
Editing" (Shen, Gu, Tang & Zhou, 2020), where a network reads every factor again after an edit.

From that follow a name for the direction, the layers where it does least else, and how far it can be
followed. The network reads pictures with errors; so a movement is a mean over people, each compared with the
same person before.

Axis letters: N people, D features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from generative.editing.direction import Direction, apply
from generative.networks.feature_network import Readout
from generative.spaces import Space
from generative.statistics import WStatistics

STEPS = (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0)  # in standard deviations of the latents along the direction
FARTHEST = 10.0  # standard deviations that single style channels are followed to, which move little each
LEAST, CLEAR = 0.3, 1.5  # a name needs so much movement, and so many times that of any other factor
KEPT = 0.5  # of the movement, by layers that are worth recommending
READABLE = 2.0  # how far from samples, in their own spread, features may be: further, pictures break


@dataclass(frozen=True)
class Look:
    """What a network sees in pictures. `readings` as `FeatureNetwork.decode` gives them, (N,) each; without
    a network that knows the factors there are none.
    """

    features: Tensor  # (N, D)
    readings: Mapping[str, Tensor]


@dataclass(frozen=True)
class Annotation:
    """`moves`: of each factor at each of `STEPS`; `effects`: half of what lies between the two sides."""

    moves: dict[str, tuple[float, ...]]
    effects: dict[str, float]
    name: str | None  # what it moves, `less-` in front if it does so downwards
    layers: tuple[int, ...] | None  # those that do least else; None for the direction's own
    reach: tuple[float, float]  # usable strengths, in standard deviations


def sigma_of(direction: Direction, statistics: WStatistics | None) -> float:
    """One standard deviation of the latents along a direction, as a multiple of its vector.

    Z is standard normal. For W+ the layers are moved by one standard deviation of W in the root mean square.
    What cannot be known, for S, is 1.
    """
    if direction.unit == "sigma":
        return direction.sigma
    if direction.space is Space.Z:
        return 1 / float(direction.vector.norm())
    if statistics is None or direction.space is Space.S:
        return 1.0
    rows = [row for row in direction.vector.reshape(-1, direction.vector.shape[-1]) if bool(row.any())]
    spreads = [statistics.sigma_along(row) / float(row.square().sum()) for row in rows]  # of each, alone
    pace = sum(1 / spread**2 for spread in spreads if spread) / max(len(rows), 1)
    return pace**-0.5 if pace else 0.0


def stride(direction: Direction) -> float:
    """Standard deviations in one of `STEPS`: 1, and more for a single channel of S."""
    single = direction.space is Space.S and int(direction.vector.count_nonzero()) == 1
    return FARTHEST / STEPS[-1] if single else 1.0


def shifted(latents: Tensor, direction: Direction, amount: float, layers: Sequence[int] | None) -> Tensor:
    """Latents moved by `amount` times the vector, whatever the direction's unit."""
    plain = replace(direction, unit="raw")
    return apply(latents, plain, amount, None if layers is None else tuple(layers))


def movement(before: Look, after: Look, readouts: Sequence[Readout]) -> dict[str, float]:
    """By factor: the mean change of a continuous one in standard deviations of the world, that of the
    probability of a binary one, and of a categorical one the share of people whose class changes.
    """
    moved = {}
    for readout in readouts:
        change = (after.readings[readout.name] - before.readings[readout.name]).double()
        if readout.kind == "categorical":
            change = (change != 0).double()
        moved[readout.name] = float(change.mean()) / (readout.std if readout.kind == "continuous" else 1)
    return moved


def effects(moves: Mapping[str, Sequence[float]], readouts: Sequence[Readout]) -> dict[str, float]:
    """Half of the movement between the outermost steps; of categories, which have no sign, the mean."""
    signs = {readout.name: 1 if readout.kind == "categorical" else -1 for readout in readouts}
    return {name: (steps[-1] + signs[name] * steps[0]) / 2 for name, steps in moves.items()}


def main_factor(found: Mapping[str, float]) -> str | None:
    """The factor that moves most; None if it moves little, or not clearly more than another."""
    ranked = sorted(found, key=lambda name: -abs(found[name]))
    if not ranked or abs(found[ranked[0]]) < LEAST:
        return None
    second = abs(found[ranked[1]]) if len(ranked) > 1 else 0.0
    return ranked[0] if abs(found[ranked[0]]) >= CLEAR * second else None


def selectivity(found: Mapping[str, float], factor: str) -> float:
    """How much of all movement is that of one factor, in [0, 1]."""
    total = sum(map(abs, found.values()))
    return abs(found[factor]) / total if total else 0.0


def best_layers(
    whole: Mapping[str, float], groups: Mapping[tuple[int, ...], Mapping[str, float]], factor: str
) -> tuple[int, ...] | None:
    """Of groups of layers that keep `KEPT` of the factor's effect, the most selective; None for all layers.

    whole, groups: effects of the direction in its own layers, and in each group, at the same strengths.
    """
    strong = [layers for layers, found in groups.items() if abs(found[factor]) >= KEPT * abs(whole[factor])]
    best = max(strong, key=lambda layers: selectivity(groups[layers], factor), default=None)
    if best is None or selectivity(groups[best], factor) <= selectivity(whole, factor):
        return None
    return best


def strangeness(features: Tensor, samples: Tensor) -> float:
    """How far features (N, D) are from those of samples (M, D), in standard deviations; about 1 if they are
    like them. Features that do not vary do not count.
    """
    spread, mean = samples.double().std(dim=0, correction=0), samples.double().mean(dim=0)
    varying = spread > 1e-6 * spread.max()
    z = (features.double() - mean)[:, varying] / spread[varying]
    return float(z.square().mean().sqrt()) if bool(varying.any()) else 0.0


def reach(strange: Sequence[float], moved: Sequence[float] | None) -> tuple[float, float]:
    """The steps up to which pictures are readable and the main factor, if there is one, moves on.

    strange, moved: at each of `STEPS`.
    """
    down = range(STEPS.index(-1.0), -1, -1)
    up = range(STEPS.index(1.0), len(STEPS))
    return _walk(down, strange, moved), _walk(up, strange, moved)


def _walk(path: Sequence[int], strange: Sequence[float], moved: Sequence[float] | None) -> float:
    last, way = 0.0, 0.0
    for i in path:
        onward = moved is None or way == 0 or (moved[i] - way) * way > 0
        if strange[i] > READABLE or not onward:
            break
        last, way = STEPS[i], moved[i] if moved is not None else 0.0
    return last


def annotate(
    before: Look,
    samples: Tensor,
    after: Sequence[Look],
    groups: Mapping[tuple[int, ...], tuple[Look, Look]],
    readouts: Sequence[Readout],
) -> Annotation:
    """All of the above.

    Args:
        before: people, as they are.
        samples: features (M, D) of pictures of the model.
        after: the same people at each of `STEPS`.
        groups: for groups of layers, the same people at the first and at the last of `STEPS`.
        readouts: the factors that can be trusted; none for a model of no known world.
    """
    looks = [movement(before, look, readouts) for look in after]
    moves = {readout.name: tuple(look[readout.name] for look in looks) for readout in readouts}
    found = effects(moves, readouts)
    strange = [strangeness(look.features, samples) for look in after]
    factor = main_factor(found)
    if factor is None:
        return Annotation(moves, found, None, None, reach(strange, None))
    ends = {layers: [movement(before, look, readouts) for look in pair] for layers, pair in groups.items()}
    grouped = {
        layers: effects({name: (low[name], high[name]) for name in low}, readouts)
        for layers, (low, high) in ends.items()
    }
    name = factor.replace("_", "-")
    return Annotation(
        moves,
        found,
        name if found[factor] > 0 else f"less-{name}",
        best_layers(found, grouped, factor),
        reach(strange, moves[factor]),
    )
