"""Single channels of S as directions, whichever way they were found."""

from collections.abc import Sequence

import torch

from generative.discovery.stylespace import Channel, StyleStatistics
from generative.editing.direction import Direction
from generative.generator import StyleGenerator
from generative.spaces import Space
from workers.work.discovery.samples import names_of


def layers_without_torgb(generator: StyleGenerator) -> list[int]:
    """Numbers of the layers whose channels do not only colour."""
    return [i for i, name in enumerate(generator.style_widths()) if "torgb" not in name]


def as_directions(
    generator: StyleGenerator,
    statistics: StyleStatistics,
    found: Sequence[Channel],
    name: str,
    method: str,
    purpose: str,
) -> list[Direction]:
    """A strength of 1 is one standard deviation of the channel, upwards where its score is positive."""
    widths = generator.style_widths()
    directions = []
    for own, channel in zip(names_of(name, len(found)), found, strict=True):
        layer = list(widths)[channel.layer]
        vector = torch.zeros(sum(widths.values()))
        vector[generator.style_place(layer, channel.index)] = 1.0 if channel.score >= 0 else -1.0
        directions.append(
            Direction(
                own,
                Space.S,
                vector,
                unit="sigma",
                sigma=float(statistics.std[channel.layer][channel.index]),
                method=method,
                description=f"channel {channel.index} of {layer}, {purpose}",
                provenance={"score": channel.score},
            )
        )
    return directions
