"""The parts network of the portraits world: which part of a portrait each pixel shows.

A small U-Net (Ronneberger et al., 2015). Cells of 2 x 2 pixels are folded into channels at the entrance and
unfolded at the exit, which costs a quarter of work at full size and loses nothing. It is trained in
`generative.training.parts` on part maps of the world, and used to cut regions out of pictures that no
renderer knows: samples, inversions, photographs of portraits.

Axis letters: N batch, C channels, H W pixels, K parts.
"""

from itertools import pairwise
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from generative.networks.half_files import load_half, save_half

WEIGHTS, RECORD = "parts.safetensors", "parts.json"


class PartsRecord(BaseModel):
    """What the weights do not say: everything in `parts.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resolution: int  # of the pictures it was trained on
    channels: tuple[int, ...] = (48, 96, 128, 128)  # from cells of 2 x 2 pixels on, each half as many
    parts: tuple[str, ...]  # names of the labels 0, 1, ...
    iou: dict[str, float] = {}  # by part, on unseen pictures
    pictures: int = 0  # distinct pictures that it was trained on
    seen: int = 0  # pictures in all steps of its training
    license: str = "Apache-2.0"

    @property
    def stride(self) -> int:
        """Sides of pictures must be multiples of this."""
        return 2 ** len(self.channels)

    @property
    def mean_iou(self) -> float:
        """Over the parts; nan where none was measured."""
        return sum(self.iou.values()) / len(self.iou) if self.iou else float("nan")


class PartsNetwork(nn.Module):
    """Pictures to part maps."""

    def __init__(self, record: PartsRecord) -> None:
        super().__init__()
        self.record = record
        sizes = record.channels
        self.down = nn.ModuleList(Stage(i, o) for i, o in pairwise((12, *sizes)))
        self.up = nn.ModuleList(Stage(deep + same, same) for same, deep in reversed(list(pairwise(sizes))))
        self.head = nn.Conv2d(sizes[0], 4 * len(record.parts), 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """images: (N, 3, H, W) in [-1, 1], H and W multiples of `record.stride` -> logits (N, K, H, W)."""
        x = F.pixel_unshuffle(images, 2)
        maps = []
        for i, stage in enumerate(self.down):
            x = stage(F.max_pool2d(x, 2) if i else x)
            maps.append(x)
        for stage, same in zip(self.up, maps[-2::-1], strict=True):
            x = stage(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), same], dim=1))
        return F.pixel_shuffle(self.head(x), 2)

    def label(self, images: Tensor) -> Tensor:
        """images: (N, 3, H, W) in [-1, 1], any size -> (N, H, W) uint8, an index into `record.parts`.

        Pictures of another size are judged at the size that the network knows, and the answer is scaled back:
        a part takes the same share of the picture at every size.
        """
        size, known = images.shape[-2:], (self.record.resolution, self.record.resolution)
        if size == known:
            return self(images).argmax(dim=1).to(torch.uint8)
        scaled = F.interpolate(images, known, mode="bilinear", align_corners=False, antialias=True)
        logits = F.interpolate(self(scaled).float(), size, mode="bilinear", align_corners=False)
        return logits.argmax(dim=1).to(torch.uint8)

    def mask(self, images: Tensor, *parts: str) -> Tensor:
        """images: (N, 3, H, W) -> (N, H, W) bool: where one of the named parts shows.

        Raises:
            ValueError: a name that is not a part.
        """
        unknown = sorted(set(parts) - set(self.record.parts))
        if unknown:
            raise ValueError(f"not parts: {unknown}; parts are {', '.join(self.record.parts)}")
        labels = torch.tensor([self.record.parts.index(part) for part in parts], device=images.device)
        return torch.isin(self.label(images), labels.to(torch.uint8))

    def save(self, folder: Path) -> None:
        """Write `parts.safetensors` (half precision) and `parts.json`."""
        save_half(self, folder / WEIGHTS)
        (folder / RECORD).write_text(self.record.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote: float32, frozen, for evaluation. Raises on missing or unknown weights."""
        network = cls(PartsRecord.model_validate_json((folder / RECORD).read_text()))
        return load_half(network, folder / WEIGHTS)


class Stage(nn.Module):
    """Two 3x3 convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm0 = nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) -> (N, O, H, W)."""
        x = F.relu(self.norm0(self.conv0(x)))
        return F.relu(self.norm1(self.conv1(x)))


def overlap(labels: Tensor, truth: Tensor, parts: int) -> Tensor:
    """Counts for the intersection over union of label maps of equal shape: (2, parts) int64.

    Row 0 is the pixels that both give to a part, row 1 those that either does. Counts of many batches add up.
    """
    pairs = torch.bincount(truth.flatten().long() * parts + labels.flatten().long(), minlength=parts * parts)
    table = pairs.reshape(parts, parts)
    both = table.diagonal()
    return torch.stack([both, table.sum(0) + table.sum(1) - both])
