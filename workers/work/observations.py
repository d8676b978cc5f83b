"""What an inversion compares with: uploaded pictures, and what a request says has become of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from generative.inversion import degradations
from generative.inversion.alignment import Frame, cut, ffhq_frame_of_landmarks, paste
from generative.inversion.degradations import Degradation
from generative.inversion.portrait_alignment import find_portrait
from generative.pixels import to_uint8
from jobs.errors import JobFailed, NotFound, UnknownImage, UnsupportedByModel
from jobs.inversion import (
    DownsampleDegradation,
    GrayDegradation,
    Inversion,
    JpegDegradation,
    MaskDegradation,
)
from workers.images import Pixels, decode, fit_square, to_pixels, to_tensor
from workers.job import RunningJob
from workers.models import LoadedModel

BRIGHT = 128  # of a mask: from here on a pixel is missing


@dataclass(frozen=True)
class Uploads:
    """N uploaded pictures, and where in them lies what is inverted."""

    squares: Pixels  # (N, h, w, 3)
    whole: tuple[Pixels, ...]  # as they were uploaded, of any size
    frames: tuple[Frame, ...]  # of the squares; empty for middle squares


@dataclass(frozen=True)
class Observation:
    """N pictures, as far as they are known."""

    originals: Pixels  # (N, h, w, 3), as they were given
    images: Tensor  # (N, C, h, w) in [-1, 1], what pictures of the generator are compared with
    degradation: Degradation | None
    constants: dict[str, Tensor]  # what the degradation needs, (N, ...) each

    def of(self, painted: Pixels) -> Pixels:
        """Pictures (N, H, W, 3), degraded as the originals were -> (N, h, w, 3)."""
        if self.degradation is None:
            return painted
        return _pixels(self.degradation(to_tensor(painted, self.images.shape[1]), self.constants))

    def completed(self, painted: Pixels) -> Pixels:
        """Pictures (N, H, W, 3) with what is known for certain put back."""
        if self.degradation is None:
            return painted
        images = to_tensor(painted, self.images.shape[1])
        return _pixels(self.degradation.composite(images, self.images, self.constants))


def read_images(job: RunningJob[Any], model: LoadedModel, ids: Sequence[str], how: Inversion) -> Uploads:
    """Uploaded pictures, and their squares in the size that the inversion compares.

    Raises UnknownImage, UnsupportedByModel, and JobFailed `no_face` or `missing_weights`.
    """
    side = model.generator.img_resolution
    if isinstance(how.degradation, DownsampleDegradation):
        side //= how.degradation.factor
    whole = tuple(decode(read_image(job, id)) for id in ids)
    if how.align == "none":
        return Uploads(np.stack([fit_square(pixels, side) for pixels in whole]), whole, ())
    frames = tuple(_frame(job, model, how, pixels, i) for i, pixels in enumerate(whole))
    images = [to_tensor(pixels[None])[0] for pixels in whole]
    cuts = torch.stack([cut(image, frame, side) for image, frame in zip(images, frames, strict=True)])
    return Uploads(_pixels(cuts), whole, frames)


def _frame(job: RunningJob[Any], model: LoadedModel, how: Inversion, pixels: Pixels, i: int) -> Frame:
    """Where the face of picture i, (H, W, 3), lies in it."""
    try:
        if how.landmarks is not None:
            return ffhq_frame_of_landmarks(np.array(how.landmarks[i]))
        if how.align == "ffhq":
            return job.context.faces.frame(pixels)
        if model.parts is None:
            raise UnsupportedByModel(
                "there is no network that finds faces for this model; take the alignment ffhq, with landmarks"
                " or the operator's detector"
            )
        with torch.no_grad():
            return find_portrait(to_tensor(pixels[None])[0], model.parts)
    except ValueError as error:
        raise JobFailed(f"picture {i}: {error}", code="no_face") from error


def put_back(uploads: Uploads, i: int, square: Pixels) -> Pixels:
    """Upload i with a square (H, W, 3) in the place where its own was cut out."""
    image, new = (to_tensor(pixels[None])[0] for pixels in (uploads.whole[i], square))
    return _pixels(paste(image, new, uploads.frames[i])[None])[0]


def observe(job: RunningJob[Any], model: LoadedModel, how: Inversion, originals: Pixels) -> Observation:
    """originals: (N, h, w, 3), of `read_images`. Raises UnknownImage for a mask that is not there."""
    degradation, constants = _degradation(job, model, how, len(originals))
    images = to_tensor(originals, model.generator.img_channels)
    if degradation is not None and not isinstance(degradation, degradations.Downsample | degradations.Jpeg):
        images = degradation.observe(images, constants)
    return Observation(originals, images, degradation, constants)


def _degradation(
    job: RunningJob[Any], model: LoadedModel, how: Inversion, N: int
) -> tuple[Degradation | None, dict[str, Tensor]]:
    """And its constants. Noise is none: what the generator cannot paint is left out by itself."""
    match how.degradation:
        case MaskDegradation(image=image, feather=feather):
            missing = fit_square(decode(read_image(job, image)), model.generator.img_resolution)[..., 0]
            known = torch.from_numpy((missing < BRIGHT).astype(np.float32))
            return degradations.Mask(feather), {"mask": known.expand(N, 1, -1, -1)}
        case GrayDegradation():
            return degradations.Gray(), {}
        case DownsampleDegradation(factor=factor, filter=filter):
            return degradations.Downsample(factor, filter), {}
        case JpegDegradation(quality=quality, subsampled=subsampled):
            return degradations.Jpeg(quality, subsampled), {}
    return None, {}


def read_image(job: RunningJob[Any], id: str) -> bytes:
    try:
        return job.context.blobs.read(job.context.store.get_image(job.tenant, id).key)
    except NotFound as error:
        raise UnknownImage(f"there is no image {id}") from error


def _pixels(images: Tensor) -> Pixels:
    """(N, C, h, w) -> (N, h, w, 3)."""
    return to_pixels(to_uint8(images))
