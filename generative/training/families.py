"""The training of a generator that z alone decides: DCGAN, EigenGAN.

A projected discriminator (Sauer et al., 2021) with the hinge loss (Lim & Ye, 2017) and adaptive augmentation.
Half of each batch is painted from what an encoder reads in real pictures, and compared with them
(`generative.training.posterior`); the other half from random z. The first `warm_images` are only painted
again: then every kind of portrait has its place in z before an adversary asks for sharpness. Folders, log and
budget: `generative.training.running`.
"""

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from generative.checkpoints.configs import understand
from generative.families import generator_of
from generative.generator import Generator
from generative.losses import between, unit
from generative.networks.feature_network import FeatureNetwork
from generative.networks.projected_discriminator import ProjectedDiscriminator
from generative.training import bases, standing
from generative.training.augment import AdaptiveStrength, augment
from generative.training.average import follow
from generative.training.config import RunConfig
from generative.training.dataset import Portraits
from generative.training.grid import sample_grid
from generative.training.losses import discriminator_loss, generator_loss
from generative.training.posterior import Posterior, divergence, draw

STANDING = 10_000  # samples whose statistics are served
STANDING_OF_A_GRID = 512  # of pictures of a running training


class FamilyConfig(RunConfig):
    """One training. Counts are in images, those of the warm start among them."""

    network: str  # one of `generative.families.GENERATORS`
    architecture: dict[str, Any]  # fields of its configuration
    features: Path  # folder of the feature network
    warm_images: int = Field(default=40_000, ge=0)  # in which the generator only learns to paint again
    head_start: int = Field(default=1_600, ge=0)  # then the discriminator learns alone
    pairing: float = Field(default=2.0, ge=0)  # weight of painting again, in half of each batch
    divergence: float = Field(default=1e-3, ge=0)  # weight of the encoder's distance from the prior, in nats
    orthogonality: float = Field(default=0.0, ge=0)  # weight of EigenGAN's regulariser
    basis_rate: float = Field(
        default=1.0, gt=0
    )  # factor on the rate of EigenGAN's bases, whose numbers are small
    generator_lr: float = Field(default=1e-3, gt=0)

    def generator(self) -> Generator:
        """With random weights."""
        return generator_of(*understand({"network": self.network, **self.architecture}))


class Trainer:
    """Networks, optimisers and counters of a run, and the step that moves them."""

    def __init__(self, config: FamilyConfig, portraits: Portraits) -> None:
        self.config, self.portraits = config, portraits
        self.device = torch.device(config.device)
        self.features = FeatureNetwork.load(config.features)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.generator = config.generator()
            bases.begin(self.generator)
            self.average = copy.deepcopy(self.generator).requires_grad_(False)
            standing.unfreeze(self.generator)
            self.discriminator = ProjectedDiscriminator(self.features)
            self.posterior = Posterior(self.features.record, self.generator.z_dim)
        for network in (self.generator, self.average, self.discriminator, self.posterior):
            network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.generator_optimizer = self._adam(*self._groups())
        self.discriminator_optimizer = self._adam(
            [p for p in self.discriminator.parameters() if p.requires_grad]
        )
        self.rng = torch.Generator().manual_seed(config.seed)
        self.strength = AdaptiveStrength(config.ada_target, config.ada_ramp)
        self.sign, self.images, self.steps, self.processor_s = 0.0, 0, 0, 0.0

    def step(self) -> tuple[Tensor, Tensor]:
        """One step of all networks; returns the losses of generator and discriminator."""
        config = self.config
        self._set_rates()
        real = self.portraits.batch(config.batch, self.rng)[0].to(self.device)
        warm = self.images < config.warm_images
        judged = self.images >= config.warm_images + config.head_start
        paired = real if warm else real[: config.batch // 2]
        with torch.no_grad(), self._autocast():
            seen = self.features(paired)
        fake, nats = self._paint(seen[-1])
        discriminator = torch.zeros(()) if warm else self._step_discriminator(fake.detach(), real)
        generator = self._step_generator(fake, paired, seen, nats, judged=judged)
        self.steps += 1
        self.images += config.batch
        if not warm and self.steps % config.ada_every == 0:
            self.sign = self.strength.adjust()
        follow(self.average, self.generator, config.average_beta(self.images))
        return generator, discriminator

    def _paint(self, last: Tensor) -> tuple[Tensor, Tensor]:
        """A batch of pictures, and the divergence of the encoder.

        last: last feature maps (n, C, h, w) of pictures that the first n shall be painted like.
        """
        others = self.config.batch - len(last)
        rest = torch.randn(others, self.generator.z_dim, generator=self.rng).to(self.device)
        with self._autocast():
            mean, log_variance = self.posterior(last)
            z = torch.cat([draw(mean, log_variance, self.rng), rest])
            return self.generator(z).float(), divergence(mean, log_variance).mean()

    def _step_discriminator(self, fake: Tensor, real: Tensor) -> Tensor:
        self.discriminator.requires_grad_(True)
        self.discriminator.projection.requires_grad_(False)
        with self._autocast():
            logits = self.discriminator(torch.cat([self._augment(fake), self._augment(real)])).float()
        fake_logits, real_logits = logits.split(self.config.batch)
        loss = discriminator_loss(fake_logits, real_logits, "hinge")
        self.discriminator_optimizer.zero_grad()
        loss.backward()
        self.discriminator_optimizer.step()
        self.strength.observe(real_logits)
        return loss.detach()

    def _step_generator(
        self, fake: Tensor, paired: Tensor, seen: list[Tensor], nats: Tensor, *, judged: bool
    ) -> Tensor:
        """With the pictures that the discriminator has just seen; the encoder learns beside the generator."""
        self.discriminator.requires_grad_(False)
        again = fake[: len(paired)]
        with self._autocast():
            distance = between(unit(self.features(again)), unit(seen)).float().mean()
            errors = distance + (again - paired).abs().mean()
            loss = self.config.pairing * (errors + self.config.divergence * nats)
            if judged:
                loss = loss + generator_loss(self.discriminator(self._augment(fake)).float(), "hinge")
        if self.config.orthogonality:
            loss = loss + self.config.orthogonality * bases.orthogonality(self.generator)
        self.generator_optimizer.zero_grad()
        loss.backward()
        self.generator_optimizer.step()
        return loss.detach()

    def _augment(self, images: Tensor) -> Tensor:
        return augment(images, self.strength.probability, self.rng)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bfloat16)

    def _groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """What learns with the generator: at its full rate, and EigenGAN's bases."""
        U = [subspace.U for subspace in bases.subspaces(self.generator)]
        own = {id(parameter) for parameter in U}
        rest = [p for p in self.generator.parameters() if id(p) not in own]
        return [*rest, *self.posterior.parameters()], U

    def _adam(self, *groups: list[nn.Parameter]) -> torch.optim.Adam:
        """Learning rates are set before every step."""
        betas = (self.config.beta1, self.config.beta2)
        return torch.optim.Adam([{"params": group} for group in groups], betas=betas, fused=True)

    def _set_rates(self) -> None:
        factor = self.config.rate(self.images)
        full, slow = self.generator_optimizer.param_groups
        full["lr"] = self.config.generator_lr * factor
        slow["lr"] = full["lr"] * self.config.basis_rate
        self.discriminator_optimizer.param_groups[0]["lr"] = self.config.discriminator_lr * factor

    def grid(self) -> Tensor:
        """Samples of the average, with statistics of its own."""
        standing.gather(self.average, STANDING_OF_A_GRID)
        return sample_grid(self.average, psi=1.0)

    def state(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).state_dict() for name in STATEFUL}
        numbers = {name: getattr(self, name) for name in ("images", "steps", "processor_s", "sign")}
        return {**parts, **numbers, "rng": self.rng.get_state(), "strength": asdict(self.strength)}

    def load(self, state: dict[str, Any]) -> None:
        for name in STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        self.rng.set_state(state["rng"])
        self.strength = AdaptiveStrength(**state["strength"])
        self.images, self.steps = state["images"], state["steps"]
        self.processor_s, self.sign = state["processor_s"], state["sign"]


STATEFUL = (
    "generator",
    "average",
    "discriminator",
    "posterior",
    "generator_optimizer",
    "discriminator_optimizer",
)


def average(config: FamilyConfig, state: dict[str, Any]) -> Generator:
    """The averaged generator of a checkpoint, with standing statistics, as it is served."""
    generator = config.generator()
    generator.load_state_dict(state["average"])
    generator.eval().requires_grad_(False)
    standing.gather(generator, STANDING)
    return generator
