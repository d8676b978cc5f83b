"""A model that is made in a moment: random weights, 16 pixels, SeFa directions, no perceptual network."""

from pathlib import Path

import torch

from generative.cards import About
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.store import save_model

CONFIG = StyleGAN2Config(
    img_resolution=16, z_dim=16, w_dim=16, mapping_layers=2, channel_base=256, channel_max=16
)


def write_tiny_model(folder: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = Generator(CONFIG).eval()
    save_model(folder, generator, About(name=folder.name, licence="CC0-1.0"))
