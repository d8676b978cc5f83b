"""Which directions are wanted, for which model; and the checks that all of them have to pass."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.tensors import TensorSpec
from generative.editing.direction import Direction
from generative.editing.layers import parse_layers
from generative.generator import Generator, StyleGenerator
from generative.spaces import Space

MAX_DIRECTIONS = 10_000  # in a file
MAX_LENGTH = 1e4  # of a vector; the longest that is published has 25
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Target:
    """The latents of the model that directions are for. A family without W has 0 for the last two."""

    z_dim: int
    w_dim: int = 0
    num_ws: int = 0

    @classmethod
    def of(cls, generator: Generator) -> "Target":
        if isinstance(generator, StyleGenerator):
            return cls(generator.z_dim, generator.w_dim, generator.num_ws)
        return cls(generator.z_dim)

    def shape(self, space: Space) -> tuple[int, ...]:
        """Of one direction. Raises CheckpointError for a space that the model lacks."""
        shapes = {Space.Z: (self.z_dim,), Space.W: (self.w_dim,), Space.W_PLUS: (self.num_ws, self.w_dim)}
        if space not in shapes or 0 in shapes[space]:
            raise CheckpointError(
                "wrong_shapes", f"the model has no space {space} that files hold vectors of"
            )
        return shapes[space]


@dataclass(frozen=True)
class Request:
    """What the caller says about a file."""

    name: str
    target: Target
    space: Space | None = None  # of the vectors, where the file does not say
    first: int | None = None  # of the coordinates of z that a square matrix smaller than z is for

    def agree(self, space: Space) -> Space:
        """The space that a file is for, unless the caller wants another."""
        if self.space not in (None, space):
            raise CheckpointError("wrong_shapes", f"{self.space} is meant, but the file holds {space}")
        return space

    def named(self, count: int) -> list[str]:
        return [self.name] if count == 1 else [f"{self.name}_{i}" for i in range(count)]


@dataclass(frozen=True)
class DirectionFormat:
    """A kind of file. Of all kinds at most one may recognise it, whatever it holds."""

    recognises: Callable[[Any], bool]
    read: Callable[[Any, Request], list[Direction]]


def check_name(name: str) -> None:
    """Raises CheckpointError for what could not be part of an address or of a file's name."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise CheckpointError(
            "bad_config", f"{name[:100]!r} is no name: up to 64 of a-z, 0-9, dot, dash and underscore"
        )


def numbers(spec: object, shape: tuple[int | None, ...]) -> Tensor:
    """The array, float32, if it has this shape; None stands for any size but 0.

    Raises:
        CheckpointError: `bad_tensor`, `wrong_shapes`, `unsupported_dtype`, `non_finite`.
    """
    if not isinstance(spec, TensorSpec):
        raise CheckpointError("bad_tensor", "something else than an array where one should be")
    fits = len(spec.size) == len(shape) and all(
        n == m if m is not None else n > 0 for n, m in zip(spec.size, shape, strict=True)
    )
    if not fits:
        wanted = tuple("any" if n is None else n for n in shape)
        raise CheckpointError("wrong_shapes", f"an array of shape {spec.size}, where {wanted} is expected")
    made = spec.make()
    if not made.is_floating_point():
        raise CheckpointError("unsupported_dtype", f"an array of {made.dtype}: directions are fractions")
    return made


def flat(spec: object, *shape: int | None) -> Tensor:
    """The same for arrays that may have more axes of size 1: (80, 1, 512) is taken for (80, 512)."""
    if isinstance(spec, TensorSpec) and len(spec.size) > len(shape):
        kept = [i for i, n in enumerate(spec.size) if n != 1]
        ones = [i for i, n in enumerate(spec.size) if n == 1]
        kept = sorted(kept + ones[: max(len(shape) - len(kept), 0)])
        spec = TensorSpec(
            spec.storage, spec.offset, tuple(spec.size[i] for i in kept), tuple(spec.stride[i] for i in kept)
        )
    return numbers(spec, shape)


def check_length(vector: Tensor) -> Tensor:
    """The same vector. Raises CheckpointError for one that leads nowhere, or out of every picture."""
    length = float(torch.linalg.vector_norm(vector.double()))
    if not 0 < length <= MAX_LENGTH:
        raise CheckpointError("bad_tensor", f"a direction of length {length:.3g}")
    return vector


def check_scale(value: object, what: str) -> float:
    """A positive number of moderate size, such as a standard deviation."""
    if not isinstance(value, int | float) or not 0 < value <= MAX_LENGTH:
        raise CheckpointError("bad_config", f"{what} is not a positive number")
    return float(value)


def layers_of(value: object, count: int) -> tuple[int, ...]:
    """Layers as files name them: `6-11`, or a list of numbers."""
    if isinstance(value, str):
        try:
            return parse_layers(value[:200], count)
        except ValueError as error:
            raise CheckpointError("bad_config", str(error)) from None
    if not isinstance(value, list) or not value or not all(type(n) is int and 0 <= n < count for n in value):
        raise CheckpointError("bad_config", f"layers that are not some of 0-{count - 1}")
    return tuple(sorted(set(value)))
