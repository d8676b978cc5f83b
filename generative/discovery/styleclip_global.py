"""Global directions in style space from text: "StyleCLIP: Text-Driven Manipulation of StyleGAN Imagery"
(Patashnik, Wu, Shechtman, Cohen-Or & Lischinski, 2021), section 6.

Agrees with `global_torch` of orpatashnik/StyleCLIP. What each style channel does to pictures is measured once
as a direction in CLIP space; a text is a direction there too, and the channels that point along it are moved.

Axis letters: C the channels of all layers but ToRGB, E the width of CLIP's features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

ALPHA, BETA = 4.1, 0.15  # of the official notebook: how far to go, and how relevant a channel must be
BETAS = torch.arange(10, 30, dtype=torch.float64) / 100  # those that `choose_beta` tries


def channel_directions(features: Tensor) -> Tensor:
    """What channels do in CLIP space: pictures with less and more of each, (C, N, 2, E) -> unit (C, E)."""
    unit = _unit(features.double())
    return _unit(_unit(unit[:, :, 1] - unit[:, :, 0]).mean(dim=1)).to(features)


def text_direction(target: Tensor, neutral: Tensor) -> Tensor:
    """(E,) unit, from the features of two texts, (T, E), one for each template of a sentence.

    The features of a text are normalised, averaged and normalised again.
    """
    means = [_unit(_unit(features).mean(dim=0)) for features in (target, neutral)]
    return _unit(means[0] - means[1])


def style_boundary(
    channels: Tensor, text: Tensor, stdevs: Sequence[Tensor], torgb: Sequence[bool], beta: float = BETA
) -> list[Tensor]:
    """How much a strength of 1 adds to each channel of every layer.

    Args:
        channels: (C, E) from `channel_directions`. Published files may end before the last layer: the rest
            is then not moved.
        text: (E,) from `text_direction`.
        stdevs: for each layer, the standard deviation of its styles, (channels,).
        torgb: for each layer, whether it makes colours; those are not moved.
        beta: channels less relevant than this are not moved.

    Raises:
        ValueError: if there are more channels than the layers have, or none is relevant.
    """
    relevance = channels @ text
    relevance = torch.where(relevance.abs() < beta, 0.0, relevance)
    strongest = relevance.abs().max()
    if not strongest > 0:
        raise ValueError(f"no channel has a relevance of {beta}: choose a smaller beta")
    sizes = [0 if is_torgb else len(s) for s, is_torgb in zip(stdevs, torgb, strict=True)]
    if sum(sizes) < len(relevance):
        raise ValueError(f"{len(relevance)} channels for a network that has {sum(sizes)}")
    padded = torch.cat([relevance / strongest, relevance.new_zeros(sum(sizes) - len(relevance))])
    parts = padded.split(sizes)
    return [part * s if len(part) else torch.zeros_like(s) for part, s in zip(parts, stdevs, strict=True)]


def choose_beta(channels: Tensor, text: Tensor, enough: int) -> float:
    """The largest of `BETAS` that keeps more than `enough` channels (20 for faces, 100 elsewhere), or 0.1."""
    relevance = (channels @ text).abs().double()
    kept = [float(beta) for beta in BETAS if int((relevance >= beta).sum()) > enough]
    return max(kept, default=float(BETAS[0]))


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)
