"""Which layers hold an attribute of a scene: "Semantic Hierarchy Emerges in Deep Generative Representations
for Scene Synthesis" (Yang, Shen & Zhou, 2021).

Agrees with `utils/boundary_searcher.py`, `utils/editor.py` and `rescore.py` of genforce/higan: the boundary
is that of InterFaceGAN, from scores or from yes and no; it moves W+ on chosen layers, less where latents are
truncated; and a boundary is worth as much as moving along it raises its own score.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from generative.discovery.interfacegan import Boundary, fit, split_rows

CHOSEN = 2000  # latents on each side
PSI, CUTOFF = 0.7, 8  # truncation of the first layers, which shortens moves in them
DISTANCE = 2.0  # of the move that is scored
CARRIES = 0.5  # of the largest rise, by a layer that carries a boundary


def train_from_scores(latents: Tensor, scores: Tensor, chosen: int = CHOSEN, seed: int = 0) -> Boundary:
    """Latents (N, dim) in W, scores (N,). Unlike in InterFaceGAN, the middle score is that of those between.

    The highest scores are positive, the lowest negative, `chosen` of each.
    """
    scores = scores.cpu()
    ranked = scores.argsort(descending=True, stable=True)
    count = len(ranked)
    side = min(chosen, count // 2)
    rest = ranked[side : count - side]
    middle = (scores[rest[0]] + scores[rest[-1]]) / 2 if len(rest) else 0.0
    rows = split_rows(ranked[:side], ranked[count - side :], seed)
    return fit(latents, rows, rest, scores[rest] > middle)


def train_from_labels(latents: Tensor, labels: Tensor, seed: int = 0) -> Boundary:
    """Latents (N, dim) in W, labels (N,) bool: all of them count."""
    positive, negative = (side.cpu().nonzero().flatten() for side in (labels, ~labels))
    nothing = positive[:0]
    return fit(latents, split_rows(positive, negative, seed), nothing, nothing.bool())


def layer_strengths(num_ws: int, psi: float = PSI, cutoff: int = CUTOFF) -> Tensor:
    """(num_ws,): how far a move of 1 takes each layer, `psi` below the cutoff and 1 above."""
    return torch.where(torch.arange(num_ws) < cutoff, psi, 1.0)


def manipulate(
    ws: Tensor,
    boundary: Tensor,
    distances: Tensor,
    layers: tuple[int, ...] | None = None,
    strengths: Tensor | None = None,
) -> Tensor:
    """Move latents along a boundary by each of some distances.

    Args:
        ws: (N, dim) or (N, L, dim).
        boundary: (dim,), or (L, dim) with a part for each layer.
        distances: (D,), added to where the latents are.
        layers: those to move; None for all.
        strengths: (L,) factors of the distances; None for 1.

    Returns:
        (N, D, dim) or (N, D, L, dim).
    """
    distances, boundary = distances.to(ws), boundary.to(ws)
    if ws.ndim == 2:
        return ws[:, None] + distances[:, None] * boundary
    factors = torch.ones(ws.shape[1]) if strengths is None else strengths
    if layers is not None:
        chosen = torch.zeros(ws.shape[1]).index_fill(0, torch.tensor(layers), 1.0)
        factors = factors * chosen
    offsets = distances[:, None, None] * factors.to(ws)[:, None] * boundary
    return ws[:, None] + offsets


@dataclass(frozen=True)
class Rescored:
    """Mean rise of the score, where it rose, after moving along a boundary."""

    together: Tensor  # (...) all layers moved
    layers: Tensor  # (L, ...) one layer moved at a time


def carrying(rises: Tensor, least: float = CARRIES) -> tuple[int, ...]:
    """Layers (of L) that carry a boundary: those whose rise is at least a share of the largest. No layers if
    nothing rises.
    """
    top = float(rises.max())
    return tuple((rises >= least * top).nonzero().flatten().tolist()) if top > 0 else ()


def rescore(ws: Tensor, boundary: Tensor, score: Callable[[Tensor], Tensor], psi: float = PSI) -> Rescored:
    """Does moving along a boundary raise its score, and in which layers does it?

    Args:
        ws: (N, L, dim).
        boundary: (dim,).
        score: latents (N, L, dim) -> (N, ...), such as the scores of the pictures that they make.
        psi: how far the first eight layers were truncated.
    """
    strengths = layer_strengths(ws.shape[1], psi)
    distance = torch.tensor([DISTANCE])
    before = score(ws)

    def rise(layers: tuple[int, ...] | None) -> Tensor:
        moved = manipulate(ws, boundary, distance, layers, strengths)[:, 0]
        return (score(moved) - before).clamp(min=0).mean(dim=0)

    return Rescored(rise(None), torch.stack([rise((layer,)) for layer in range(ws.shape[1])]))
