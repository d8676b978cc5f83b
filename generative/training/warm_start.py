"""A warm start for a generator: learn to paint from known factors before learning to deceive.

A generator that meets a discriminator from nothing soon finds one good face, and takes long to find the
others. This world knows the factors of every picture, so the generator can first be shown which picture
belongs to which z (`generative.training.codes`). Then every kind of portrait has its place in z, if a blurred
one; sharpness is what adversarial training adds.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from generative.losses import PerceptualDistance
from generative.networks.feature_network import FeatureNetwork
from generative.networks.stylegan2 import Generator
from generative.spaces import broadcast
from generative.training.average import follow
from generative.training.codes import Codes
from generative.training.dataset import Portraits
from generative.training.resumable import Resumable, Stateful


@dataclass(frozen=True)
class WarmStart:
    """Settings; counts are in pictures."""

    images: int = 60_000
    batch: int = 32
    learning_rate: float = 2e-3
    mapping_boost: float = 10.0  # on the rate of the mapping network, which is slow by design
    pixels: float = 1.0  # weight of the mean absolute error against the perceptual distance
    ema_images: int = 5_000
    bfloat16: bool = True
    device: str = "cpu"
    seed: int = 0
    checkpoint_every_s: float = 120.0


@dataclass(frozen=True)
class WarmProgress:
    images: int
    total: int
    pixels: float  # mean absolute error
    perceptual: float


def warm_start(
    generator: Generator,
    features: FeatureNetwork,
    portraits: Portraits,
    settings: WarmStart,
    callback: Callable[[WarmProgress], None] | None = None,
    checkpoint: Path | None = None,
) -> Generator:
    """Train `generator` in place to paint `portraits` from their codes; returns its running average.

    Args:
        checkpoint: a file to resume from if it exists, and to write now and then; removed at the end.

    Raises:
        ValueError: z has fewer coordinates than the world has factors.
    """
    rng = torch.Generator().manual_seed(settings.seed)
    codes = Codes(portraits, generator.z_dim)
    generator.to(settings.device)
    noise = torch.Generator(settings.device).manual_seed(settings.seed)
    optimizer = _optimizer(generator, settings)
    distance = PerceptualDistance(features).to(settings.device)
    average = copy.deepcopy(generator).eval().requires_grad_(False)
    parts: dict[str, Stateful] = {"generator": generator, "average": average, "optimizer": optimizer}
    file = Resumable(checkpoint, settings.checkpoint_every_s, parts, {"rng": rng, "noise": noise})
    seen = file.resume()
    while seen + settings.batch <= settings.images:
        rows = portraits.draw(settings.batch, rng)
        z, real = codes.draw(rows, rng).to(settings.device), portraits.rows(rows)[0].to(settings.device)
        pixels, perceptual = _step(generator, z, real, distance, optimizer, settings, noise)
        seen += settings.batch
        follow(average, generator, 0.5 ** (settings.batch / min(settings.ema_images, 0.05 * seen)))
        file.keep(seen)
        if callback is not None:
            callback(WarmProgress(seen, settings.images, pixels, perceptual))
    file.done()
    return average


def _optimizer(generator: Generator, settings: WarmStart) -> torch.optim.Adam:
    rate = settings.learning_rate
    groups = [
        {"params": list(generator.synthesis.parameters()), "lr": rate},
        {"params": list(generator.mapping.parameters()), "lr": rate * settings.mapping_boost},
    ]
    return torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)


def _step(
    generator: Generator,
    z: Tensor,
    real: Tensor,
    distance: PerceptualDistance,
    optimizer: torch.optim.Optimizer,
    settings: WarmStart,
    noise: torch.Generator,
) -> tuple[float, float]:
    """One step towards painting `real` (N, 3, H, W) from z (N, z_dim); returns both errors."""
    with torch.autocast(real.device.type, torch.bfloat16, enabled=settings.bfloat16):
        w = generator.map(z)
        fake = generator.synthesize(broadcast(w, generator.num_ws), noise="random", rng=noise).float()
        perceptual = distance(fake, real).float().mean()
    generator.mapping.update_average(w.detach())
    pixels = (fake - real).abs().mean()
    optimizer.zero_grad()
    (perceptual + settings.pixels * pixels).backward()
    optimizer.step()
    return pixels.item(), perceptual.item()
