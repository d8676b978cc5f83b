"""A tiny network of every kind that can be served, with random weights: quick to build and to paint."""

from typing import Any

import torch

from generative.families import generator_of
from generative.generator import Generator, StyleGenerator
from generative.networks.alae import ALAEConfig
from generative.networks.biggan import BigGANConfig
from generative.networks.biggan_deep import BigGANDeepConfig
from generative.networks.biggan_deep_hf import BigGANDeepHFConfig
from generative.networks.dcgan import DCGANConfig
from generative.networks.eigengan import EigenGANConfig
from generative.networks.gan import GANConfig
from generative.networks.gan_zoo_pgan import ZooPGANConfig
from generative.networks.idinvert import IdInvertConfig
from generative.networks.pggan import PGGANConfig
from generative.networks.stylegan import StyleGANConfig
from generative.networks.stylegan2 import StyleGAN2Config
from generative.networks.stylegan3_geometry import StyleGAN3Config

TINY: dict[str, Any] = {
    "gan": GANConfig(z_dim=5, widths=(16,), norms=(True, False), img_resolution=16, img_channels=3),
    "dcgan": DCGANConfig(z_dim=5, channels=(8, 8)),
    "pggan": PGGANConfig(img_resolution=16, channels=(8, 8, 8), z_dim=8),
    "gan_zoo_pgan": ZooPGANConfig(z_dim=8, channels=(8, 8, 8)),
    "biggan": BigGANConfig(z_dim=12, c_dim=3, channels=(8, 8, 8), shared_dim=6, attention=(0,)),
    "biggan_deep": BigGANDeepConfig(z_dim=12, c_dim=3, channels=(16, 16, 16, 8, 8), shared_dim=6, depth=2),
    "biggan_deep_hf": BigGANDeepHFConfig(
        z_dim=8,
        c_dim=3,
        channels=(16, 16, 16, 8, 8),
        upsampling=(False, True, False, True),
        attention_before=2,
        embed_dim=8,
    ),
    "stylegan": StyleGANConfig(
        img_resolution=16, channels=(8, 8, 8), z_dim=8, w_dim=8, mapping_layers=2, mapping_fmaps=8
    ),
    "idinvert": IdInvertConfig(
        img_resolution=16, channels=(8, 8, 8), z_dim=8, w_dim=8, mapping_layers=2, mapping_fmaps=8
    ),
    "stylegan2": StyleGAN2Config(
        img_resolution=16, z_dim=8, c_dim=3, w_dim=8, mapping_layers=2, channel_base=128, channel_max=8
    ),
    "stylegan3": StyleGAN3Config(
        img_resolution=16, z_dim=8, w_dim=8, channel_base=128, channel_max=8, num_layers=4
    ),
    "eigengan": EigenGANConfig(noise_dim=8, n_basis=(2, 2), channels=(8, 8, 8)),
    "alae": ALAEConfig(img_resolution=16, channels=(8, 8, 8), latent_dim=8, mapping_layers=2),
}


def tiny(name: str) -> Generator:
    """Deterministic; with parameters and buffers such that a step that was left out would show."""
    torch.manual_seed(0)
    generator = generator_of(name, TINY[name])
    rng = torch.Generator().manual_seed(1)
    for value in generator.state_dict().values():
        if bool((value == value.flatten()[0]).all()):  # biases, strengths of noise, means, constants
            value.add_(0.1 * torch.randn(value.shape, generator=rng))
    return generator.eval().requires_grad_(False)


def inputs_of(generator: Generator, N: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """What `workers.work.painting.Paint` takes: random z; classes, and psi of 0.7, where there are such."""
    inputs = {"z": torch.randn(N, generator.z_dim, generator=torch.Generator().manual_seed(seed))}
    if generator.c_dim:
        inputs["c"] = torch.eye(generator.c_dim)[torch.arange(N) % generator.c_dim]
    if isinstance(generator, StyleGenerator):
        inputs["psi"] = torch.full((N, generator.num_ws), 0.7)
    return inputs
