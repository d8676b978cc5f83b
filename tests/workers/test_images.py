"""Bytes to pixels and back."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from jobs.errors import BadImage, UnsupportedByModel
from workers.images import decode, fit_square, resize, to_pixels, to_tensor


def test_pixels_survive_the_way_to_tensors_and_back():
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    images = to_tensor(pixels)
    assert images.shape == (1, 3, 16, 16) and images.min() == -1 and images.max() == 1
    back = to_pixels(((images + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1))
    assert np.array_equal(back, pixels)


def test_grey_pictures_are_shown_in_rgb_and_seen_as_their_mean():
    grey = torch.arange(16, dtype=torch.uint8).reshape(1, 4, 4, 1)
    assert np.array_equal(to_pixels(grey)[0, :, :, 2], grey[0, :, :, 0].numpy())
    assert to_tensor(to_pixels(grey), channels=1).shape == (1, 1, 4, 4)


def test_pictures_with_other_channels_are_refused():
    with pytest.raises(UnsupportedByModel):
        to_pixels(torch.zeros(1, 4, 4, 2, dtype=torch.uint8))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_stored_pictures_are_decoded_in_rgb_order(format):
    out = io.BytesIO()
    Image.new("RGB", (5, 3), (250, 10, 60)).save(out, format, quality=100)
    pixels = decode(out.getvalue())
    assert pixels.shape == (3, 5, 3)
    assert np.abs(pixels.astype(int) - (250, 10, 60)).max() <= 6


def test_bytes_that_are_no_picture_are_a_bad_image():
    with pytest.raises(BadImage):
        decode(b"GIF89a nothing")


def test_a_wide_picture_is_cut_to_its_middle():
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 200
    assert (fit_square(pixels, 10) == 200).all()


def test_shrinking_averages_and_enlarging_keeps_the_level():
    checks = (np.indices((32, 32)).sum(axis=0) % 2 * 255).astype(np.uint8)[:, :, None].repeat(3, axis=2)
    assert np.abs(fit_square(checks, 8).astype(int) - 128).max() <= 1
    assert (fit_square(np.full((8, 8, 3), 77, np.uint8), 32) == 77).all()


@pytest.mark.parametrize(
    ("shape", "expected"), [((20, 40), (50, 100)), ((40, 20), (100, 50)), ((7, 7), (100, 100))]
)
def test_resize_sets_the_longer_side(shape, expected):
    assert resize(np.zeros((*shape, 3), np.uint8), 100).shape[:2] == expected
