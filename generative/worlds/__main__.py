"""`python -m generative.worlds render`: portraits of the built-in world as PNG files, with their truth."""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from generative.pixels import to_uint8
from generative.worlds.portraits import NAMES, PARTS, caption, render, sample

BATCH = 32  # portraits rendered at a time


def parser() -> argparse.ArgumentParser:
    outer = argparse.ArgumentParser(prog="ganserve world", description="The built-in world of toy portraits.")
    commands = outer.add_subparsers(dest="command", required=True)
    one = commands.add_parser("render", help="write portraits and the truth about them")
    one.add_argument("--n", type=int, default=1, help="how many portraits")
    one.add_argument("--seed", type=int, default=0, help="the same seed draws the same people")
    one.add_argument("--size", type=int, default=64, help="pixels of a side")
    one.add_argument("--independent", action="store_true", help="draw all factors independently")
    one.add_argument("--out", type=Path, required=True, help="a .png file for one portrait, else a folder")
    return outer


def main() -> None:
    arguments = parser().parse_args()
    torch.set_num_threads(1)  # small tensors: more threads only wait for one another
    rng = torch.Generator().manual_seed(arguments.seed)
    factors = sample(arguments.n, rng, independent=arguments.independent)
    if arguments.out.suffix == ".png":
        if arguments.n != 1:
            raise SystemExit("a .png file holds one portrait: name a folder for more")
        write_image(arguments.out, render(factors, arguments.size).image[0])
    else:
        write_folder(arguments.out, factors, arguments.size, arguments.seed)


def write_folder(folder: Path, factors: Tensor, size: int, seed: int) -> None:
    """`00000.png` and `00000_parts.png` (labels) for each portrait, and `truth.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    for start in track(range(0, len(factors), BATCH), "Rendering"):
        picture = render(factors[start : start + BATCH], size, truth=True)
        assert picture.parts is not None
        for i, (image, parts) in enumerate(zip(picture.image, picture.parts, strict=True), start):
            write_image(folder / f"{i:05d}.png", image)
            _write(folder / f"{i:05d}_parts.png", parts.numpy())
    people = [
        {"factors": dict(zip(NAMES, row, strict=True)), "caption": words}
        for row, words in zip(factors.tolist(), caption(factors, seed), strict=True)
    ]
    (folder / "truth.json").write_text(json.dumps({"parts": PARTS, "portraits": people}, indent=1))


def write_image(path: Path, image: Tensor) -> None:
    """image: (3, H, W) in [-1, 1]."""
    _write(path, to_uint8(image[None])[0].numpy()[..., ::-1])


def _write(path: Path, pixels: np.ndarray) -> None:
    if not cv2.imwrite(str(path), pixels):
        raise SystemExit(f"cannot write {path}")


if __name__ == "__main__":
    main()
