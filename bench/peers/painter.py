"""What all of them serve: seeds to PNG files."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch

from generative.generator import StyleGenerator, sample_z
from generative.pixels import to_uint8
from generative.store import load_model
from workers.encode import png

ROOT = Path(__file__).parents[2]
PSI, MAX_BATCH, WAIT_S = 0.7, 32, 0.005


class Painter:
    def __init__(self) -> None:
        folder = Path(os.environ.get("GANSERVE_MODEL_REPO", ROOT / "model_repo")) / "portraits"
        self._generator = cast(StyleGenerator, load_model(folder)[0])

    @torch.inference_mode()
    def pixels(self, seeds: Sequence[int]) -> torch.Tensor:
        """(N, H, W, 3) uint8."""
        return to_uint8(self._generator(sample_z(seeds, self._generator), psi=PSI))

    def files(self, seeds: Sequence[int]) -> list[bytes]:
        return [png(picture, "") for picture in self.pixels(seeds).numpy()]
