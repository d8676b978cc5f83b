"""Bytes to pixels to image tensors, and back: the only place that decodes pictures.

Tensors are (N, C, H, W) float32 in [-1, 1]; pixels are uint8 arrays (N, H, W, 3) in RGB order.
"""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generative.pixels import from_uint8
from jobs.errors import BadImage, UnsupportedByModel

Pixels = NDArray[np.uint8]


def to_pixels(images: Tensor) -> Pixels:
    """(N, H, W, 1 or 3) uint8 -> (N, H, W, 3); grey becomes RGB."""
    if images.shape[3] not in (1, 3):
        raise UnsupportedByModel(f"pictures of {images.shape[3]} channels cannot be written; 1 or 3 can")
    pixels: Pixels = images.expand(-1, -1, -1, 3).contiguous().cpu().numpy()
    return pixels


def to_tensor(pixels: Pixels, channels: int = 3) -> Tensor:
    """(N, H, W, 3) -> (N, channels, H, W) in [-1, 1]; one channel is the mean of the three."""
    images = from_uint8(torch.from_numpy(pixels))
    return images if channels == 3 else images.mean(dim=1, keepdim=True)


def decode(data: bytes) -> Pixels:
    """A stored picture, which the gateway has checked and written anew -> (H, W, 3)."""
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if decoded is None:
        raise BadImage
    return decoded.astype(np.uint8, copy=False)


def fit_square(pixels: Pixels, side: int) -> Pixels:
    """Crop the middle square of (H, W, 3) and resize it to (side, side, 3)."""
    height, width = pixels.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    return scale(pixels[top : top + edge, left : left + edge], side, side)


def resize(pixels: Pixels, longer: int) -> Pixels:
    """(H, W, 3) with its longer side made `longer` pixels; the shape is kept to the nearest pixel."""
    height, width = pixels.shape[:2]
    ratio = longer / max(height, width)
    return scale(pixels, max(1, round(height * ratio)), max(1, round(width * ratio)))


def scale(pixels: Pixels, height: int, width: int) -> Pixels:
    """Area average to shrink, Lanczos to enlarge: neither aliases nor blurs."""
    if pixels.shape[:2] == (height, width):
        return pixels
    shrinks = height * width < pixels.shape[0] * pixels.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
    return cv2.resize(np.ascontiguousarray(pixels), (width, height), interpolation=how).astype(
        np.uint8, copy=False
    )
