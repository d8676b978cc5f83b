"""How fast portraits are rendered: images and CPU seconds by size, on one thread, and on a GPU where one is.

    python -m bench.world [--seconds 5]

Two processes on two cores give twice the number; more threads in one process give little, and on a busy
machine they cost.
"""

from __future__ import annotations

import argparse
import time

import torch

from generative.worlds.portraits import render, sample

AIMS = {64: 100, 128: 25, 256: None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each line (default 5)")
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


if __name__ == "__main__":
    main()
