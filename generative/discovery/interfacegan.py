"""Boundaries in latent space from scores: "Interpreting the Latent Space of GANs for Semantic Face Editing"
(Shen, Gu, Tang & Zhou, 2020).

Agrees with `utils/manipulator.py` of genforce/interfacegan: the latents with the highest and the lowest
scores are set apart, a part of each is for validation, a linear support vector machine separates the rest,
and the unit normal is the direction. The same seed picks the same rows as the official code, which draws
from numpy's global generator.

How the normal is applied is in `generative.editing.direction`: in Z and W a strength is the distance to the
boundary that the latent is taken to, in W+ it is a plain offset on every layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from generative.discovery.linear_svm import linear_svm
from generative.editing.direction import Direction
from generative.spaces import Space

CHOSEN, SPLIT = 0.02, 0.7  # share of the latents on each side; share of those that is trained on
_PARALLEL = 1e-8  # keeps the closed form for two conditions finite when they are parallel


@dataclass(frozen=True)
class Rows:
    """Indices of latents: to train on, to validate on."""

    positive: Tensor
    negative: Tensor
    validation_positive: Tensor
    validation_negative: Tensor


@dataclass(frozen=True)
class Accuracy:
    """How many latents of a set lie on the right side of the boundary."""

    right: int
    total: int


@dataclass(frozen=True)
class Boundary:
    """A hyperplane. The latent x is positive where `x @ normal + intercept > 0`."""

    normal: Tensor  # (dim,), unit length, float32
    intercept: float
    rows: Rows
    validation: Accuracy
    remaining: Accuracy  # of the latents with scores in between, by which side of the middle score they are

    def direction(self, name: str, space: Space) -> Direction:
        return Direction(name, space, self.normal, unit="distance", method="interfacegan")


def train_boundary(
    latents: Tensor, scores: Tensor, chosen: float = CHOSEN, seed: int = 0, invalid: float | None = None
) -> Boundary:
    """Find the boundary between high and low scores.

    Args:
        latents: (N, dim) in Z or W.
        scores: (N,), of an attribute.
        chosen: how many latents on each side; a share of all if at most 1. Never more than half of them.
        invalid: the score of latents to leave out.
    """
    scores = scores.cpu()
    kept = torch.arange(len(scores)) if invalid is None else (scores != invalid).nonzero().flatten()
    ranked = kept[scores[kept].argsort(descending=True, stable=True)]
    count = len(ranked)
    side = min(int(count * chosen) if chosen <= 1 else int(chosen), count // 2)
    rest = ranked[side : count - side]
    middle = (scores[ranked[0]] + scores[ranked[-1]]) / 2 if count else 0.0
    rows = split_rows(ranked[:side], ranked[count - side :], seed)
    return fit(latents, rows, rest, scores[rest] > middle)


def split_rows(positive: Tensor, negative: Tensor, seed: int) -> Rows:
    """Shuffle each side, and set the first 70 % of it apart for training."""
    rng = np.random.RandomState(seed)
    shuffled = []
    for side in (positive, negative):
        order = np.arange(len(side))
        rng.shuffle(order)
        shuffled.append(side[torch.from_numpy(order)])
    cuts = [int(len(side) * SPLIT) for side in shuffled]
    trained = [side[:cut] for side, cut in zip(shuffled, cuts, strict=True)]
    kept_back = [side[cut:] for side, cut in zip(shuffled, cuts, strict=True)]
    return Rows(*trained, *kept_back)


def fit(latents: Tensor, rows: Rows, rest: Tensor, rest_positive: Tensor) -> Boundary:
    """Train on the rows (of latents, (N, dim)), and count how many others are on the side they belong to."""
    latents = latents.cpu()
    plane = linear_svm(
        latents[torch.cat([rows.positive, rows.negative])], _sides(rows.positive, rows.negative)
    )

    def accuracy(chosen: Tensor, positive: Tensor) -> Accuracy:
        return Accuracy(int((plane.decide(latents[chosen]) == positive).sum()), len(chosen))

    held = (rows.validation_positive, rows.validation_negative)
    length = plane.normal.norm()
    return Boundary(
        (plane.normal / length).float(),
        plane.intercept / float(length),
        rows,
        validation=accuracy(torch.cat(held), _sides(*held)),
        remaining=accuracy(rest, rest_positive),
    )


def _sides(positive: Tensor, negative: Tensor) -> Tensor:
    return torch.arange(len(positive) + len(negative)) < len(positive)


def project_boundary(primal: Tensor, conditions: Sequence[Tensor]) -> Tensor:
    """Take the conditions out of a direction, so that edits along it keep them: all (dim,) unit vectors.

    Two conditions follow the official closed form, which is not quite orthogonal to them when they are nearly
    parallel.

    Raises:
        ValueError: if the conditions are not independent, or nothing is left of the direction.
    """
    C = torch.stack([primal, *conditions])[1:].double()  # (number of conditions, dim)
    gram, along = C @ C.T, C @ primal.double()
    if len(C) == 2:
        cosine = gram[0, 1]
        weights = (along - cosine * along.flip(0)) / (1 - cosine.square() + _PARALLEL)
    else:
        weights, failed = torch.linalg.solve_ex(gram, along)
        if failed.any():
            raise ValueError("the conditions are not independent of each other")
    left = primal.double() - weights @ C
    length = left.norm()
    if not length > 1e-6:
        raise ValueError("nothing is left of the direction without its conditions")
    return (left / length).to(primal.dtype)
