"""What restoration must beat: classical methods, each with the observations of a degradation as its input.

Axis letters: N pictures, C channels, H W pixels. Pictures are in [-1, 1].
"""

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from generative.inversion.degradations import Gray
from generative.pixels import from_uint8, to_uint8

FILLINGS = {"telea": cv2.INPAINT_TELEA, "navier-stokes": cv2.INPAINT_NS}
RADIUS = 3  # pixels around each unknown one that OpenCV's inpainting looks at


def bicubic(observed: Tensor, factor: int) -> Tensor:
    """(N, C, H, W) -> (N, C, f H, f W)."""
    larger = F.interpolate(observed, scale_factor=float(factor), mode="bicubic", align_corners=False)
    return larger.clamp(-1, 1)


def mean_colour(observed: Tensor, mask: Tensor) -> Tensor:
    """The hole in the mean colour of what is known. mask: (N, 1, H, W) of 0 and 1, 1 is known."""
    known = (observed * mask).sum(dim=(2, 3), keepdim=True)
    mean = known / mask.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    return torch.where(mask > 0, observed, mean)


def inpainted(observed: Tensor, mask: Tensor, method: Literal["telea", "navier-stokes"]) -> Tensor:
    """OpenCV: fast marching (Telea, 2004), or fluid dynamics (Bertalmio et al., 2001)."""
    holes = (mask[:, 0] == 0).to(torch.uint8).cpu().numpy()
    each = iter(holes)
    filled = _on_bytes(observed, lambda picture: cv2.inpaint(picture, next(each), RADIUS, FILLINGS[method]))
    return torch.where(mask > 0, observed, filled)


def mean_chroma(observed: Tensor, examples: Tensor) -> Tensor:
    """Every pixel in the mean colour of the examples (M, 3, H, W), at its own luminance."""
    mean = examples.mean(dim=(0, 2, 3), keepdim=True).expand_as(observed)
    return Gray().composite(mean, observed, {})


def non_local_means(observed: Tensor, sigma: float) -> Tensor:
    """OpenCV's (Buades et al., 2005). sigma: of the noise, in units of [-1, 1].

    Patches of 3 in windows of 11 pixels: of the sizes that were tried, the best for pictures of 64 pixels.
    """
    h = float(127.5 * sigma)
    return _on_bytes(observed, lambda picture: cv2.fastNlMeansDenoising(picture, None, h, 3, 11))


def bilateral(observed: Tensor, sigma: float) -> Tensor:
    """OpenCV's bilateral filter over 3 pixels, with four times the noise as the range of its colours."""
    return _on_bytes(observed, lambda picture: cv2.bilateralFilter(picture, -1, 4 * 127.5 * sigma, 3))


def _on_bytes(images: Tensor, change: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """A function of (H, W, 3) uint8 in OpenCV's order of colours, applied to (N, 3, H, W)."""
    pictures = to_uint8(images).flip(-1).contiguous().cpu().numpy()
    changed = np.stack([change(picture) for picture in pictures])
    return from_uint8(torch.from_numpy(changed).flip(-1)).to(images)
