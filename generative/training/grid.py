"""Pictures of what a generator paints: a grid of fixed samples, their part maps, and a walk through W."""

import io
from itertools import pairwise
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from generative.generator import Generator, sample_z
from generative.networks import stylegan2
from generative.networks.parts_network import PartsNetwork
from generative.pixels import from_uint8, to_uint8
from generative.spaces import broadcast, truncate
from generative.worlds.palettes import PART_COLORS

ROWS, COLUMNS = 4, 8


@torch.no_grad()
def sample_grid(generator: Generator, psi: float = 0.7, seed: int = 0, rows: int = ROWS) -> Tensor:
    """(3, rows * H, COLUMNS * W): pictures of the seeds from `seed` on."""
    device = next(generator.parameters()).device
    z = sample_z(range(seed, seed + rows * COLUMNS), generator).to(device)
    return tile(generator(z, psi=psi).cpu(), COLUMNS)


@torch.no_grad()
def walk(generator: stylegan2.Generator, seeds: tuple[int, ...], steps: int, psi: float = 0.7) -> Tensor:
    """(3, rows * H, steps * W): a row from each seed to the next, straight through W."""
    w = truncate(generator.map(sample_z(seeds, generator)), generator.mapping.w_avg, psi)
    t = torch.linspace(0, 1, steps)[:, None]
    ws = torch.cat([a.lerp(b, t) for a, b in pairwise(w)])
    return tile(generator.synthesize(broadcast(ws, generator.num_ws)), steps)


@torch.no_grad()
def parts_grid(generator: Generator, network: PartsNetwork, psi: float = 1.0, seed: int = 0) -> Tensor:
    """(3, 2 * ROWS * H, COLUMNS * W): rows of samples, each above the row of their part maps in colours."""
    z = sample_z(range(seed, seed + ROWS * COLUMNS), generator)
    images = generator(z, psi=psi).clamp(-1, 1)
    colors = torch.tensor(list(PART_COLORS.values()), dtype=torch.uint8)
    maps = from_uint8(colors[network.label(images).long()])
    rows = zip(images.split(COLUMNS), maps.split(COLUMNS), strict=True)
    return tile(torch.cat([row for pair in rows for row in pair]), COLUMNS)


def tile(images: Tensor, columns: int) -> Tensor:
    """(N, C, H, W) -> (C, N / columns * H, columns * W), row by row."""
    N, C, H, W = images.shape
    rows = images.reshape(N // columns, columns, C, H, W)
    return rows.permute(2, 0, 3, 1, 4).reshape(C, N // columns * H, columns * W)


def write_png(path: Path, image: Tensor, scale: int = 1) -> None:
    """image: (3, H, W) in [-1, 1], clamped; every pixel becomes `scale` x `scale`."""
    picture = Image.fromarray(to_uint8(image[None])[0].contiguous().numpy())
    size = (picture.width * scale, picture.height * scale)
    encoded = io.BytesIO()
    picture.resize(size, Image.Resampling.NEAREST).save(encoded, "PNG", optimize=True)
    path.write_bytes(encoded.getvalue())
