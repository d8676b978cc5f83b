"""Weights of a small network as one safetensors file in half precision, which halves the file and is read as
float32.
"""

from pathlib import Path
from typing import TypeVar

from safetensors.torch import load_file, save_file
from torch import nn

N = TypeVar("N", bound=nn.Module)


def save_half(network: nn.Module, path: Path) -> None:
    """Write the state of `network`; whole numbers stay as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = network.state_dict().items()
    half = {name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in state}
    save_file(half, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors makes it private to its writer


def load_half(network: N, path: Path) -> N:
    """Read what `save_half` wrote: frozen, for evaluation. Raises on missing or unknown weights."""
    weights = load_file(path)
    network.load_state_dict({n: t.float() if t.is_floating_point() else t for n, t in weights.items()})
    return network.eval().requires_grad_(False)
