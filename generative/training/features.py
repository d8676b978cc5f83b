"""Train the feature network: name the factors and rebuild the picture, both from the last feature map.

Naming alone would make the stages blind to colour and texture that no factor needs; rebuilding alone would
make them blind to small parts such as glasses. AdamW with one learning-rate cycle (Smith & Topin, 2018).
Half of the pictures are seen with small flaws and rebuilt without them: noise shall not be taken for a face.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.networks.feature_network import FeatureNetwork, FeatureRecord, Readout, readout_loss
from generative.training.dataset import Portraits
from generative.training.resumable import Resumable, Stateful
from generative.training.vary import vary
from generative.worlds.portraits import FACTORS


@dataclass(frozen=True)
class FeatureTraining:
    """Settings of one training; `epochs` counts pictures of the data set seen."""

    epochs: float = 8.0
    batch: int = 64
    channels: tuple[int, ...] = (32, 64, 96, 160)
    hidden: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    reconstruction: float = 1.0  # weight of the rebuilt picture against the factors
    bfloat16: bool = True
    device: str = "cpu"
    seed: int = 0
    checkpoint_every_s: float = 120.0


@dataclass(frozen=True)
class FeatureProgress:
    step: int
    steps: int
    reconstruction: float
    readout: float


class Decoder(nn.Module):
    """The last feature map back to the picture; thrown away after training."""

    def __init__(self, record: FeatureRecord) -> None:
        super().__init__()
        widths = list(record.channels[::-1])
        cells = (record.resolution >> len(widths)) ** 2
        self.mix = nn.Linear(widths[0] * cells, widths[0] * cells)
        pairs = zip(widths, [*widths[1:], widths[-1]], strict=True)
        self.stages = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in pairs)
        self.rgb = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, last: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 3, H, W)."""
        x = F.leaky_relu(self.mix(last.flatten(1)), 0.2).reshape(last.shape)
        for stage in self.stages:
            x = F.leaky_relu(stage(F.interpolate(x, scale_factor=2.0, mode="nearest")), 0.2)
        return self.rgb(x)


def train_features(
    portraits: Portraits,
    settings: FeatureTraining,
    callback: Callable[[FeatureProgress], None] | None = None,
    *,
    start: FeatureNetwork | None = None,
    checkpoint: Path | None = None,
) -> FeatureNetwork:
    """A feature network trained on `portraits`, with its scores on their held-out pictures in its record.

    Args:
        start: another network to begin with, with the channels of `settings`; its read-out counts only if it
            has as many hidden units.
        checkpoint: a file to resume from if it exists, and to write now and then; removed at the end.
    """
    trainer = _Trainer(portraits, settings)
    if start is not None:
        trainer.begin_with(start)
    file = trainer.fit(portraits, callback, checkpoint)
    network, decoder = trainer.network.eval(), trainer.decoder
    epochs = settings.epochs + (start.record.epochs if start is not None else 0)
    network.record = _scored(network, decoder, portraits).model_copy(
        update={"pictures": len(portraits), "epochs": epochs}
    )
    file.done()
    return network.requires_grad_(False).cpu()


class _Trainer:
    """Network, decoder and optimiser, and the steps that move them."""

    def __init__(self, portraits: Portraits, settings: FeatureTraining) -> None:
        self.settings = settings
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            self.network = FeatureNetwork(_record(portraits, settings))
            self.decoder = Decoder(self.network.record)
        for module in (self.network, self.decoder):
            module.to(settings.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        parameters = [*self.network.parameters(), *self.decoder.parameters()]
        self.steps = max(2, round(settings.epochs * len(portraits) / settings.batch))
        rate = settings.learning_rate
        self.optimizer = torch.optim.AdamW(parameters, rate, weight_decay=settings.weight_decay, fused=True)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, rate, self.steps)
        self.rng = torch.Generator().manual_seed(settings.seed)
        self.step = 0

    def begin_with(self, start: FeatureNetwork) -> None:
        self.network.stages.load_state_dict(start.stages.state_dict())
        if start.record.hidden == self.settings.hidden:
            self.network.readout.load_state_dict(start.readout.state_dict())

    def fit(
        self,
        portraits: Portraits,
        callback: Callable[[FeatureProgress], None] | None,
        checkpoint: Path | None,
    ) -> Resumable:
        """All steps; returns the file, which is still there until the result is safe."""
        parts: dict[str, Stateful] = {
            "network": self.network,
            "decoder": self.decoder,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }
        file = Resumable(checkpoint, self.settings.checkpoint_every_s, parts, {"rng": self.rng})
        self.step = file.resume()
        while self.step < self.steps:
            images, factors = portraits.batch(self.settings.batch, self.rng)
            seen = vary(images, self.rng)
            losses = self.train(*(x.to(self.settings.device) for x in (seen, images, factors)))
            self.step += 1
            file.keep(self.step)
            if callback is not None:
                callback(FeatureProgress(self.step, self.steps, *losses))
        return file

    def train(self, seen: Tensor, images: Tensor, factors: Tensor) -> tuple[float, float]:
        """One step: `images` and `factors` are told from `seen`, (N, 3, H, W). Returns their errors."""
        kind = images.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=self.settings.bfloat16):
            last = self.network(seen)[-1]
            rebuilt, output = self.decoder(last).float(), self.network.read(last).float()
        reconstruction = (rebuilt - images).abs().mean()
        readout = readout_loss(output, factors, self.network.columns)
        self.optimizer.zero_grad()
        (self.settings.reconstruction * reconstruction + readout).backward()
        self.optimizer.step()
        self.schedule.step()
        return reconstruction.item(), readout.item()


def _record(portraits: Portraits, settings: FeatureTraining) -> FeatureRecord:
    rows = torch.arange(portraits.held_out, portraits.held_out + min(len(portraits), 10_000))
    factors = portraits.rows(rows)[1]
    readouts = []
    for i, factor in enumerate(FACTORS):
        if factor.kind == "continuous":
            mean, std = factors[:, i].mean().item(), factors[:, i].std().item()
            readouts.append(Readout(name=factor.name, kind="continuous", mean=mean, std=std))
        else:
            classes = 1 if factor.kind == "binary" else len(factor.values)
            readouts.append(Readout(name=factor.name, kind=factor.kind, classes=classes))
    return FeatureRecord(
        resolution=portraits.resolution,
        channels=settings.channels,
        hidden=settings.hidden,
        readouts=tuple(readouts),
    )


@torch.no_grad()
def _scored(network: FeatureNetwork, decoder: Decoder, portraits: Portraits) -> FeatureRecord:
    """The record with R² and accuracies on the held-out pictures."""
    outputs, wanted, errors = [], [], []
    device = next(network.parameters()).device
    for images, factors in portraits.held_out_batches(250):
        images, factors = images.to(device), factors.to(device)
        last = network(images)[-1]
        outputs.append(network.read(last))
        errors.append((decoder(last) - images).abs().mean(dim=(1, 2, 3)))
        wanted.append(factors)
    output, factors = torch.cat(outputs), torch.cat(wanted)
    readouts = tuple(
        c.readout.model_copy(update={"score": _score(output[:, c.slice], factors[:, i], c.readout)})
        for i, c in enumerate(network.columns)
    )
    error = torch.cat(errors).mean().item()
    return network.record.model_copy(update={"readouts": readouts, "reconstruction": round(error, 4)})


def _score(output: Tensor, wanted: Tensor, readout: Readout) -> float:
    """R² of a continuous factor, accuracy of another. output: (N, classes), wanted: (N,)."""
    if readout.kind == "continuous":
        residual = (output[:, 0] * readout.std + readout.mean - wanted).square().mean()
        return round(1 - (residual / wanted.var(correction=0)).item(), 4)
    guess = (output[:, 0] > 0).float() if readout.kind == "binary" else output.argmax(dim=1).float()
    return round((guess == wanted).float().mean().item(), 4)
