"""The networks that can be served, by the names that cards and weight files know them by.

A family of the literature may have several networks here: codes that share its name but not its numbers.
"""

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from generative.generator import Generator
from generative.networks import stylegan2


@dataclass(frozen=True)
class Kind:
    """A network that is built from its configuration alone: `module(config)`."""

    config: type
    module: type[nn.Module]


GENERATORS: dict[str, Kind] = {
    "stylegan2": Kind(stylegan2.StyleGAN2Config, stylegan2.Generator),
}
ENCODERS: dict[str, Kind] = {}
NETWORKS = GENERATORS | ENCODERS


def build(name: str, config: Any) -> nn.Module:
    """The network, with random weights."""
    return NETWORKS[name].module(config)


def network_name(module: nn.Module) -> str:
    """By which `build` makes one like it."""
    return next(name for name, kind in NETWORKS.items() if type(module) is kind.module)


def describe(name: str, config: Any) -> dict[str, Any]:
    """A configuration as plain data, together with the name of its network, for cards and files.

    `generative.checkpoints.configs.understand` is the inverse.
    """
    return {"network": name, **asdict(config)}


def generator_of(name: str, config: Any) -> Generator:
    """As `build`, for a name in `GENERATORS`."""
    generator = build(name, config)
    assert isinstance(generator, Generator)
    return generator
