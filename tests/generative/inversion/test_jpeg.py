"""Our JPEG against the pictures that OpenCV and Pillow read back from their files: they are equal."""

import io

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from generative.inversion.degradations import luminance
from generative.inversion.jpeg import jpeg
from generative.pixels import to_uint8


def through_opencv(picture: np.ndarray, quality: int, subsampled: bool) -> np.ndarray:
    """(H, W, 3 or 1) uint8, there and back."""
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if subsampled else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    _, stream = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), flags)
    read = np.asarray(cv2.imdecode(stream, cv2.IMREAD_UNCHANGED))
    return read.reshape(picture.shape)[..., ::-1]


def through_pillow(picture: np.ndarray, quality: int, subsampled: bool) -> np.ndarray:
    file = io.BytesIO()
    image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
    image.save(file, "JPEG", quality=quality, **({"subsampling": 2 if subsampled else 0}))
    return np.asarray(Image.open(file)).reshape(picture.shape)


def pictures(channels: int, H: int, W: int) -> Tensor:
    """A smooth one, and noise."""
    rng = torch.Generator().manual_seed(H * W)
    small = torch.rand(1, channels, 5, 6, generator=rng)
    smooth = F.interpolate(small, size=(H, W), mode="bicubic")
    return 2 * torch.cat([smooth, torch.rand(1, channels, H, W, generator=rng)]) - 1


@pytest.mark.parametrize("through", [through_opencv, through_pillow])
@pytest.mark.parametrize("size", [(64, 64), (50, 71), (33, 70), (8, 16)])
@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 90, 95, 100])
@pytest.mark.parametrize("subsampled", [False, True])
def test_it_makes_the_pictures_that_libjpeg_makes(through, size, quality, subsampled) -> None:
    images = pictures(3, *size)
    theirs = np.stack([through(picture, quality, subsampled) for picture in to_uint8(images).numpy()])
    ours = to_uint8(jpeg(images, quality, subsampled=subsampled)).numpy()
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("through", [through_opencv, through_pillow])
@pytest.mark.parametrize("quality", [5, 75])
def test_gray_pictures_are_luminance_alone(through, quality) -> None:
    images = pictures(1, 40, 41)
    theirs = np.stack([through(picture, quality, False) for picture in to_uint8(images).numpy()])
    np.testing.assert_array_equal(to_uint8(jpeg(images, quality)).numpy(), theirs)


def within(H: int, W: int) -> Tensor:
    """Pictures of which no part of the codec leaves the range."""
    return (0.5 * pictures(3, H, W)).double().requires_grad_()


def test_the_gradient_at_full_chroma_is_the_identity() -> None:
    images = within(24, 32)
    weights = torch.randn(images.shape, generator=torch.Generator().manual_seed(1)).double()
    (gradient,) = torch.autograd.grad((jpeg(images, 90, subsampled=False) * weights).sum(), images)
    torch.testing.assert_close(gradient, weights, rtol=0, atol=1e-3)  # its constants are rounded


def test_the_gradient_at_half_chroma_is_that_of_averaged_chroma() -> None:
    images = within(32, 48)
    weights = torch.randn(images.shape, generator=torch.Generator().manual_seed(1)).double()
    (gradient,) = torch.autograd.grad((jpeg(images, 90) * weights).sum(), images)
    chroma = images - luminance(images)
    smoothed = F.interpolate(F.avg_pool2d(chroma, 2), scale_factor=2.0, mode="bilinear")
    (twin,) = torch.autograd.grad(((luminance(images) + smoothed) * weights).sum(), images)
    torch.testing.assert_close(gradient, twin, rtol=0, atol=1e-3)


def test_what_is_clipped_gives_no_gradient() -> None:
    images = torch.full((1, 3, 8, 8), 1.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(jpeg(images, 75).sum(), images)
    assert not gradient.any()


def test_a_picture_does_not_depend_on_its_company_and_keeps_its_precision() -> None:
    images = pictures(3, 20, 20)
    assert torch.equal(jpeg(images, 60)[1:], jpeg(images[1:], 60))
    assert jpeg(images, 60).dtype == torch.float32 and jpeg(images.double(), 60).dtype == torch.float64
