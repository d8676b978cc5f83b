"""What a training of an encoder leaves behind to look at: `log.jsonl`, and `strip.png`, originals above what
their codes paint.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from generative.generator import StyleGenerator
from generative.training.encoder import EncoderProgress
from generative.training.grid import tile, write_png

COLUMNS = 8


class Journal:
    """One line and one strip every `every_s`."""

    def __init__(
        self, folder: Path, generator: StyleGenerator, pictures: Tensor, every_s: float = 60.0
    ) -> None:
        """pictures: (N, C, R, R), N a multiple of 8."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.generator, self.pictures, self.every_s = folder, generator, pictures, every_s
        self.last = time.monotonic()
        self.losses: list[Mapping[str, float]] = []

    def note(self, progress: EncoderProgress) -> None:
        """A callback of the training."""
        self.losses.append(progress.losses)
        if time.monotonic() - self.last < self.every_s:
            return
        means = {name: round(fmean(losses[name] for losses in self.losses), 5) for name in progress.losses}
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps({"images": progress.images, **means}) + "\n")
        write_png(self.folder / "strip.png", strip(self.generator, progress.average, self.pictures))
        self.last, self.losses = time.monotonic(), []


@torch.no_grad()
def strip(generator: StyleGenerator, encoder: torch.nn.Module, pictures: Tensor) -> Tensor:
    """(C, H, W): rows of 8 of the pictures (N, C, R, R), each above the row of what their codes paint."""
    device = generator.w_avg.device
    painted = generator.synthesize(encoder(pictures.to(device))).cpu()
    rows = zip(pictures.split(COLUMNS), painted.split(COLUMNS), strict=True)
    return tile(torch.cat([row for pair in rows for row in pair]), COLUMNS)
