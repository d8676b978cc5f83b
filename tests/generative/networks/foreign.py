"""Weights that can be made again anywhere, and what other implementations computed with them.

`foreign.npz` was written once, on a CPU in float32, from weights by `recipe`:

* `inception` (2, 2048): `pytorch_fid.inception.InceptionV3([3])` of pytorch-fid 0.3.0, torchvision 0.29;
* `clip` (2, 24): `open_clip.transformer.VisionTransformer` of open_clip_torch 3.3.0, with image_size 32,
  patch_size 8, width 128, 3 layers, 2 heads, output_dim 24, QuickGELU.

Inputs are numpy's `default_rng(0)`: first `random((2, 3, 40, 40))`, then `random((2, 3, 32, 32))`, in [0, 1].
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

STORED = Path(__file__).with_name("foreign.npz")


def recipe(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Random weights of a sensible size, each from its own name."""
    return {name: torch.from_numpy(np.asarray(_weight(name, shape))) for name, shape in shapes.items()}


def _weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    x = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, dtype=np.float32)
    if name.endswith("running_var"):
        return 1 + 0.1 * np.abs(x)
    if len(shape) == 4:
        return x * np.float32((2 / np.prod(shape[1:])) ** 0.5)
    if len(shape) == 2:
        return x * np.float32(shape[-1] ** -0.5)
    return 1 + 0.1 * x if name.endswith("weight") else 0.1 * x


def checksum(state: Mapping[str, torch.Tensor]) -> int:
    """Of all names and shapes, sorted by name."""
    return zlib.crc32(json.dumps([[name, list(state[name].shape)] for name in sorted(state)]).encode())


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    """Both in [-1, 1]."""
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 3, 40, 40), dtype=np.float32), rng.random((2, 3, 32, 32), dtype=np.float32)
    return torch.from_numpy(first) * 2 - 1, torch.from_numpy(second) * 2 - 1
