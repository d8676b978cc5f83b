"""What the tests of inversion share: a model with an encoder, and short runs of every method."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from generative.cards import About
from generative.networks.idinvert_encoder import Encoder, IdInvertEncoderConfig
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.store import save_model

SIDE = 16
PIXELS = {"pixel": 1.0, "perceptual": 0.0}
STEPS = 30
FEW = {
    "image2stylegan": 20,
    "ii2s": 20,
    "pulse": 20,
    "stylespace": 20,
    "multi_code": 5,
    "pti": 10,
    "encoder": 0,
}


def save_seeing(repo: Path) -> None:
    """`tiny`, of 16 pixels and random weights, with an encoder."""
    torch.manual_seed(0)
    config = StyleGAN2Config(img_resolution=SIDE, z_dim=16, w_dim=16, mapping_layers=2, channel_max=16)
    encoder = Encoder(IdInvertEncoderConfig(img_resolution=SIDE, channels=(8, 16, 16), w_dim=16))
    save_model(repo / "tiny", Generator(config).eval(), About(name="tiny"), encoder=encoder.eval())


def briefly(method: str, upload: Callable[[np.ndarray], str]) -> dict[str, Any]:
    """The method with few steps, and with what it cannot do without."""
    asked: dict[str, Any] = {"method": method, "steps": FEW.get(method, STEPS)}
    if method == "diffusion":
        asked["degradation"] = {"type": "mask", "image": upload(np.zeros((4, 4, 3), np.uint8))}
    if method == "pti":
        asked["tuning"] = {"steps": 5}
    return asked
