"""Train the parts network on the world's own part maps.

Cross entropy counts pixels; a soft intersection over union (Rahman & Wang, 2016) counts parts, so that the
ten pixels of an earring weigh as much as the background. Half of the pictures are softened, tinted or made
noisy: a generator's edges are not a renderer's. AdamW with one learning-rate cycle (Smith & Topin, 2018).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from generative.networks.parts_network import PartsNetwork, PartsRecord, overlap
from generative.training.dataset import Portraits
from generative.training.part_maps import PartMaps
from generative.training.resumable import Resumable, Stateful
from generative.training.vary import vary
from generative.worlds.portraits import PARTS


@dataclass(frozen=True)
class PartsTraining:
    """Settings of one training; `images` counts pictures of all steps."""

    images: int = 200_000
    batch: int = 32
    channels: tuple[int, ...] = (48, 96, 128, 128)
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    bfloat16: bool = True
    device: str = "cpu"
    seed: int = 0
    checkpoint_every_s: float = 120.0


@dataclass(frozen=True)
class PartsProgress:
    images: int
    total: int
    loss: float
    accuracy: float  # share of pixels of the last batch


def train_parts(
    portraits: Portraits,
    maps: PartMaps,
    settings: PartsTraining,
    callback: Callable[[PartsProgress], None] | None = None,
    checkpoint: Path | None = None,
) -> PartsNetwork:
    """A parts network, with its scores on the held-out pictures of `portraits` in its record.

    Args:
        maps: of the held-out pictures, and of as many others as shall be learnt from.
        checkpoint: a file to resume from if it exists, and to write now and then; removed at the end.
    """
    trainer = _Trainer(portraits, maps, settings)
    file = trainer.fit(callback, checkpoint)
    network = trainer.network.eval()
    network.record = network.record.model_copy(
        update={"iou": measure(network, portraits, maps), "pictures": trainer.count, "seen": trainer.images}
    )
    file.done()
    return network.requires_grad_(False).cpu()


class _Trainer:
    """Network and optimiser, and the steps that move them."""

    def __init__(self, portraits: Portraits, maps: PartMaps, settings: PartsTraining) -> None:
        self.portraits, self.maps, self.settings = portraits, maps, settings
        self.count = len(maps) - portraits.held_out
        if self.count < 1:
            raise ValueError(f"{len(maps)} maps, of which {portraits.held_out} are of held-out pictures")
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            record = PartsRecord(resolution=portraits.resolution, channels=settings.channels, parts=PARTS)
            self.network = PartsNetwork(record)
        self.network.to(settings.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        rate, self.steps = settings.learning_rate, max(2, round(settings.images / settings.batch))
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), rate, weight_decay=settings.weight_decay, fused=True
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, rate, self.steps)
        self.rng = torch.Generator().manual_seed(settings.seed)
        self.step = 0

    @property
    def images(self) -> int:
        return self.step * self.settings.batch

    def fit(self, callback: Callable[[PartsProgress], None] | None, checkpoint: Path | None) -> Resumable:
        """All steps; returns the file, which is still there until the result is safe."""
        parts: dict[str, Stateful] = {
            "network": self.network,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }
        file = Resumable(checkpoint, self.settings.checkpoint_every_s, parts, {"rng": self.rng})
        self.step = file.resume()
        while self.step < self.steps:
            images, labels = self.batch()
            loss, accuracy = self.train(images.to(self.settings.device), labels.to(self.settings.device))
            self.step += 1
            file.keep(self.step)
            if callback is not None:
                total = self.steps * self.settings.batch
                callback(PartsProgress(self.images, total, loss, accuracy))
        return file

    def batch(self) -> tuple[Tensor, Tensor]:
        """Varied pictures (n, 3, H, W) and their labels (n, H, W) int64."""
        rows = torch.randint(self.count, (self.settings.batch,), generator=self.rng) + self.portraits.held_out
        images, labels = mirror(self.portraits.rows(rows)[0], self.maps.rows(rows).long(), self.rng)
        return vary(images, self.rng), labels

    def train(self, images: Tensor, labels: Tensor) -> tuple[float, float]:
        """One step; returns the loss, and the share of pixels that were right."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.settings.bfloat16):
            logits = self.network(images)
        loss = parts_loss(logits.float(), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return loss.item(), (logits.argmax(dim=1) == labels).float().mean().item()


def parts_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy plus one minus the soft intersection over union, mean over parts that are there.

    logits: (N, K, H, W), labels: (N, H, W) int64 -> scalar.
    """
    shares = logits.softmax(dim=1)
    truth = F.one_hot(labels, logits.shape[1]).permute(0, 3, 1, 2)
    both = (shares * truth).sum(dim=(0, 2, 3))
    actual = truth.sum(dim=(0, 2, 3))
    either = shares.sum(dim=(0, 2, 3)) + actual - both
    there = actual > 0
    return F.cross_entropy(logits, labels) + 1 - (both[there] / either[there]).mean()


def mirror(images: Tensor, labels: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Half of the pictures (N, 3, H, W) and maps (N, H, W) left to right; the eyes change their names."""
    chosen = torch.rand(len(images), generator=rng) < 0.5
    names = list(range(len(PARTS)))
    left, right = PARTS.index("left eye"), PARTS.index("right eye")
    names[left], names[right] = right, left
    renamed = torch.tensor(names)[labels.flip(2)]
    return (
        torch.where(chosen[:, None, None, None], images.flip(3), images),
        torch.where(chosen[:, None, None], renamed, labels),
    )


@torch.no_grad()
def measure(network: PartsNetwork, portraits: Portraits, maps: PartMaps) -> dict[str, float]:
    """Intersection over union by part, over all pixels of the held-out pictures."""
    device = network.head.weight.device
    counts = torch.zeros(2, len(PARTS), dtype=torch.int64)
    for index in torch.arange(portraits.held_out).split(100):
        labels = network.label(portraits.rows(index)[0].to(device)).cpu()
        counts += overlap(labels, maps.rows(index), len(PARTS))
    both, either = counts.tolist()
    return {part: round(b / e, 4) for part, b, e in zip(PARTS, both, either, strict=True) if e}
