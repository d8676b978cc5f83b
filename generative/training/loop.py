"""The training of the built-in StyleGAN2: its steps, and everything that they depend on, so that a checkpoint
resumes to the bit. Folders, log and budget: `generative.training.running`.
"""

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from generative.discovery.hessian_penalty import DRAWS, draw_signs, hessian_penalty
from generative.losses import PerceptualDistance
from generative.networks.feature_network import FeatureNetwork
from generative.networks.projected_discriminator import ProjectedDiscriminator
from generative.networks.stylegan2 import Generator
from generative.networks.stylegan2_discriminator import Discriminator, DiscriminatorConfig
from generative.spaces import broadcast
from generative.training import running
from generative.training.atomic import write_tensors, write_text
from generative.training.augment import AdaptiveStrength, augment
from generative.training.average import follow
from generative.training.codes import Codes
from generative.training.config import TrainingConfig
from generative.training.dataset import Portraits
from generative.training.grid import sample_grid, write_png
from generative.training.losses import discriminator_loss, generator_loss, mix, path_lengths, r1_penalty
from generative.training.running import CHECKPOINT, CONFIG, Callback
from generative.training.structure import frozen, structure_loss


class Trainer:
    """Networks, optimisers and counters of a run, and the step that moves them."""

    def __init__(self, config: TrainingConfig, portraits: Portraits) -> None:
        self.config, self.portraits = config, portraits
        self.device = torch.device(config.device)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.generator = Generator(config.generator(portraits.resolution))
            self.discriminator = _discriminator(config, portraits.resolution)
        for network in (self.generator, self.discriminator):
            network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.images_before = 0  # that the starting weights had seen, in another run
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        if config.compile:
            self.generator.synthesis.compile()
        for parameter in frozen(self.generator, config.freeze_below) if config.freeze_below else ():
            parameter.requires_grad_(False)
        self.source = self._source() if config.structure_weight else None
        parts = (self.generator.mapping, self.generator.synthesis)
        self.generator_optimizer = _adam([list(part.parameters()) for part in parts], config)
        trained = [p for p in self.discriminator.parameters() if p.requires_grad]
        self.discriminator_optimizer = _adam([trained], config)
        # Choices of pictures and styles are made on the CPU, noise where the pictures are.
        self.rng = torch.Generator().manual_seed(config.seed)
        self.noise = self.rng
        if self.device.type != "cpu":
            self.noise = torch.Generator(self.device).manual_seed(config.seed)
        self.strength = AdaptiveStrength(config.ada_target, config.ada_ramp)
        self.path_mean, self.sign = 0.0, 0.0
        self.codes: Codes | None = None
        self.distance: PerceptualDistance | None = None
        if config.pairing:
            assert config.features is not None  # checked by the config
            self.codes = Codes(portraits, config.z_dim)
            self.distance = PerceptualDistance(FeatureNetwork.load(config.features)).to(self.device)
        self.images, self.steps, self.processor_s = 0, 0, 0.0

    def step(self) -> tuple[Tensor, Tensor]:
        """One step of the discriminator and one of the generator; returns their losses."""
        self._set_rates()
        rows = self.portraits.draw(self.config.batch, self.rng)
        real = self.portraits.rows(rows)[0].to(self.device, non_blocking=True)
        fake = self._paint(self._draw_z(rows))
        discriminator = self._step_discriminator(fake.detach(), real)
        alone = self.images < self.config.head_start
        generator = torch.zeros((), device=self.device) if alone else self._step_generator(fake, real)
        self.steps += 1
        self.images += self.config.batch
        if self.steps % self.config.ada_every == 0:
            self.sign = self.strength.adjust()
        follow(self.average, self.generator, self.config.average_beta(self.images))
        return generator, discriminator

    def _step_discriminator(self, fake: Tensor, real: Tensor) -> Tensor:
        self.discriminator.requires_grad_(True)
        if isinstance(self.discriminator, ProjectedDiscriminator):
            self.discriminator.projection.requires_grad_(False)
        both = torch.cat([self._augment(fake), self._augment(real)])
        with self._autocast():
            logits = self.discriminator(both).float()
        fake_logits, real_logits = logits.split(self.config.batch)
        loss = discriminator_loss(fake_logits, real_logits, self.config.loss)
        self.discriminator_optimizer.zero_grad()
        loss.backward()
        if self._due(self.config.r1_every) and self.config.r1_gamma and self.config.discriminator == "plain":
            self._regularize_discriminator(self._augment(real))
        self.discriminator_optimizer.step()
        self.strength.observe(real_logits)
        return loss.detach()

    def _regularize_discriminator(self, real: Tensor) -> None:
        """Lazy R1: rarely, and so much stronger. In float32: second derivatives are small."""
        real = real.detach().requires_grad_(True)
        penalty = r1_penalty(self.discriminator(real), real)
        (self.config.r1_gamma * self.config.r1_every * penalty).backward()

    def _step_generator(self, fake: Tensor, real: Tensor) -> Tensor:
        """With the pictures that the discriminator has just seen: one painting serves both."""
        self.discriminator.requires_grad_(False)
        with self._autocast():
            logits = self.discriminator(self._augment(fake)).float()
        loss = generator_loss(logits, self.config.loss)
        if self.distance is not None:
            loss = loss + self.config.pairing * self._pair_loss(fake, real)
        if self.source is not None:
            loss = loss + self.config.structure_weight * self._structure_loss(self.source)
        self.generator_optimizer.zero_grad()
        loss.backward()
        if self.config.path_weight and self._due(self.config.path_every):
            self._regularize_generator()
        if self.config.hessian_weight and self._due(self.config.hessian_every):
            self._untangle_generator()
        self.generator_optimizer.step()
        return loss.detach()

    def _structure_loss(self, source: Generator) -> Tensor:
        """How far coarse pictures are from those of the start, for half a batch of new codes."""
        z = self._random_z(max(1, self.config.batch // 2))
        ws = broadcast(self.generator.map(z), self.generator.num_ws)
        return structure_loss(self.generator, source, ws, self.config.structure_below)

    def _regularize_generator(self) -> None:
        """Lazy path length regularisation on half a batch: equal steps in W move the picture equally far."""
        ws = self._ws(self._random_z(max(1, self.config.batch // 2)))
        images = self.generator.synthesize(ws, noise="random", rng=self.noise)
        lengths = path_lengths(images, ws, self.noise)
        self.path_mean += self.config.path_decay * (lengths.detach().mean().item() - self.path_mean)
        penalty = (lengths - self.path_mean).square().mean()
        (self.config.path_weight * self.config.path_every * penalty).backward()

    def _untangle_generator(self) -> None:
        """Lazy Hessian penalty of all layers on half a batch, without fresh noise and mixing, which it would
        see.
        """
        z = self._random_z(max(1, self.config.batch // 2))
        penalty = hessian_penalty(self._layers_of, z, draw_signs(DRAWS, z, self.noise))
        (self.config.hessian_weight * self.config.hessian_every * penalty).backward()

    def _layers_of(self, z: Tensor) -> list[Tensor]:
        """The outputs of all layers for z (n, z_dim), in float32: second differences are small."""
        ws = broadcast(self.generator.map(z), self.generator.num_ws)
        return list(self.generator.features_of_ws(ws, self.generator.layers).values())

    def _due(self, every: int) -> bool:
        return self.steps % every == 0

    def _pair_loss(self, fake: Tensor, real: Tensor) -> Tensor:
        """How far the first half of `fake` is from the pictures whose codes it was painted from."""
        assert self.distance is not None
        half = self.config.batch // 2
        with self._autocast():
            perceptual = self.distance(fake[:half], real[:half]).float().mean()
        return perceptual + (fake[:half] - real[:half]).abs().mean()

    def _draw_z(self, rows: Tensor) -> Tensor:
        """(batch, z_dim); with pairing, the first half are the codes of the pictures in `rows`."""
        z = self._random_z(self.config.batch)
        if self.codes is None:
            return z
        half = self.config.batch // 2
        return torch.cat([self.codes.draw(rows[:half], self.rng).to(self.device), z[half:]])

    def _random_z(self, n: int) -> Tensor:
        return torch.randn(n, self.generator.z_dim, generator=self.rng).to(self.device)

    def _ws(self, z: Tensor) -> Tensor:
        """z: (n, z_dim) -> (n, num_ws, w_dim), unpaired ones partly of two styles; moves the mean of w."""
        n = len(z)
        w, other = self.generator.map(torch.cat([z, self._random_z(n)])).split(n)
        self.generator.mapping.update_average(w.detach())
        mixed = mix(w, other, self.generator.num_ws, self.config.mixing, self.rng)
        if self.codes is None:
            return mixed
        return torch.cat([broadcast(w[: n // 2], self.generator.num_ws), mixed[n // 2 :]])

    def _paint(self, z: Tensor) -> Tensor:
        """z: (n, z_dim) -> new pictures, (n, 3, H, W) float32."""
        with self._autocast():
            return self.generator.synthesize(self._ws(z), noise="random", rng=self.noise).float()

    def _augment(self, images: Tensor) -> Tensor:
        return augment(images, self.strength.probability, self.rng)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bfloat16)

    def _set_rates(self) -> None:
        factor = self.config.rate(self.images)
        mapping, synthesis = self.generator_optimizer.param_groups
        mapping["lr"] = self.config.generator_lr * self.config.mapping_boost * factor
        synthesis["lr"] = self.config.generator_lr * factor
        self.discriminator_optimizer.param_groups[0]["lr"] = self.config.discriminator_lr * factor

    def grid(self) -> Tensor:
        return sample_grid(self.average)

    def state(self) -> dict[str, Any]:
        return {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "average": self.average.state_dict(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
            "rng": self.rng.get_state(),
            "noise": self.noise.get_state(),
            "strength": asdict(self.strength),
            "path_mean": self.path_mean,
            "images": self.images,
            "images_before": self.images_before,
            "steps": self.steps,
            "processor_s": self.processor_s,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.average.load_state_dict(state["average"])
        self.generator_optimizer.load_state_dict(state["generator_optimizer"])
        self.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
        self.rng.set_state(state["rng"])
        self.noise.set_state(state["noise"])
        self.strength = AdaptiveStrength(**state["strength"])
        self.path_mean, self.images, self.steps = state["path_mean"], state["images"], state["steps"]
        self.images_before, self.processor_s = state["images_before"], state["processor_s"]

    def _source(self) -> Generator:
        """The generator that this training starts from, frozen."""
        assert self.config.init is not None  # checked by the config
        source = copy.deepcopy(self.average)
        source.load_state_dict(torch.load(self.config.init, map_location="cpu", weights_only=True)["average"])
        return source

    def start_from(self, state: dict[str, Any]) -> None:
        """Begin with the averaged generator of another run's `state`, whatever discriminator that had."""
        self.generator.load_state_dict(state["average"])
        self.average.load_state_dict(state["average"])
        self.images_before = state["images"] + state["images_before"]


def _discriminator(config: TrainingConfig, resolution: int) -> nn.Module:
    if config.discriminator == "projected":
        assert config.features is not None  # checked by the config
        return ProjectedDiscriminator(FeatureNetwork.load(config.features))
    return Discriminator(
        DiscriminatorConfig(
            img_resolution=resolution, channel_base=config.channel_base, channel_max=config.channel_max
        )
    )


def _adam(groups: list[list[nn.Parameter]], config: TrainingConfig) -> torch.optim.Adam:
    """Learning rates are set before every step."""
    betas = (config.beta1, config.beta2)
    return torch.optim.Adam([{"params": group} for group in groups], betas=betas, eps=1e-8, fused=True)


def write_start(run_dir: Path, config: TrainingConfig, average: Generator, images: int) -> None:
    """A folder that another training can start from: `average` after `images`."""
    run_dir.mkdir(parents=True, exist_ok=True)
    write_text(run_dir / CONFIG, config.model_dump_json(indent=1))
    content = {"average": average.state_dict(), "images": images, "images_before": 0}
    write_tensors(run_dir / CHECKPOINT, content)
    write_png(run_dir / "samples.png", sample_grid(average))


def train(config: TrainingConfig, run_dir: Path, callback: Callback | None = None) -> Trainer:
    """Train until `config.images`, resuming what `run_dir` holds; `callback` as in `running.train`."""
    trainer = Trainer(config, Portraits(config.dataset, config.held_out))
    if config.init is not None and not (run_dir / CHECKPOINT).exists():
        trainer.start_from(torch.load(config.init, map_location="cpu", weights_only=True))
    running.train(trainer, run_dir, callback)
    return trainer
