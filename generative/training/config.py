"""Settings of a training run. They are written to `config.json` in the run folder, and read from there to
resume."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from generative.networks.stylegan2 import StyleGAN2Config


class RunConfig(BaseModel):
    """What every adversarial training knows. Counts are in images shown to the discriminator as real."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: Path
    images: int = Field(default=1_000_000, gt=0)
    processor_s: float | None = Field(default=None, gt=0)  # a second limit, to compare recipes at equal time
    batch: int = Field(default=32, gt=0)
    generator_lr: float = Field(default=2e-3, gt=0)
    discriminator_lr: float = Field(default=1e-3, gt=0)
    decay_images: int = Field(default=0, ge=0)  # over the last so many images both rates fall to a tenth
    beta1: float = 0.0
    beta2: float = 0.99
    ema_images: int = Field(default=5_000, gt=0)  # half-life of the averaged generator
    ema_rampup: float = Field(default=0.05, gt=0)  # half-life is at most this part of the images seen

    ada_target: float | None = 0.6  # None: no augmentation
    ada_ramp: int = Field(default=100_000, gt=0)
    ada_every: int = Field(default=4, gt=0)

    held_out: int = Field(default=5_000, ge=0)  # pictures kept from training, for measuring
    device: str = "cpu"
    bfloat16: bool = True
    seed: int = 0
    log_every: int = Field(default=50, gt=0)  # steps
    grid_every_s: float = Field(default=240.0, gt=0)
    checkpoint_every_s: float = Field(default=150.0, gt=0)

    def average_beta(self, images: int) -> float:
        """How much of the average stays in a step, after `images`: half of it is left after the half-life."""
        half_life = min(self.ema_images, self.ema_rampup * images)
        return 0.5 ** (self.batch / max(half_life, 1e-8))

    def rate(self, images: int) -> float:
        """Factor on both learning rates after `images`: 1, then falling linearly to a tenth at the end."""
        if not self.decay_images:
            return 1.0
        left = (self.images - images) / self.decay_images
        return min(1.0, max(0.1, left))


class TrainingConfig(RunConfig):
    """One training of the built-in StyleGAN2."""

    features: Path | None = None  # folder of the feature network, for the projected discriminator
    init: Path | None = (
        None  # checkpoint whose generator is the start: of a warm start, or of another discriminator
    )
    discriminator: Literal["projected", "plain"] = "projected"
    loss: Literal["hinge", "logistic"] = "hinge"

    mapping_boost: float = Field(default=1.0, gt=0)  # on the mapping's rate, which is slow by design
    head_start: int = Field(
        default=0, ge=0
    )  # images in which the discriminator learns alone, after a warm start

    pairing: float = Field(default=0.0, ge=0)  # weight of painting known factors right, in half of each batch
    mixing: float = Field(default=0.5, ge=0, le=1)  # probability that a picture takes two w
    r1_gamma: float = Field(default=1.0, ge=0)  # plain discriminator only; 0 turns it off
    r1_every: int = Field(default=16, gt=0)
    path_weight: float = Field(default=0.0, ge=0)
    path_every: int = Field(default=8, gt=0)
    path_decay: float = 0.01
    hessian_weight: float = Field(default=0.0, ge=0)  # of the Hessian penalty; the paper fine-tunes with it
    hessian_every: int = Field(default=8, gt=0)

    freeze_below: int = Field(default=0, ge=0)  # FreezeSG: the mapping, and blocks of lower resolutions
    structure_weight: float = Field(default=0.0, ge=0)  # of staying near the start at low resolutions
    structure_below: int = Field(default=32, gt=4)  # resolution from which on the child is free

    channel_base: int = 2048
    channel_max: int = 160
    z_dim: int = 32  # not many more than the world has factors
    w_dim: int = 128
    mapping_layers: int = 4

    compile: bool = False  # slow to start, and not faster on every CPU

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.features is None and (self.discriminator == "projected" or self.pairing):
            raise ValueError("the projected discriminator and pairing need the folder of a feature network")
        if self.init is None and (self.freeze_below or self.structure_weight):
            raise ValueError("what a child keeps is its start's: give init")
        if self.compile and self.path_weight:
            raise ValueError("path length regularisation needs second derivatives, which compiled code lacks")
        return self

    def generator(self, resolution: int) -> StyleGAN2Config:
        return StyleGAN2Config(
            img_resolution=resolution,
            z_dim=self.z_dim,
            w_dim=self.w_dim,
            mapping_layers=self.mapping_layers,
            channel_base=self.channel_base,
            channel_max=self.channel_max,
        )
