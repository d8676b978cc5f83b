"""Which style channel does what: "StyleSpace Analysis: Disentangled Controls for StyleGAN Image Generation"
(Wu, Lischinski & Shechtman, 2021), as in betterze/StyleSpace.

Three ways to find channels: those whose values are unusual in pictures with an attribute, those whose
effect stays within a region of the picture, and those that a classifier's answer depends on most, which is
AttFind of "Explaining in Style" (Lang et al., 2021) to first order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_STRENGTH = 10.0  # in standard deviations; further, pictures break


@dataclass(frozen=True)
class StyleStatistics:
    """Of each layer's styles, (channels,). Variances are divided by the number of samples."""

    mean: list[Tensor]
    std: list[Tensor]


def style_statistics(styles: Sequence[Tensor]) -> StyleStatistics:
    """From styles (N, channels) of each layer; the official ones are from 100,000 samples with psi 0.7."""
    return StyleStatistics([s.mean(dim=0) for s in styles], [s.std(dim=0, correction=0) for s in styles])


@dataclass(frozen=True)
class Channel:
    """A single style channel, and how strongly it answers the question; the sign is that of the change."""

    layer: int
    index: int
    score: float


def attribute_channels(
    examples: Sequence[Tensor], statistics: StyleStatistics, count: int, layers: Sequence[int]
) -> list[Channel]:
    """The channels that are most unusual in pictures with an attribute.

    A channel's score is the mean of its z-scores over the examples, divided by their standard deviation: high
    where all of them are away from the average in the same direction.

    Args:
        examples: for each layer, styles (N, channels) of pictures that have the attribute; 10 to 30 do.
        count: how many channels.
        layers: where to look, normally those that are not ToRGB.
    """
    scores = []
    for layer in layers:
        z = (examples[layer] - statistics.mean[layer]) / statistics.std[layer].clamp(min=1e-8)
        scores.append(z.mean(dim=0) / z.std(dim=0, correction=0).clamp(min=1e-8))
    return _strongest(scores, [s.abs() for s in scores], layers, count)


def effective_channels(
    slopes: Sequence[Tensor], statistics: StyleStatistics, count: int, layers: Sequence[int]
) -> list[Channel]:
    """The channels that move an answer most: its mean slope along a channel, for one standard deviation.

    slopes: for each layer (N, channels), the answer's derivative in each picture.
    """
    scores = [slopes[layer].mean(dim=0) * statistics.std[layer] for layer in layers]
    return _strongest(scores, [s.abs() for s in scores], layers, count)


def region_overlap(gradients: Tensor, segmentation: Tensor, regions: int) -> Tensor:
    """Where channels act: the share of their gradient maps in each region, over the region's squared area.

    Args:
        gradients: (N, C, H, W), absolute change of the picture for a change of each channel.
        segmentation: (N, H, W) integers, the region of each pixel.
        regions: R, how many there are.

    Returns:
        (N, C, R). A region that a picture lacks has 0.
    """
    masks = F.one_hot(segmentation.long(), regions).to(gradients)  # (N, H, W, R)
    total = gradients.sum(dim=(2, 3)).clamp(min=torch.finfo(gradients.dtype).tiny)
    share = torch.einsum("nchw,nhwr->ncr", gradients, masks) / total[..., None]
    area = masks.mean(dim=(1, 2))[:, None]  # (N, 1, R)
    return torch.where(area > 0, share / area.square().clamp(min=1e-12), 0.0)


def local_channels(
    overlaps: Sequence[Tensor], region: int, count: int, layers: Sequence[int], least: float = 0.5
) -> list[Channel]:
    """The channels whose best region is `region` in most pictures, at least in a share `least` of them.

    overlaps: for each layer (N, channels, R) from `region_overlap`.
    """
    shares = [(overlaps[layer].argmax(dim=-1) == region).to(torch.float32).mean(dim=0) for layer in layers]
    found = _strongest(shares, shares, layers, count)
    return [channel for channel in found if channel.score >= least]


def move(
    styles: Sequence[Tensor], channel: Channel, strength: float, statistics: StyleStatistics
) -> list[Tensor]:
    """Styles (N, channels) of each layer with one channel moved by `strength` standard deviations."""
    moved = list(styles)
    moved[channel.layer] = moved[channel.layer].clone()
    moved[channel.layer][:, channel.index] += strength * statistics.std[channel.layer][channel.index]
    return moved


def _strongest(
    scores: Sequence[Tensor], ranks: Sequence[Tensor], layers: Sequence[int], count: int
) -> list[Channel]:
    """The channels of the highest ranks in all layers, with their scores."""
    places = [(layer, index) for layer, s in zip(layers, scores, strict=True) for index in range(len(s))]
    best = torch.cat(list(ranks)).argsort(descending=True, stable=True)[:count]
    flat = torch.cat(list(scores))
    return [Channel(places[i][0], places[i][1], float(flat[i])) for i in best.tolist()]
