"""Which units of a generator draw which kind of thing: "GAN Dissection: Visualizing and Understanding
Generative Adversarial Networks" (Bau et al., 2019).

Agrees with `netdissect` of CSAILVision/gandissect in its published form: a unit is on where its activation,
enlarged to the picture, is above a level that it reaches in a fixed share of places; it matches a label where
it is on and the label is there. The official levels come from a running estimate; here they are exact.

Axis letters: N pictures, U units, L labels (0 means none), K categories of labels, h w the layer's size, H W
the picture's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SHARE = 0.005  # of the places where a unit counts as on
IOU_REPORTED = 0.05  # units that match a label less are not worth reporting


class Levels:
    """The quantile that each unit exceeds in a share of all places, of activations that come in batches.

    Only the share above is kept: far less than all, and the quantile is exact. Between two values it is
    interpolated linearly, as numpy does.
    """

    def __init__(self, places: int, share: float = SHARE) -> None:
        """places: N h w, of all batches together."""
        self._place = (1 - share) * (places - 1)
        self._low = min(int(self._place), max(places - 2, 0))
        self._count = places - self._low
        self._kept: Tensor | None = None  # (U, at most count), unsorted

    def add(self, activations: Tensor) -> None:
        """(n, U, h, w)"""
        values = activations.transpose(0, 1).flatten(1)
        values = values if self._kept is None else torch.cat([self._kept, values], dim=1)
        self._kept = values.topk(min(self._count, values.shape[1]), dim=1).values

    def value(self) -> Tensor:
        """(U,), when all batches have come."""
        assert self._kept is not None
        kept = self._kept
        above = kept[:, -2] if kept.shape[1] > 1 else kept[:, -1]
        return torch.lerp(kept[:, -1].double(), above.double(), self._place - self._low).to(kept.dtype)


def unit_levels(activations: Tensor, share: float = SHARE) -> Tensor:
    """(N, U, h, w) -> (U,): `Levels` of one batch."""
    levels = Levels(activations.shape[0] * activations[0, 0].numel(), share)
    levels.add(activations)
    return levels.value()


def enlarge(activations: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, U, h, w) -> (N, U, H, W): bilinear, pixels are areas, edges repeat.

    The official code reaches this through `grid_sample` as it was before torch 1.3; run unchanged on a newer
    torch, its maps are stretched and its counts are others.
    """
    return F.interpolate(activations, size=size, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Counts:
    """Pixels counted, all int64. Of several batches: their sum."""

    total: Tensor  # (K,), of pictures where the category occurs
    label: Tensor  # (L,)
    on: Tensor  # (K, U), of a unit, in pictures where the category occurs
    both: Tensor  # (L, U), of a unit and a label; label 0 has none

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.total + other.total, self.label + other.label, self.on + other.on, self.both + other.both
        )


def count(enlarged: Tensor, segmentation: Tensor, levels: Tensor, categories: Tensor) -> Counts:
    """Where are units on, and where labels?

    Args:
        enlarged: (N, U, H, W) activations from `enlarge`.
        segmentation: (N, P, H, W) labels, several of which may hold at a place.
        levels: (U,) from `unit_levels`.
        categories: (L,), which category each label belongs to; that of label 0 does not matter.
    """
    labels = len(categories)
    present = torch.stack(
        [(segmentation == label).any(dim=1) for label in range(labels)], dim=1
    )  # (N, L, H, W)
    on = (enlarged > levels[:, None, None]).flatten(2)
    held = present.flatten(2)
    both = torch.zeros(labels, on.shape[1], dtype=torch.int64, device=on.device)
    for has, lit in zip(held, on, strict=True):
        both += (has.float() @ lit.float().T).long()  # exact: a picture has less than 2^24 pixels
    both[0] = 0
    members = F.one_hot(categories).T.double()  # (K, L)
    occurs = members[:, 1:] @ held[:, 1:].any(dim=2).T.double() > 0  # (K, N)
    return Counts(
        total=occurs.sum(dim=1) * on.shape[2],
        label=held.sum(dim=(0, 2)),
        on=(occurs.double() @ on.sum(dim=2).double()).long(),
        both=both,
    )


def iou(counts: Counts, categories: Tensor) -> Tensor:
    """(L, U) in [0, 1], float64: pixels where unit and label are, over pixels where one of them is."""
    union = counts.on[categories] + counts.label[:, None] - counts.both
    return counts.both / union.clamp(min=1).double()


def information_quality(counts: Counts, categories: Tensor) -> Tensor:
    """(L, U) in [0, 1], float64: mutual information of unit and label, over their joint entropy."""
    total = counts.total[categories].double()[:, None].clamp(min=1)
    both = counts.both / total
    label, unit = counts.label[:, None] / total, counts.on[categories] / total
    joint = torch.stack([both, label - both, unit - both, 1 - label - unit + both])
    independent = torch.stack(
        [label * unit, label * (1 - unit), (1 - label) * unit, (1 - label) * (1 - unit)]
    )
    shared = torch.where(joint > 0, joint * (joint / independent).log(), 0.0).sum(dim=0)
    entropy = -torch.where(joint > 0, joint * joint.log(), 0.0).sum(dim=0)
    return torch.where(entropy > 0, shared / entropy, 0.0)


def sums_in_labels(enlarged: Tensor, segmentation: Tensor, labels: int) -> Tensor:
    """(N, U, H, W) activations and (N, H, W) labels -> (L, U) float64: what units sum to where a label is."""
    inside = F.one_hot(segmentation.long(), labels).flatten(1, 2).to(enlarged)  # (N, HW, L)
    return torch.einsum("npl,nup->lu", inside, enlarged.flatten(2)).double()


def top_pictures(activations: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """For each unit the pictures that it is strongest in: values and indices, (U, count) each."""
    found = activations.amax(dim=(2, 3)).T.topk(count)
    return found.values, found.indices


def edit(activations: Tensor, amount: Tensor, replacement: Tensor | float = 0.0) -> Tensor:
    """Turn units off (the default), or put others in: `x (1 - amount) + replacement * amount`.

    activations: (N, U, h, w). amount and replacement: (U,), or (n, U, h, w) with n 1 or N; amount in [0, 1].
    """
    a = amount[:, None, None] if amount.ndim == 1 else amount
    new = torch.as_tensor(replacement).to(activations)
    new = new[:, None, None] if new.ndim == 1 else new
    return activations * (1 - a) + new * a


def causal_effect(
    activations: Tensor, units: Tensor, render: Callable[[Tensor], Tensor], pixels: Callable[[Tensor], Tensor]
) -> Tensor:
    """How many pixels of a label are lost when units are turned off: () mean over pictures.

    Args:
        activations: (N, U, h, w) of a layer.
        units: indices of those to turn off.
        render: the rest of the generator: activations -> pictures.
        pixels: pictures -> (N,) how many pixels have the label.
    """
    off = torch.zeros(activations.shape[1]).to(activations).index_fill(0, units, 1.0)
    before = pixels(render(activations)).double()
    return (before - pixels(render(edit(activations, off))).double()).mean()
