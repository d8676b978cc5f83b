"""The networks that can be served, by the names that cards and weight files know them by.

A family of the literature may have several networks here: codes that share its name but not its numbers.
"""

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from generative.generator import Generator
from generative.networks import (
    alae,
    alae_encoder,
    biggan,
    biggan_deep,
    biggan_deep_hf,
    dcgan,
    e4e_encoder,
    eigengan,
    gan,
    gan_zoo_pgan,
    ghfeat_encoder,
    idinvert,
    idinvert_encoder,
    pggan,
    psp_encoder,
    style_encoder,
    stylegan,
    stylegan2,
    stylegan3,
)


@dataclass(frozen=True)
class Kind:
    """A network that is built from its configuration alone: `module(config)`."""

    config: type
    module: type[nn.Module]


GENERATORS: dict[str, Kind] = {
    "gan": Kind(gan.GANConfig, gan.Generator),
    "dcgan": Kind(dcgan.DCGANConfig, dcgan.Generator),
    "pggan": Kind(pggan.PGGANConfig, pggan.Generator),
    "gan_zoo_pgan": Kind(gan_zoo_pgan.ZooPGANConfig, gan_zoo_pgan.Generator),
    "biggan": Kind(biggan.BigGANConfig, biggan.Generator),
    "biggan_deep": Kind(biggan_deep.BigGANDeepConfig, biggan_deep.Generator),
    "biggan_deep_hf": Kind(biggan_deep_hf.BigGANDeepHFConfig, biggan_deep_hf.Generator),
    "stylegan": Kind(stylegan.StyleGANConfig, stylegan.Generator),
    "idinvert": Kind(idinvert.IdInvertConfig, idinvert.Generator),
    "stylegan2": Kind(stylegan2.StyleGAN2Config, stylegan2.Generator),
    "stylegan3": Kind(stylegan3.StyleGAN3Config, stylegan3.Generator),
    "eigengan": Kind(eigengan.EigenGANConfig, eigengan.Generator),
    "alae": Kind(alae.ALAEConfig, alae.Generator),
}
ENCODERS: dict[str, Kind] = {
    "style_encoder": Kind(style_encoder.StyleEncoderConfig, style_encoder.Encoder),
    "idinvert_encoder": Kind(idinvert_encoder.IdInvertEncoderConfig, idinvert_encoder.Encoder),
    "psp_encoder": Kind(psp_encoder.StyleMapEncoderConfig, psp_encoder.Encoder),
    "e4e_encoder": Kind(psp_encoder.StyleMapEncoderConfig, e4e_encoder.Encoder),
    "ghfeat_encoder": Kind(ghfeat_encoder.GHFeatEncoderConfig, ghfeat_encoder.Encoder),
    "alae_encoder": Kind(alae_encoder.ALAEEncoderConfig, alae_encoder.Encoder),
}
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
