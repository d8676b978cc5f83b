"""Train an encoder: a picture to the W+ from which a generator paints it again.

Half of each batch are the generator's own samples, whose ws are known: z through the mapping, truncated by a
random psi, some of two styles, painted with fresh noise. The other half are pictures of the world, of which
only the painting can be compared. Losses, in the manner of pSp and e4e (Richardson et al., 2021; Tov et al.,
2021): the known ws, pixels, the perceptual distance, and for unknown ws how far they stray from each other
and from the mean of w, because edits work best near W. Adam; the running average of the weights is the
result.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from generative.generator import StyleGenerator
from generative.losses import PerceptualDistance
from generative.networks.feature_network import FeatureNetwork, ResidualStage
from generative.networks.style_encoder import Encoder, Stage, StyleEncoderConfig
from generative.statistics import WStatistics
from generative.store import load_model, load_statistics
from generative.training.average import follow
from generative.training.dataset import Portraits
from generative.training.losses import mix
from generative.training.resumable import Resumable, Stateful


class EncoderTraining(BaseModel):
    """Settings of one training; `images` counts pictures of all steps, half of them samples."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: int = Field(default=70_000, gt=0)
    batch: int = Field(default=16, ge=2)
    lateral: int = Field(default=48, gt=0)
    hidden: int = Field(default=320, gt=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    ramp_images: int = Field(default=3_000, gt=0)  # over the first so many the rate grows; then it falls to 0
    ema_images: int = Field(default=5_000, gt=0)  # half-life of the average; at most 1/20 of the images seen
    smallest_psi: float = Field(default=0.5, ge=0, le=1)  # samples are truncated by a psi from this to 1
    mixing: float = Field(default=0.3, ge=0, le=1)  # share of the samples that are of two styles
    latent: float = Field(default=0.3, ge=0)  # weights of the losses
    pixel: float = Field(default=5.0, ge=0)
    perceptual: float = Field(default=1.0, ge=0)
    spread: float = Field(default=0.02, ge=0)
    bfloat16: bool = True
    device: str = "cpu"
    seed: int = 0
    checkpoint_every_s: float = 60.0

    def rate(self, images: int) -> float:
        """The learning rate of the step after `images`: a ramp, times a cosine that falls to 0."""
        ramp = min(1.0, (images + self.batch) / self.ramp_images)
        return self.learning_rate * ramp * (1 + math.cos(math.pi * images / self.images)) / 2

    def average_beta(self, images: int) -> float:
        """How much of the average stays in a step, after `images`."""
        return 0.5 ** (self.batch / min(self.ema_images, 0.05 * images))


@dataclass(frozen=True)
class EncoderProgress:
    images: int
    total: int
    losses: Mapping[str, float]  # of `EncoderTrainer.losses`, unweighted
    average: Encoder  # as it is now, for looking


@dataclass(frozen=True)
class StyleModel:
    """What an encoder is trained for."""

    generator: StyleGenerator  # an unconditional one
    statistics: WStatistics
    features: FeatureNetwork  # compares pictures; the first layers of the encoder begin as its own

    @classmethod
    def load(cls, folder: Path) -> Self:
        """From a model folder that has a feature network beside the model.

        Raises:
            ValueError: a model without a W, or with classes.
        """
        (generator, card), statistics = load_model(folder), load_statistics(folder)
        if not isinstance(generator, StyleGenerator) or statistics is None or generator.c_dim:
            raise ValueError(f"{card.name} is no unconditional model with a W: it can have no encoder")
        return cls(generator, statistics, FeatureNetwork.load(folder))


def train_encoder(
    model: StyleModel,
    portraits: Portraits,
    settings: EncoderTraining,
    callback: Callable[[EncoderProgress], None] | None = None,
    checkpoint: Path | None = None,
) -> Encoder:
    """An encoder of pictures like `portraits` and like those of the model.

    Args:
        checkpoint: a file to resume from if it exists, and to write now and then; removed at the end. A
            training may be resumed with more or fewer `images`: only the learning rate depends on them.
    """
    trainer = EncoderTrainer(model, portraits, settings)
    file = trainer.fit(callback, checkpoint)
    file.done()
    return trainer.average.cpu()


class EncoderTrainer:
    """Network, average and optimiser, and the steps that move them."""

    def __init__(self, model: StyleModel, portraits: Portraits, settings: EncoderTraining) -> None:
        self.settings, self.portraits = settings, portraits
        self.generator = model.generator.to(settings.device).eval().requires_grad_(False)
        self.distance = PerceptualDistance(model.features).to(settings.device)
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            self.network = new_encoder(model, settings)
        self.network.to(settings.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.network.parameters(), betas=(0.9, 0.99), fused=True)
        # Choices are made on the CPU, noise where the pictures are.
        self.rng = torch.Generator().manual_seed(settings.seed)
        self.noise = torch.Generator(settings.device).manual_seed(settings.seed)
        self.images = 0

    def fit(self, callback: Callable[[EncoderProgress], None] | None, checkpoint: Path | None) -> Resumable:
        """All steps; returns the file, which is still there until the result is safe."""
        parts: dict[str, Stateful] = {
            "network": self.network,
            "average": self.average,
            "optimizer": self.optimizer,
        }
        randoms = {"rng": self.rng, "noise": self.noise}
        file = Resumable(checkpoint, self.settings.checkpoint_every_s, parts, randoms)
        self.images = file.resume()
        while self.images < self.settings.images:
            losses = self.step()
            file.keep(self.images)
            if callback is not None:
                callback(EncoderProgress(self.images, self.settings.images, losses, self.average))
        return file

    def step(self) -> dict[str, float]:
        """One step; returns its losses, unweighted."""
        settings, known = self.settings, self.settings.batch // 2
        ws = self.sample_ws(known)
        with torch.no_grad(), self._autocast():
            samples = self.generator.synthesize(ws, noise="random", rng=self.noise).float().clamp(-1, 1)
        pictures = self.portraits.batch(settings.batch - known, self.rng)[0].to(settings.device)
        losses = self.losses(torch.cat([samples, pictures]), ws)
        self.optimizer.param_groups[0]["lr"] = settings.rate(self.images)
        self.optimizer.zero_grad()
        torch.stack([getattr(settings, name) * loss for name, loss in losses.items()]).sum().backward()
        self.optimizer.step()
        self.images += settings.batch
        follow(self.average, self.network, settings.average_beta(self.images))
        return {name: loss.item() for name, loss in losses.items()}

    @torch.no_grad()
    def sample_ws(self, n: int) -> Tensor:
        """(n, num_ws, w_dim)."""
        z = torch.randn(2 * n, self.generator.z_dim, generator=self.rng).to(self.settings.device)
        w, other = self.generator.map(z).split(n)
        ws = mix(w, other, self.generator.num_ws, self.settings.mixing, self.rng)
        low = self.settings.smallest_psi
        psi = low + (1 - low) * torch.rand(n, 1, 1, generator=self.rng).to(ws.device)
        return self.network.w_mean.lerp(ws, psi)

    def losses(self, images: Tensor, known: Tensor) -> dict[str, Tensor]:
        """Scalars, by the names of their weights in the settings.

        images: (N, C, H, W), the first of which were painted from `known`, (n, L, w_dim).
        """
        with self._autocast():
            ws = self.network(images)
            painted = self.generator.synthesize(ws)
            perceptual = self.distance(painted, images)
        given, free = ws.float().tensor_split([len(known)])
        return {
            "latent": ((given - known) / self.network.w_std).square().mean(),
            "pixel": (painted.float() - images).square().mean(),
            "perceptual": perceptual.float().mean(),
            "spread": straying((free - self.network.w_mean) / self.network.w_std),
        }

    def _autocast(self) -> torch.autocast:
        kind = torch.device(self.settings.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.settings.bfloat16)


def straying(offsets: Tensor) -> Tensor:
    """Mean square of the distance of each w to the middle of its picture's ws, and of that to the mean of w.

    offsets: (N, L, w_dim), distances to the mean of w in standard deviations -> scalar. What stays of the
    middle within one standard deviation costs nothing: samples lie there.
    """
    middle = offsets.mean(dim=1, keepdim=True)
    far = (middle.square().mean(dim=(1, 2)) - 1).clamp(min=0)
    return (offsets - middle).square().mean() + far.mean()


def new_encoder(model: StyleModel, settings: EncoderTraining) -> Encoder:
    """An encoder that answers the mean of w, and whose stages see what the feature network sees."""
    generator, features = model.generator, model.features
    config = StyleEncoderConfig(
        img_resolution=generator.img_resolution,
        img_channels=generator.img_channels,
        num_ws=generator.num_ws,
        w_dim=generator.w_dim,
        channels=features.record.channels,
        lateral=settings.lateral,
        hidden=settings.hidden,
    )
    encoder = Encoder(config)
    encoder.w_mean.copy_(model.statistics.mean)
    encoder.w_std.copy_(model.statistics.std)
    for stage, seen in zip(encoder.stages, features.stages, strict=True):
        assert isinstance(stage, Stage) and isinstance(seen, ResidualStage)
        absorb(stage.conv0, seen.conv0, seen.norm0)
        absorb(stage.conv1, seen.conv1, seen.norm1)
        stage.skip.load_state_dict(seen.skip.state_dict())
    return encoder


@torch.no_grad()
def absorb(conv: nn.Conv2d, before: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Make `conv`, which has a bias, the same as `before` without one, followed by `norm` in evaluation."""
    assert conv.bias is not None and norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    conv.weight.copy_(before.weight * scale[:, None, None, None])
    conv.bias.copy_(norm.bias - norm.running_mean * scale)
