"""Train the feature network: name the factors and rebuild the picture, both from the last feature map.

Naming alone would make the stages blind to colour and texture that no factor needs; rebuilding alone would
make them blind to small parts such as glasses. AdamW with one learning-rate cycle (Smith & Topin, 2018).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.networks.feature_network import FeatureNetwork, FeatureRecord, Readout, readout_loss
from generative.training.dataset import Portraits
from generative.worlds.portraits import FACTORS


@dataclass(frozen=True)
class FeatureTraining:
    """Settings of one training; `epochs` counts pictures of the data set seen."""

    epochs: float = 8.0
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    reconstruction: float = 3.0  # weight of the rebuilt picture against the factors
    bfloat16: bool = True
    seed: int = 0


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
) -> FeatureNetwork:
    """A feature network trained on `portraits`, with its scores on their held-out pictures in its record."""
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        network = FeatureNetwork(_record(portraits))
        decoder = Decoder(network.record)
    for module in (network, decoder):
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _fit(network, decoder, portraits, settings, callback)
    network.eval()
    network.record = _scored(network, decoder, portraits).model_copy(
        update={"pictures": len(portraits), "epochs": settings.epochs}
    )
    return network.requires_grad_(False)


def _record(portraits: Portraits) -> FeatureRecord:
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
    return FeatureRecord(resolution=portraits.resolution, readouts=tuple(readouts))


def _fit(
    network: FeatureNetwork,
    decoder: Decoder,
    portraits: Portraits,
    settings: FeatureTraining,
    callback: Callable[[FeatureProgress], None] | None,
) -> None:
    rng = torch.Generator().manual_seed(settings.seed)
    steps = max(2, round(settings.epochs * len(portraits) / settings.batch))
    parameters = [*network.parameters(), *decoder.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, steps)
    for step in range(steps):
        images, factors = portraits.batch(settings.batch, rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
            last = network(images)[-1]
            rebuilt, output = decoder(last).float(), network.read(last).float()
        reconstruction = (rebuilt - images).abs().mean()
        readout = readout_loss(output, factors, network.columns)
        optimizer.zero_grad()
        (settings.reconstruction * reconstruction + readout).backward()
        optimizer.step()
        schedule.step()
        if callback is not None:
            callback(FeatureProgress(step + 1, steps, reconstruction.item(), readout.item()))


@torch.no_grad()
def _scored(network: FeatureNetwork, decoder: Decoder, portraits: Portraits) -> FeatureRecord:
    """The record with R² and accuracies on the held-out pictures."""
    outputs, wanted, errors = [], [], []
    for images, factors in portraits.held_out_batches(250):
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
