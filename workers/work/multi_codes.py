"""A multi-code program on the engine: which layer it mixes, and how its pictures are painted."""

from collections.abc import Mapping

import torch
from torch import Tensor

from generative.generator import Generator, StyleGenerator
from generative.inversion.multi_code import MultiCode
from generative.pixels import to_uint8
from workers.blocks import Subject

SIXTH = 5


class Composing:
    """The program in the place where the engine expects a generator."""

    def __init__(self, program: MultiCode) -> None:
        self.program, self.img_resolution = program, program.generator.img_resolution


def painter(program: MultiCode) -> Subject:
    return Subject(Composing(program))


def compose(subject: Composing, params: Mapping[str, Tensor]) -> Tensor:
    """Parameters of the program (N, ...), and perhaps its `label` -> pictures (N, H, W, C) uint8."""
    generator = subject.program.generator
    return to_uint8(
        subject.program.compose(params, params.get("label")), generator.pixel_gain, generator.pixel_offset
    )


def sixth_layer(generator: Generator) -> str:
    """Where the official code mixes: after the sixth convolution, or the last but one of fewer."""
    names = [name for name in layers(generator) if "rgb" not in name]
    return names[min(SIXTH, max(0, len(names) - 2))]


@torch.no_grad()
def layers(generator: Generator) -> list[str]:
    """Names of the layers in the order in which they run."""
    if isinstance(generator, StyleGenerator):
        return list(generator.layers)
    names: list[str] = []

    def note(name: str, value: Tensor) -> Tensor:
        names.append(name)
        return value

    like = next(generator.parameters())
    label = like.new_zeros(1, generator.c_dim) if generator.c_dim else None
    generator(like.new_zeros(1, generator.z_dim), label, hook=note)
    return names
