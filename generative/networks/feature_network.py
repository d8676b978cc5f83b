"""The feature network of the portraits world: four residual stages, and a read-out of the world's factors.

It is trained in `generative.training.features` to name the factors *and* to rebuild the picture, so that its
stages see shape as well as colour and texture. The frozen stages serve three ends: the projected
discriminator looks through them (`generative.networks.projected_discriminator`), the perceptual distance
compares them (`generative.losses`), and the Fréchet distance takes its statistics there
(`generative.metrics.frechet`).

Axis letters: N batch, C channels, H W pixels, K read-out columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from generative.networks.half_files import load_half, save_half

WEIGHTS, RECORD = "features.safetensors", "features.json"


class Readout(BaseModel):
    """One factor that the network names, and how its columns are read.

    A continuous factor is one column, in standard deviations from its mean; a binary one is one logit; a
    categorical one is a logit for each of its classes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: Literal["continuous", "binary", "categorical"]
    classes: int = 1  # columns that it takes
    mean: float = 0.0
    std: float = 1.0
    score: float | None = None  # on unseen pictures: R² of a continuous factor, accuracy of the others


class FeatureRecord(BaseModel):
    """What the weights do not say: everything in `features.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resolution: int
    channels: tuple[int, ...] = (32, 64, 96, 160)
    hidden: int = 0  # units between the last feature map and the read-out; 0: linear
    readouts: tuple[Readout, ...]
    pictures: int = 0  # distinct pictures that it was trained on
    epochs: float = 0.0
    reconstruction: float | None = None  # mean absolute error of the rebuilt picture, in [-1, 1]
    license: str = "Apache-2.0"


@dataclass(frozen=True)
class Column:
    """Where a read-out lies in the (N, K) output."""

    readout: Readout
    start: int

    @property
    def slice(self) -> slice:
        return slice(self.start, self.start + self.readout.classes)


class ResidualStage(nn.Module):
    """Two 3x3 convolutions beside a 1x1 one, then half the size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm0 = nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) -> (N, O, H/2, W/2)."""
        y = F.leaky_relu(self.norm0(self.conv0(x)), 0.2)
        y = self.norm1(self.conv1(y)) + self.skip(x)
        return F.avg_pool2d(F.leaky_relu(y, 0.2), 2)


class FeatureNetwork(nn.Module):
    """Pictures to four feature maps, and those to factors."""

    def __init__(self, record: FeatureRecord) -> None:
        super().__init__()
        self.record = record
        sizes = [3, *record.channels]
        self.stages = nn.ModuleList(ResidualStage(i, o) for i, o in pairwise(sizes))
        inputs = record.channels[-1] * (record.resolution >> len(record.channels)) ** 2
        self.readout = _readout(inputs, record.hidden, sum(r.classes for r in record.readouts))

    @property
    def columns(self) -> tuple[Column, ...]:
        """The read-outs in the order of the (N, K) output."""
        starts = [sum(r.classes for r in self.record.readouts[:i]) for i in range(len(self.record.readouts))]
        return tuple(Column(r, s) for r, s in zip(self.record.readouts, starts, strict=True))

    def forward(self, images: Tensor) -> list[Tensor]:
        """images: (N, 3, H, W) in [-1, 1] -> one (N, C, H / 2^i, W / 2^i) for each stage i = 1, 2, ..."""
        maps = []
        x = images
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def read(self, last: Tensor) -> Tensor:
        """The last feature map (N, C, H, W) -> (N, K) columns: standard scores and logits, see `Readout`."""
        return self.readout(last.flatten(1))

    def factors(self, images: Tensor) -> dict[str, Tensor]:
        """images: (N, 3, H, W) -> (N,) by name: value in the world's unit, probability, or class index."""
        return self.decode(self.read(self(images)[-1]).float())

    def decode(self, output: Tensor) -> dict[str, Tensor]:
        """What `read` gave, (N, K) -> (N,) by name, as `factors`."""
        return {c.readout.name: _decode(output[:, c.slice], c.readout) for c in self.columns}

    def embed(self, images: Tensor) -> Tensor:
        """images: (N, 3, H, W) -> (N, sum of channels), features for set statistics."""
        return self.pool(self(images))

    def pool(self, maps: Sequence[Tensor]) -> Tensor:
        """What `forward` gave -> (N, sum of channels): every map averaged over the picture."""
        return torch.cat([m.float().mean(dim=(2, 3)) for m in maps], dim=1)

    def save(self, folder: Path) -> None:
        """Write `features.safetensors` (half precision) and `features.json`."""
        save_half(self, folder / WEIGHTS)
        (folder / RECORD).write_text(self.record.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote: float32, frozen, for evaluation. Raises on missing or unknown weights."""
        network = cls(FeatureRecord.model_validate_json((folder / RECORD).read_text()))
        return load_half(network, folder / WEIGHTS)


def _readout(inputs: int, hidden: int, outputs: int) -> nn.Module:
    if not hidden:
        return nn.Linear(inputs, outputs)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, outputs))


def _decode(columns: Tensor, readout: Readout) -> Tensor:
    """(N, classes) -> (N,)."""
    if readout.kind == "continuous":
        return columns[:, 0] * readout.std + readout.mean
    if readout.kind == "binary":
        return columns[:, 0].sigmoid()
    return columns.argmax(dim=1).float()


def readout_loss(output: Tensor, factors: Tensor, columns: Sequence[Column]) -> Tensor:
    """Mean over the read-outs: squared error in standard deviations, or cross entropy.

    output: (N, K); factors: (N, F) in the order of `columns` -> scalar.
    """
    losses = []
    for i, column in enumerate(columns):
        given, wanted, r = output[:, column.slice], factors[:, i], column.readout
        if r.kind == "continuous":
            losses.append(F.mse_loss(given[:, 0], (wanted - r.mean) / r.std))
        elif r.kind == "binary":
            losses.append(F.binary_cross_entropy_with_logits(given[:, 0], wanted))
        else:
            losses.append(F.cross_entropy(given, wanted.long()))
    return torch.stack(losses).mean()
