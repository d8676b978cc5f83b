"""Pictures and their truth as PNG files.

image    8-bit RGB
parts    indexed: the index is the label, and the palette (`PART_COLORS`) makes it a picture
depth    16-bit grey, `DEPTH_UNIT` to a step, so that the backdrop is 60,000
normals  16-bit RGB, (n + 1) / 2 of full range: x right, y up, z to the viewer
"""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from torch import Tensor

from generative.pixels import to_uint8
from generative.worlds.palettes import PART_COLORS

DEPTH_UNIT = 1e-4  # world units


def write_image(path: Path, image: Tensor) -> None:
    """image: (3, H, W) in [-1, 1]."""
    write_pixels(path, to_uint8(image[None])[0].numpy())


def write_parts(path: Path, labels: Tensor) -> None:
    """labels: (H, W) uint8."""
    picture = Image.fromarray(labels.numpy())
    picture.putpalette([byte for color in PART_COLORS.values() for byte in color])
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    path.write_bytes(encoded.getvalue())


def write_depth(path: Path, depth: Tensor) -> None:
    """depth: (1, H, W), world units."""
    write_pixels(path, (depth[0] / DEPTH_UNIT).round().numpy().astype(np.uint16))


def write_normals(path: Path, normals: Tensor) -> None:
    """normals: (3, H, W), unit vectors."""
    steps = (normals.permute(1, 2, 0) + 1) * (65_535 / 2)
    write_pixels(path, steps.round().numpy().astype(np.uint16))


def read_depth(path: Path) -> np.ndarray:
    """(H, W) float32, world units."""
    return _read(path).astype(np.float32) * np.float32(DEPTH_UNIT)


def read_normals(path: Path) -> np.ndarray:
    """(H, W, 3) float32, unit vectors but for the rounding."""
    return _read(path).astype(np.float32) * np.float32(2 / 65_535) - 1


def read_pixels(path: Path) -> np.ndarray:
    """(H, W, 3) uint8, RGB."""
    return _read(path)


def write_pixels(path: Path, pixels: np.ndarray) -> None:
    """pixels: (H, W) or (H, W, 3) RGB, uint8 or uint16. Raises `OSError` if it cannot be written."""
    if not cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels):
        raise OSError(f"cannot write {path}")


def _read(path: Path) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise OSError(f"cannot read {path}")
    return pixels[..., ::-1] if pixels.ndim == 3 else pixels
