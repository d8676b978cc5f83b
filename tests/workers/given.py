"""Pictures for the workers' tests."""

import io

import numpy as np
from PIL import Image

TENANT = "default"


def ramp(height: int = 16, width: int = 16) -> np.ndarray:
    """A smooth colourful picture (H, W, 3)."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, 255 - x * 255 // width], axis=-1).astype(np.uint8)


def pixels_of(body: bytes) -> np.ndarray:
    """A file as Pillow decodes it."""
    with Image.open(io.BytesIO(body)) as image:
        return np.asarray(image.convert("RGB"))
