"""What lies between the generator and the loss, so that inversion becomes restoration.

A picture x was degraded to an observation y = A(x). Inversion then looks for the latent whose picture,
degraded in the same way, is y; what A has taken away comes from the generator. A is pure, differentiable and
acts on each picture by itself. It may read constants of the picture, such as a mask: tensors with N first,
under the names that `needs` lists.

Where y still holds a part of the truth, the last step keeps it (`composite`) and leaves the rest to the
generator: the known pixels of an inpainting, the luminance of a colourisation (as Gu et al., 2020, take only
the chroma), the block means of a super-resolution (back-projection, Irani and Peleg, 1991, in one step).

Axis letters: N pictures, C channels, H W pixels, f factor.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from generative.batch import Tensors
from generative.inversion.jpeg import jpeg

LUMINANCE = (0.299, 0.587, 0.114)  # Rec. 601


class Degradation(Protocol):
    """Pictures are (N, C, H, W) in [-1, 1]."""

    needs: ClassVar[tuple[str, ...]]
    """Names of the constants that `__call__` and `composite` read."""

    def __call__(self, images: Tensor, constants: Tensors) -> Tensor:
        """What is compared with the observation. Differentiable."""
        ...

    def observe(self, images: Tensor, constants: Tensors) -> Tensor:
        """The observation of whole pictures, for studies with a known truth."""
        ...

    def composite(self, restored: Tensor, observed: Tensor, constants: Tensors) -> Tensor:
        """The restored picture (N, C, H, W), with what the observation knows for certain put back."""
        ...


@dataclass(frozen=True)
class Mask:
    """Inpainting. Constant `mask`: (N, 1, H, W) in [0, 1], 1 where the picture is known; the rest is 0, grey.

    feather: pixels over which the known part fades in, on its own side of the edge.
    """

    feather: int = 0
    needs: ClassVar[tuple[str, ...]] = ("mask",)

    def __post_init__(self) -> None:
        if self.feather < 0:
            raise ValueError(f"feather must be at least 0, got {self.feather}")

    def __call__(self, images: Tensor, constants: Tensors) -> Tensor:
        return images * constants["mask"].to(images)

    def observe(self, images: Tensor, constants: Tensors) -> Tensor:
        return self(images, constants)

    def composite(self, restored: Tensor, observed: Tensor, constants: Tensors) -> Tensor:
        mask = constants["mask"].to(restored)
        share = feathered(mask, self.feather)
        # observed holds the picture times the mask: what is known for certain stays as it is to the bit
        kept = torch.where(mask > 0, share / mask.clamp(min=1e-6), 0)
        return restored * (1 - share) + observed * kept


@dataclass(frozen=True)
class Gray:
    """Colourisation: the luminance (Rec. 601), in every channel, for a perceptual distance to look at."""

    needs: ClassVar[tuple[str, ...]] = ()

    def __call__(self, images: Tensor, constants: Tensors) -> Tensor:
        return luminance(images).expand_as(images)

    def observe(self, images: Tensor, constants: Tensors) -> Tensor:
        return self(images, constants)

    def composite(self, restored: Tensor, observed: Tensor, constants: Tensors) -> Tensor:
        """Chroma of the restored picture, paled where the luminance leaves no room for it."""
        known = luminance(observed)
        chroma = restored - luminance(restored)
        return known + chroma * room(known, chroma).amin(dim=1, keepdim=True)


@dataclass(frozen=True)
class Downsample:
    """Super-resolution. `mean`: over blocks of f by f pixels, as a sensor with larger pixels sees it.
    `bilinear`: what lies in the middle of the blocks, with aliasing, as genforce/mganprior has it at f = 16.
    """

    factor: int
    filter: Literal["mean", "bilinear"] = "mean"
    needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if not 2 <= self.factor <= 16:
            raise ValueError(f"factor must be from 2 to 16, got {self.factor}")

    def __call__(self, images: Tensor, constants: Tensors) -> Tensor:
        """(N, C, H, W) -> (N, C, H/f, W/f)."""
        if images.shape[2] % self.factor or images.shape[3] % self.factor:
            raise ValueError(f"{tuple(images.shape[2:])} pixels cannot be divided by {self.factor}")
        if self.filter == "mean":
            return F.avg_pool2d(images, self.factor)
        size = (images.shape[2] // self.factor, images.shape[3] // self.factor)
        return F.interpolate(images, size, mode="bilinear", align_corners=False)

    def observe(self, images: Tensor, constants: Tensors) -> Tensor:
        return self(images, constants)

    def composite(self, restored: Tensor, observed: Tensor, constants: Tensors) -> Tensor:
        """Back-projection: detail of the restored picture around what was observed, flattened in blocks
        that would leave the range. Down-sampled again, it is the observation.
        """
        known = self._enlarged(observed)
        detail = restored - self._enlarged(self(restored, constants))
        share = -F.max_pool2d(-room(known, detail), self.factor)
        return known + detail * self._enlarged(share)

    def _enlarged(self, blocks: Tensor) -> Tensor:
        return F.interpolate(blocks, scale_factor=float(self.factor))


@dataclass(frozen=True)
class Noise:
    """Denoising. Nothing lies between generator and loss: it is the target that is noisy.

    What restores is that the generator cannot paint noise, so everything depends on an early end: a stop rule
    or few steps, a latent regulariser, a small space (W before W+), and no noise maps as parameters.
    Constant `noise`, for `observe` alone: (N, C, H, W), standard normal.
    """

    sigma: float  # in units of [-1, 1]
    needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if not 0 < self.sigma <= 2:
            raise ValueError(f"sigma must be above 0 and at most 2, got {self.sigma}")

    def __call__(self, images: Tensor, constants: Tensors) -> Tensor:
        return images

    def observe(self, images: Tensor, constants: Tensors) -> Tensor:
        """Not clamped: the noise has mean 0 at white and black as well."""
        return images + self.sigma * constants["noise"].to(images)

    def composite(self, restored: Tensor, observed: Tensor, constants: Tensors) -> Tensor:
        return restored


@dataclass(frozen=True)
class Jpeg:
    """Artefact removal: written and read back as JPEG, see `generative.inversion.jpeg`."""

    quality: int
    subsampled: bool = True  # 4:2:0, else 4:4:4
    needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality must be from 1 to 100, got {self.quality}")

    def __call__(self, images: Tensor, constants: Tensors) -> Tensor:
        return jpeg(images, self.quality, subsampled=self.subsampled)

    def observe(self, images: Tensor, constants: Tensors) -> Tensor:
        return self(images, constants)

    def composite(self, restored: Tensor, observed: Tensor, constants: Tensors) -> Tensor:
        return restored


def luminance(images: Tensor) -> Tensor:
    """(N, 3 or 1, H, W) -> (N, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    return torch.einsum("c,nchw->nhw", images.new_tensor(LUMINANCE), images)[:, None]


def feathered(mask: Tensor, pixels: int) -> Tensor:
    """(N, 1, H, W) in [0, 1], 1 is known -> the same, or a ramp from 0 to 1 inside the known part.

    0 where the mask is 0, and 1 from `2 * pixels` inside its edge. Beyond the picture, as at its rim.
    """
    if pixels == 0:
        return mask
    side, around = 2 * pixels + 1, (pixels,) * 4
    inner = -F.max_pool2d(-F.pad(mask, around, mode="replicate"), side, stride=1)
    return F.avg_pool2d(F.pad(inner, around, mode="replicate"), side, stride=1)


def room(centre: Tensor, deviation: Tensor) -> Tensor:
    """The largest share, from 0 to 1, of a deviation that keeps centre + share * deviation in [-1, 1]."""
    space = torch.where(deviation > 0, 1 - centre, 1 + centre)
    return (space / deviation.abs().clamp(min=1e-12)).clamp(0, 1)
