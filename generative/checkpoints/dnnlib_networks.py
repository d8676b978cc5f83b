"""Networks of `dnnlib`, as TensorFlow pickles of NVlabs and of codes after theirs keep them: arguments of the
constructor, variables as numpy arrays, and source text, which the official loader runs and we do not read.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.numpy_arrays import array_spec
from generative.checkpoints.pickles import Inert
from generative.checkpoints.tensors import TensorSpec

NETWORK = "dnnlib.tflib.network.Network"


def is_network(value: object) -> bool:
    return isinstance(value, Inert) and value.name == NETWORK


def state_of(network: object) -> dict[Any, Any]:
    """Raises CheckpointError `malformed`."""
    if isinstance(network, Inert) and network.name == NETWORK and isinstance(network.state, dict):
        return network.state
    raise CheckpointError("malformed", "a network without a state")


def part_of(state: Mapping[Any, Any], name: str) -> dict[Any, Any]:
    """Raises CheckpointError `malformed`."""
    part = state.get(name)
    if not isinstance(part, dict):
        raise CheckpointError("malformed", f"{name} of a network is not a dictionary")
    return part


def variables_of(state: Mapping[Any, Any]) -> Iterator[tuple[str, TensorSpec]]:
    """A network's own, by name. Raises CheckpointError `malformed`, and those of the arrays."""
    listed = state.get("variables")
    for entry in listed if isinstance(listed, list) else [None]:
        match entry:
            case (str(name), value):
                yield name, array_spec(value)
            case _:
                raise CheckpointError("malformed", "the variables of a network are not names and arrays")


def generator_variables(Gs: Mapping[Any, Any]) -> Iterator[tuple[str, TensorSpec]]:
    """All that a generator has, by path: its own variables, and those of mapping and synthesis."""
    components = part_of(Gs, "components")
    parts = {"": Gs} | {f"{name}/": state_of(components.get(name)) for name in ("mapping", "synthesis")}
    for prefix, part in parts.items():
        yield from ((prefix + name, spec) for name, spec in variables_of(part))


def transposed(value: Tensor) -> Tensor:
    """Matrices with their axes exchanged: theirs are (inputs, outputs)."""
    return value.T.contiguous() if value.ndim == 2 else value


def kernel_last(value: Tensor) -> Tensor:
    """Weights of a convolution from (k, k, I, O) to (O, I, k, k); matrices as `transposed`."""
    return value.permute(3, 2, 0, 1).contiguous() if value.ndim == 4 else transposed(value)
