"""Directions for known factors: which way W goes when one factor of the picture changes and the others stay.

A network reads the factors of sampled pictures, and W is regressed on all of them at once (ordinary least
squares, as in the regression of HiGAN's and InterFaceGAN's relatives to several attributes): the row of a
factor is the mean change of w for a change of that factor, with every other factor held. Taken one at a time,
the same rows would drag along whatever the factor is correlated with.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from generative.editing.direction import Direction
from generative.networks.feature_network import FeatureNetwork, Readout
from generative.networks.stylegan2 import Generator
from generative.pixels import from_uint8, to_uint8
from generative.spaces import Space, broadcast
from generative.statistics import sample_w

COUNT, BATCH = 10_000, 100
RANGES: Mapping[str, tuple[float, float]] = {"continuous": (-3.0, 3.0), "binary": (-1.0, 1.0)}


def factor_directions(w: Tensor, factors: Tensor) -> Tensor:
    """(N, w_dim) and (N, F) -> (F, w_dim): the change of w for one unit of each factor, the others held.

    Least squares in float64, with a constant.
    """
    design = torch.cat([factors, torch.ones(len(factors), 1)], dim=1).double()
    return torch.linalg.lstsq(design, w.double()).solution[:-1].float()


@torch.no_grad()
def factor_set(
    generator: Generator, network: FeatureNetwork, count: int = COUNT, tried: int = 300
) -> list[Direction]:
    """A direction for each continuous and binary factor that `network` reads: from `count` samples, and tried
    on `tried` others.

    A strength of 1 is one standard deviation of a continuous factor, and the way from no to yes of a binary
    one. What was measured at strength 1 is in `provenance`: `moves`, the factor's own change
    in these units, and `most_moved_other`.
    """
    w = sample_w(generator, count)
    readouts = {r.name: r for r in network.record.readouts}
    names, read = _columns(_read(generator, network, w), readouts)
    steps = factor_directions(w, read)
    fresh = sample_w(generator, tried, seed=1)
    before = _columns(_read(generator, network, fresh), readouts)[1]
    found = []
    for i, name in enumerate(names):
        # A class of a categorical factor is held, without a direction; what no sample shows has none either.
        if name not in readouts or not steps[i].any():
            continue
        after = _columns(_read(generator, network, fresh + steps[i]), readouts)[1]
        change = (after - before).mean(dim=0)
        others = change.abs().index_fill(0, torch.tensor(i), 0.0)
        other = {"factor": names[int(others.argmax())], "change": round(others.max().item(), 3)}
        found.append(_direction(readouts[name], steps[i], round(change[i].item(), 3), other))
    return found


def _direction(readout: Readout, step: Tensor, moves: float, other: dict[str, Any]) -> Direction:
    unit = "one standard deviation" if readout.kind == "continuous" else "from no to yes"
    return Direction(
        name=readout.name,
        space=Space.W,
        vector=step / step.norm(),
        unit="sigma",
        sigma=float(step.norm()),
        range=RANGES[readout.kind],
        method="regression",
        description=f"{readout.name.replace('_', ' ')}: strength 1 is {unit}; other factors stay",
        provenance={"moves": moves, "most_moved_other": other},
    )


def _read(generator: Generator, network: FeatureNetwork, w: Tensor) -> dict[str, Tensor]:
    """w: (N, w_dim) -> (N,) of each factor, read from the pictures as they would be stored."""
    parts = []
    for batch in w.split(BATCH):
        images = generator.synthesize(broadcast(batch, generator.num_ws))
        parts.append(network.factors(from_uint8(to_uint8(images))))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _columns(read: Mapping[str, Tensor], readouts: Mapping[str, Readout]) -> tuple[list[str], Tensor]:
    """Factors as columns (N, K) to regress on: scores, 0 or 1, and so for each class but the first."""
    columns: dict[str, Tensor] = {}
    for name, value in read.items():
        readout = readouts[name]
        if readout.kind == "continuous":
            columns[name] = (value - readout.mean) / readout.std
        elif readout.kind == "binary":
            columns[name] = value.round()
        else:
            columns |= {f"{name}={k}": (value == k).float() for k in range(1, readout.classes)}
    return list(columns), torch.stack(list(columns.values()), dim=1)
