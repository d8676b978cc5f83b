"""The picture of the world in the docs: portraits, the truth about some, and one head under exact control."""

import math

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from generative.pixels import to_uint8
from generative.worlds.palettes import PART_COLORS
from generative.worlds.portraits import Camera, Rendered, render, replace, sample

SIDE, ACROSS, GAP, CAPTION = 96, 10, 4, 26
INK, PAPER = (60, 64, 72), (255, 255, 255)
NEAR, FAR = 3.4, 4.6  # depths at the ends of the colour map
SWEEPS = {"smile": (-1, 1), "age": (0, 1), "hair_length": (0, 1), "light_azimuth": (-1.1, 1.1)}

Row = list[np.ndarray]  # ACROSS pictures (SIDE, SIDE, 3) uint8


def plate(seed: int) -> np.ndarray:
    """(H, W, 3) uint8, RGB."""
    people = sample(4 * ACROSS, torch.Generator().manual_seed(seed))
    grid = _images(_draw(people))
    truth = _draw(people[:ACROSS])
    sections = [
        ("Drawn at random, with factors correlated as in people", _rows(grid[ACROSS:])),
        ("The truth: parts, normals, depth", [grid[:ACROSS], *_truth(truth)]),
        ("One head from exact cameras: a full turn", _turn(people[2:3])),
        (
            "One factor at a time: " + ", ".join(name.replace("_", " ") for name in SWEEPS),
            _sweeps(people[6:7]),
        ),
    ]
    return _laid_out(sections)


def _draw(factors: Tensor, camera: Camera | None = None) -> Rendered:
    return render(factors, SIDE, supersample=3, camera=camera, truth=True)


def _images(drawn: Rendered) -> Row:
    return list(to_uint8(drawn.image).numpy())


def _rows(pictures: Row) -> list[Row]:
    return [pictures[i : i + ACROSS] for i in range(0, len(pictures), ACROSS)]


def _truth(drawn: Rendered) -> list[Row]:
    assert drawn.parts is not None and drawn.normals is not None and drawn.depth is not None
    palette = np.array(list(PART_COLORS.values()), dtype=np.uint8)
    near = ((FAR - drawn.depth[:, 0]) * (255 / (FAR - NEAR))).clamp(0, 255).byte().numpy()
    colors = [cv2.applyColorMap(picture, cv2.COLORMAP_MAGMA)[..., ::-1] for picture in near]
    return [list(palette[drawn.parts.numpy()]), list(to_uint8(drawn.normals).numpy()), colors]


def _turn(person: Tensor) -> list[Row]:
    cameras = [Camera(yaw=2 * math.pi * i / ACROSS) for i in range(ACROSS)]
    shown = [_shown(_draw(replace(person, yaw=0.0), camera)) for camera in cameras]
    return [[view[0] for view in kind] for kind in zip(*shown, strict=True)]


def _shown(view: Rendered) -> list[Row]:
    """The picture and the part map of one view."""
    return [_images(view), _truth(view)[0]]


def _sweeps(person: Tensor) -> list[Row]:
    many = replace(person.expand(ACROSS, -1), beard=0.0, hat=0.0, yaw=0.0)
    sweeps = [replace(many, **{name: torch.linspace(*ends, ACROSS)}) for name, ends in SWEEPS.items()]
    return [_images(_draw(people)) for people in sweeps]


def _laid_out(sections: list[tuple[str, list[Row]]]) -> np.ndarray:
    step = SIDE + GAP
    height = sum(CAPTION + step * len(rows) for _, rows in sections) + GAP
    paper = Image.new("RGB", (step * ACROSS + GAP, height), PAPER)
    pen, font, top = ImageDraw.Draw(paper), ImageFont.load_default(14), 0
    for caption, rows in sections:
        pen.text((GAP + 2, top + CAPTION - 5), caption, INK, font, anchor="ls")
        top += CAPTION
        for row in rows:
            for i, picture in enumerate(row):
                paper.paste(Image.fromarray(np.ascontiguousarray(picture)), (GAP + i * step, top))
            top += step
    return np.asarray(paper)
