"""How fast portraits are rendered: images and CPU seconds by size, on one thread, and on a GPU where one is.

    python bench/world.py [--seconds 5] [--grid docs/images/world.png]

Two processes on two cores give twice the number; more threads in one process give little, and on a busy
machine they cost. With --grid, also draws the picture of the world in the docs (4 x 10 portraits).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import cv2
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from generative.worlds.portraits import render, sample

AIMS = {64: 100, 128: 25, 256: None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each line (default 5)")
    parser.add_argument("--grid", type=Path, help="PNG to draw")
    args = parser.parse_args()
    torch.set_num_threads(1)
    row = "{:8}{:>6}{:>7}{:>10}{:>14}{:>15}"
    print(row.format("device", "size", "truth", "images/s", "CPU ms/image", "aim, images/s"))
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        for size, aim in AIMS.items():
            for truth in (False, True):
                wall, cpu = measure(device, size, truth, args.seconds)
                goal = aim if aim and not truth and device == "cpu" else "-"
                facts = "yes" if truth else "no"
                print(row.format(device, size, facts, f"{1 / wall:.0f}", f"{cpu * 1e3:.1f}", goal))
    if args.grid:
        draw(args.grid)


def measure(device: str, size: int, truth: bool, seconds: float) -> tuple[float, float]:
    """Wall and CPU seconds for one portrait of size x size pixels, 2 x 2 rays each."""
    batch = 32 if device == "cpu" else 512
    factors = sample(batch, torch.Generator().manual_seed(0)).to(device)
    render(factors[:8], size, truth=truth)
    done, start, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        render(factors, size, truth=truth).image[0, 0, 0, 0].item()
        done += batch
    return (time.perf_counter() - start) / done, (time.process_time() - cpu) / done


def draw(path: Path, rows: int = 4, columns: int = 10, size: int = 96) -> None:
    image = render(sample(rows * columns, torch.Generator().manual_seed(6)), size, supersample=3).image
    grid = (
        image.view(rows, columns, 3, size, size)
        .permute(0, 3, 1, 4, 2)
        .reshape(rows * size, columns * size, 3)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), to_bytes(grid.flip(-1)).numpy(), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def to_bytes(image: Tensor) -> Tensor:
    return (image * 127.5 + 127.5).round().clamp(0, 255).byte()


if __name__ == "__main__":
    main()
