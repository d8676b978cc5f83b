"""The training of an adversarial latent autoencoder, "Adversarial Latent Autoencoders" (Pidhorskyi et al.,
2020), section 4 and algorithm 1: four networks and three updates.

F maps z to w, G paints from w, E reads w in a picture, D judges w.

1. E and D learn to tell real pictures from painted ones: non-saturating loss of D(E(x)), R1 on real ones.
2. F and G learn to be taken for real.
3. E and G learn to read in a picture the w that it was painted from. This happens in W: no pixel is compared.

podgorskiy/ALAE grows resolution by resolution and takes weeks; this is for one core and an hour, so it
differs. It does not grow, paints without noise, computes R1 in few steps (so much stronger), and adds to
update 3, in half of each batch, what the world knows: which picture belongs to which z
(`generative.training.codes`). Those shall be painted, and their w be read in the picture itself. The first
`warm_images` learn this alone. Folders, log and budget: `generative.training.running`.
"""

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from generative.checkpoints.configs import understand
from generative.families import build
from generative.losses import between, unit
from generative.networks.alae import Generator
from generative.networks.alae_encoder import Encoder
from generative.networks.feature_network import FeatureNetwork
from generative.spaces import broadcast
from generative.training.augment import AdaptiveStrength
from generative.training.average import follow
from generative.training.codes import Codes
from generative.training.config import RunConfig
from generative.training.dataset import Portraits
from generative.training.grid import sample_grid
from generative.training.losses import discriminator_loss, generator_loss, r1_penalty

MEAN_OF = 4096  # samples whose mean is the mean of W


class ALAEConfig(RunConfig):
    """One training. Counts are in images, those of the warm start among them."""

    network: Literal["alae"] = "alae"
    architecture: dict[str, Any]  # fields of the generator's configuration
    encoder: dict[str, Any]  # fields of the encoder's configuration
    features: Path  # folder of the feature network
    warm_images: int = Field(default=40_000, ge=0)
    pairing: float = Field(default=2.0, ge=0)  # weight of painting known factors right
    r1_gamma: float = Field(default=10.0, ge=0)
    r1_every: int = Field(default=8, gt=0)
    generator_lr: float = Field(default=5e-4, gt=0)
    discriminator_lr: float = Field(default=5e-4, gt=0)
    ada_target: None = None  # no augmentation


class Trainer:
    """Networks, optimisers and counters of a run, and the step that moves them."""

    def __init__(self, config: ALAEConfig, portraits: Portraits) -> None:
        self.config, self.portraits = config, portraits
        self.device = torch.device(config.device)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.generator, self.encoder = networks(config)
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.average_encoder = copy.deepcopy(self.encoder).eval().requires_grad_(False)
        self.features = FeatureNetwork.load(config.features)
        for network in (self.generator, self.encoder, self.average, self.average_encoder, self.features):
            network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        betas = (config.beta1, config.beta2)
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), betas=betas, fused=True)
        self.encoder_optimizer = torch.optim.Adam(self.encoder.parameters(), betas=betas, fused=True)
        self.codes = Codes(portraits, self.generator.z_dim)
        self.rng = torch.Generator().manual_seed(config.seed)
        self.strength = AdaptiveStrength(None)
        self.sign, self.images, self.steps, self.processor_s = 0.0, 0, 0, 0.0

    def step(self) -> tuple[Tensor, Tensor]:
        """The three updates; returns the losses of the last and of the first."""
        self._set_rates()
        rows = self.portraits.draw(self.config.batch, self.rng)
        real = shrink(self.portraits.rows(rows)[0].to(self.device), self.generator)
        judged = torch.zeros(())
        if self.images < self.config.warm_images:
            paired = len(rows)
        else:
            paired = len(rows) // 2
            judged = self._judge(real, self._z(rows, paired))
            self._deceive(self._z(rows, paired))
        loss = self._agree(real[:paired], self._z(rows, paired))
        self.steps += 1
        self.images += self.config.batch
        beta = self.config.average_beta(self.images)
        follow(self.average, self.generator, beta)
        follow(self.average_encoder, self.encoder, beta)
        return loss, judged

    def _judge(self, real: Tensor, z: Tensor) -> Tensor:
        """Update 1, of E and D."""
        with self._autocast():
            with torch.no_grad():
                fake = self._paint(self.generator.map(z))
            fake_logits, real_logits = self._score(torch.cat([fake, real])).chunk(2)
        loss = discriminator_loss(fake_logits, real_logits, "logistic")
        self.sign = real_logits.detach().sign().mean().item()
        self.encoder_optimizer.zero_grad()
        loss.backward()
        if self.steps % self.config.r1_every == 0:
            # In float32: second derivatives are small.
            real = real.detach().requires_grad_(True)
            penalty = r1_penalty(self._score(real), real)
            (self.config.r1_gamma * self.config.r1_every * penalty).backward()
        self.encoder_optimizer.step()
        return loss.detach()

    def _deceive(self, z: Tensor) -> None:
        """Update 2, of F and G."""
        with self._autocast():
            logits = self._score(self._paint(self.generator.map(z)))
        self.generator_optimizer.zero_grad()
        generator_loss(logits, "logistic").backward()
        self.generator_optimizer.step()

    def _agree(self, real: Tensor, z: Tensor) -> Tensor:
        """Update 3, of E and G; F learns from the pairs. The first z belong to `real`."""
        paired = len(real)
        with self._autocast():
            w = self.generator.map(z)
            fake = self._paint(w)
            read = self.encoder(torch.cat([fake, real])).float()
            wanted = torch.cat([w, w[:paired]]).detach().float()
            latent = (read - wanted).square().mean()
            distance = between(self._describe(fake[:paired]), self._describe(real)).float().mean()
            loss = latent + self.config.pairing * (distance + (fake[:paired] - real).abs().mean())
        self.generator_optimizer.zero_grad()
        self.encoder_optimizer.zero_grad()
        loss.backward()
        self.generator_optimizer.step()
        self.encoder_optimizer.step()
        return loss.detach()

    def _paint(self, w: Tensor) -> Tensor:
        """(N, w_dim) -> pictures (N, 3, R, R), float32."""
        return self.generator.synthesize(broadcast(w, self.generator.num_ws), noise="none").float()

    def _score(self, images: Tensor) -> Tensor:
        """(N, 3, R, R) -> logits (N,) of D(E(x)), float32."""
        return self.encoder.score(self.encoder(images)).float()

    def _describe(self, images: Tensor) -> list[Tensor]:
        """What the feature network sees, at its own resolution."""
        side = self.features.record.resolution
        if images.shape[-1] != side:
            images = F.interpolate(images, (side, side), mode="bilinear")
        return unit(self.features(images))

    def _z(self, rows: Tensor, paired: int) -> Tensor:
        """(N, z_dim): the codes of the first `paired` pictures in `rows`, then random ones."""
        rest = torch.randn(len(rows) - paired, self.generator.z_dim, generator=self.rng)
        return torch.cat([self.codes.draw(rows[:paired], self.rng), rest]).to(self.device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bfloat16)

    def _set_rates(self) -> None:
        factor = self.config.rate(self.images)
        self.generator_optimizer.param_groups[0]["lr"] = self.config.generator_lr * factor
        self.encoder_optimizer.param_groups[0]["lr"] = self.config.discriminator_lr * factor

    def grid(self) -> Tensor:
        """Samples of the average, around a mean of its own."""
        center(self.average)
        return sample_grid(self.average)

    def state(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).state_dict() for name in STATEFUL}
        numbers = {name: getattr(self, name) for name in NUMBERS}
        return {**parts, **numbers, "rng": self.rng.get_state(), "strength": asdict(self.strength)}

    def load(self, state: dict[str, Any]) -> None:
        for name in STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        for name in NUMBERS:
            setattr(self, name, state[name])
        self.rng.set_state(state["rng"])


STATEFUL = (
    "generator",
    "encoder",
    "average",
    "average_encoder",
    "generator_optimizer",
    "encoder_optimizer",
)
NUMBERS = ("images", "steps", "processor_s", "sign")


def networks(config: ALAEConfig) -> tuple[Generator, Encoder]:
    """With random weights."""
    generator = build(*understand({"network": "alae", **config.architecture}))
    encoder = build(*understand({"network": "alae_encoder", **config.encoder}))
    assert isinstance(generator, Generator) and isinstance(encoder, Encoder)
    return generator, encoder


@torch.no_grad()
def center(generator: Generator) -> None:
    """Store the mean of W, in place."""
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(MEAN_OF, generator.z_dim, generator=rng).to(generator.w_avg.device)
    generator.dlatent_avg.buff.copy_(generator.map(z).mean(dim=0).expand_as(generator.w_avg))


def shrink(images: Tensor, generator: Generator) -> Tensor:
    """(N, 3, H, W) -> (N, 3, R, R), pictures of the world at the resolution of the generator."""
    return F.adaptive_avg_pool2d(images, generator.img_resolution)


def averages(config: ALAEConfig, state: dict[str, Any]) -> tuple[Generator, Encoder]:
    """The averaged networks of a checkpoint, as they are served."""
    generator, encoder = networks(config)
    for module, name in ((generator, "average"), (encoder, "average_encoder")):
        module.load_state_dict(state[name])
        module.eval().requires_grad_(False)
    center(generator)
    return generator, encoder
