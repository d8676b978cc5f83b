"""For recognisers, which are given anything and must not fail: what a flat state dict holds."""

from collections.abc import Mapping

from generative.checkpoints.contents import shapes_of, tensor_specs
from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.tensors import TensorSpec

Shapes = dict[str, tuple[int, ...]]


def flat_shapes(group: object) -> Shapes:
    """Names to shapes of a dictionary of tensors and nothing else; empty for any other thing."""
    try:
        return shapes_of(tensor_specs(group, ""))
    except CheckpointError:
        return {}


def without_counters(state: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
    """A state dict without BatchNorm's counts of batches: integers, which only training needs."""
    return {name: spec for name, spec in state.items() if not name.endswith(".num_batches_tracked")}
