"""What all adversarial trainings share: a run folder, its checkpoints and log, sample grids, a budget.

A run folder holds `config.json`, `checkpoint.pt` (everything that the next step depends on), `log.jsonl` and
`grids/<images>.png`. Progress and stopping go through one callback.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from generative.training.atomic import write_tensors, write_text
from generative.training.augment import AdaptiveStrength
from generative.training.config import RunConfig
from generative.training.dataset import Portraits
from generative.training.grid import write_png

CHECKPOINT, CONFIG, LOG, GRIDS = "checkpoint.pt", "config.json", "log.jsonl", "grids"


class StopTraining(Exception):
    """Raised by a callback to save and leave."""


@dataclass(frozen=True)
class Progress:
    """Means since the last report."""

    images: int  # seen in all
    total: int
    seconds: float  # since this process began to train
    processor_s: float  # of all processes of the run
    images_per_s: float
    generator: float
    discriminator: float
    sign: float  # of the discriminator on real pictures: 0 unsure, 1 always right
    probability: float  # of each augmentation


Callback = Callable[[Progress], None]


class Trainable(Protocol):
    """Networks, optimisers and counters of a run, and the step that moves them."""

    @property
    def config(self) -> RunConfig: ...

    portraits: Portraits
    strength: AdaptiveStrength
    sign: float
    images: int
    steps: int
    processor_s: float

    def step(self) -> tuple[Tensor, Tensor]:
        """One step of all networks; returns the losses of generator and discriminator."""

    def grid(self) -> Tensor:
        """(3, H, W): samples of the averaged generator, of the same z every time."""

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""


def train(trainer: Trainable, run_dir: Path, callback: Callback | None = None) -> None:
    """Train until `config.images` or `config.processor_s`, resuming what `run_dir` holds.

    Args:
        callback: called every `config.log_every` steps; raise `StopTraining` from it to save and leave.
    """
    (run_dir / GRIDS).mkdir(parents=True, exist_ok=True)
    write_text(run_dir / CONFIG, trainer.config.model_dump_json(indent=1))
    if (run_dir / CHECKPOINT).exists():
        trainer.load(torch.load(run_dir / CHECKPOINT, map_location="cpu", weights_only=True))
    try:
        _run(trainer, run_dir, callback)
    except StopTraining:
        pass
    write_tensors(run_dir / CHECKPOINT, trainer.state())


def _run(trainer: Trainable, run_dir: Path, callback: Callback | None) -> None:
    config = trainer.config
    begin = saved = painted = time.monotonic()
    report = Report(trainer, begin)
    before = trainer.processor_s - time.process_time()
    while trainer.images < config.images and trainer.processor_s < (config.processor_s or math.inf):
        report.add(*trainer.step())
        now = time.monotonic()
        trainer.processor_s = before + time.process_time()
        if now - painted > config.grid_every_s:
            write_png(run_dir / GRIDS / f"{trainer.images:08d}.png", trainer.grid())
            painted = now
        if now - saved > config.checkpoint_every_s:
            write_tensors(run_dir / CHECKPOINT, trainer.state())
            saved = now
        if trainer.steps % config.log_every == 0:
            trainer.portraits.refresh()
            progress = report.take()
            with (run_dir / LOG).open("a") as log:
                log.write(json.dumps(asdict(progress)) + "\n")
            if callback is not None:
                callback(progress)


class Report:
    """Sums of losses between two lines of the log."""

    def __init__(self, trainer: Trainable, begin: float) -> None:
        self.trainer, self.begin, self.last, self.images = trainer, begin, begin, trainer.images
        self.losses: list[tuple[Tensor, Tensor]] = []

    def add(self, generator: Tensor, discriminator: Tensor) -> None:
        self.losses.append((generator, discriminator))

    def take(self) -> Progress:
        now, trainer = time.monotonic(), self.trainer
        generator, discriminator = torch.tensor(self.losses).mean(dim=0).tolist()
        progress = Progress(
            images=trainer.images,
            total=trainer.config.images,
            seconds=round(now - self.begin, 1),
            processor_s=round(trainer.processor_s, 1),
            images_per_s=round((trainer.images - self.images) / (now - self.last), 1),
            generator=round(generator, 4),
            discriminator=round(discriminator, 4),
            sign=round(trainer.sign, 3),
            probability=round(trainer.strength.probability, 4),
        )
        self.last, self.images, self.losses = now, trainer.images, []
        return progress
