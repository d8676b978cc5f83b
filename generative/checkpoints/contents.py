"""What a reader makes of a checkpoint, before it is checked against the architecture."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.tensors import TensorSpec, make_tensors


@dataclass(frozen=True)
class Network:
    """A network in our terms: its name in `generative.families`, configuration, weights with our names."""

    name: str
    config: Any
    state: dict[str, Tensor]  # float32


@dataclass(frozen=True)
class Contents:
    """A generator, the encoder that some formats hold beside it, and what had to be assumed."""

    format: str  # such as `genforce-stylegan`
    generator: Network
    encoder: Network | None = None
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()


class Folder(dict[str, Any]):
    """Several files that belong together: names to what is in them. A file of `torch.save` is the object that
    was saved, with `TensorSpec`s for tensors; any other file is its bytes.
    """


@dataclass(frozen=True)
class Format:
    """A format of torch files. Of all formats at most one may recognise a file."""

    name: str
    recognises: Callable[[Any], bool]
    """Takes the object that was saved, which may be anything, or a `Folder`."""
    read: Callable[[Any, int], Contents]
    """Takes the same, and how many bytes its tensors may have. Raises CheckpointError."""


def tensor_specs(group: object, where: str) -> dict[str, TensorSpec]:
    """The same, once it is sure that it is a flat dictionary of names to tensors.

    Raises:
        CheckpointError: `malformed`.
    """
    if not isinstance(group, dict):
        raise CheckpointError("malformed", f"{where} is not a dictionary of tensors")
    for key, value in group.items():
        if not isinstance(key, str) or not isinstance(value, TensorSpec):
            raise CheckpointError("malformed", f"{where} holds what is not a tensor: {str(key)[:100]!r}")
    return dict(group)


def make_state(group: object, where: str, budget: int) -> dict[str, Tensor]:
    """The tensors of a state dict. `budget` bounds their size together, in bytes.

    Raises:
        CheckpointError: `malformed`, `too_large`, `non_finite`, `truncated`.
    """
    return make_tensors(tensor_specs(group, where), budget)


def shapes_of(state: Mapping[str, Tensor | TensorSpec]) -> dict[str, tuple[int, ...]]:
    """Names to shapes, of tensors that are made or only described."""
    return {name: tuple(t.size if isinstance(t, TensorSpec) else t.shape) for name, t in state.items()}
