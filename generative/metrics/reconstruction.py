"""How well pictures were painted again: pixels, what a network sees in them, and the factors that it reads.

Axis letters: N pictures, C H W of a picture.
"""

from collections.abc import Mapping, Sequence

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from generative.losses import PerceptualDistance
from generative.networks.feature_network import Readout


class Fidelity(BaseModel):
    """Means over pictures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    psnr_db: float
    perceptual: float
    factor_error: float  # mean over the continuous factors, in standard deviations of each
    factors_kept: float  # share of the binary and categorical readings that are the same


@torch.no_grad()
def fidelity(distance: PerceptualDistance, images: Tensor, painted: Tensor) -> Fidelity:
    """images, painted: (N, 3, H, W), clamped to [-1, 1]."""
    images, painted = images.clamp(-1, 1), painted.clamp(-1, 1)
    network = distance.features
    error, kept = factor_changes(network.record.readouts, network.factors(images), network.factors(painted))
    return Fidelity(
        psnr_db=round(psnr_db(images, painted).mean().item(), 3),
        perceptual=round(distance(images, painted).mean().item(), 4),
        factor_error=round(error, 4),
        factors_kept=round(kept, 4),
    )


def psnr_db(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of pictures (N, C, H, W) in [-1, 1] -> (N,); infinite for equal ones."""
    return 10 * torch.log10(4 / (a - b).square().mean(dim=(1, 2, 3)))


def factor_changes(
    readouts: Sequence[Readout], before: Mapping[str, Tensor], after: Mapping[str, Tensor]
) -> tuple[float, float]:
    """Readings (N,) by name, as `FeatureNetwork.factors` gives them -> mean change of the continuous ones in
    standard deviations, and the share of the others that are the same. nan where there are none.
    """
    moved, same = [], []
    for r in readouts:
        a, b = before[r.name], after[r.name]
        if r.kind == "continuous":
            moved.append((a - b).abs() / r.std)
        else:
            same.append((a.round() == b.round()).float())
    return _mean(moved), _mean(same)


def _mean(parts: Sequence[Tensor]) -> float:
    return torch.cat(list(parts)).mean().item() if parts else float("nan")
