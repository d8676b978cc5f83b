"""Layer swapping: one generator from the layers of two of one lineage ("Resolution Dependent GAN
Interpolation", Pinkney & Adler, 2020; Cartoon-StyleGAN, Back, 2021, swaps at one resolution).

The coarse layers decide poses and shapes, the fine ones materials. A child that was fine-tuned from its
parent still understands the parent's w, so that layers of both work together.
"""

import copy
from collections.abc import Collection

import torch

from generative.networks.stylegan2 import Generator

SYNTHESIS = "synthesis."


def swapped(base: Generator, other: Generator, layers: Collection[int], strength: float = 1.0) -> Generator:
    """`base` with the weights of some layers, or with what lies a part `strength` of the way to them.

    Args:
        base, other: of one architecture.
        layers: by which of the ws a layer takes. The constant input goes with the first.

    Raises:
        ValueError: for different architectures.
    """
    if base.config != other.config:
        raise ValueError("layers can be exchanged only between generators of one architecture")
    mine, theirs = base.state_dict(), other.state_dict()
    for name, value in mine.items():
        if _layer_of(name, base) in layers:
            mine[name] = torch.lerp(value, theirs[name].to(value), strength)
    made = copy.deepcopy(base)
    made.load_state_dict(mine)
    return made


def _layer_of(name: str, generator: Generator) -> int | None:
    """Which of the ws the layer takes that a weight belongs to; None for the mapping network."""
    if not name.startswith(SYNTHESIS):
        return None
    block, part, *_ = name.removeprefix(SYNTHESIS).split(".")
    if part == "const":
        return 0
    return generator.ws_index.get(f"{block}.{'conv0' if part == 'skip' else part}")
