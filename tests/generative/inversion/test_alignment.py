import cmath

import numpy as np
import pytest
import torch
from PIL import Image

from generative.inversion.alignment import (
    Frame,
    cut,
    ffhq_frame,
    ffhq_frame_of_landmarks,
    paste,
    whole,
)

FRAME = Frame(center=31 + 24j, axis=cmath.rect(14, 0.4))


def smooth_picture(H=48, W=64):
    """(3, H, W), bandlimited, so that bilinear interpolation comes near to it."""
    y, x = torch.meshgrid(torch.arange(H) + 0.5, torch.arange(W) + 0.5, indexing="ij")
    return torch.stack([(x / 9).sin() * (y / 11).cos(), (x / 17 + y / 13).sin(), (y / 7).cos()])


def random_landmarks(seed=0):
    return np.random.default_rng(seed).normal(size=(68, 2)) * 30 + 100


def corners(frame):
    return np.array([[p.real, p.imag] for p in frame.corners])


def test_the_square_of_an_upright_face():
    """Eyes 40 apart, the mouth 50 below: 1.8 x 50 counts more than 2 x 40."""
    frame = ffhq_frame(100 + 100j, 140 + 100j, 120 + 150j)

    assert frame.center == 120 + 105j
    assert frame.axis == pytest.approx(90)
    assert frame.side == pytest.approx(180)
    assert corners(frame) == pytest.approx(np.array([[30, 15], [30, 195], [210, 195], [210, 15]]))

    assert ffhq_frame(100 + 100j, 160 + 100j, 130 + 110j).side == pytest.approx(240)


@pytest.mark.parametrize("seed", range(3))
def test_the_square_is_that_of_the_data_set(seed):
    """As vectors; the data set's program adds half a pixel when it samples."""
    points = random_landmarks(seed)
    eye_left, eye_right = points[36:42].mean(0), points[42:48].mean(0)
    eyes, mouth = (eye_left + eye_right) / 2, (points[48] + points[54]) / 2
    eye_to_eye, eye_to_mouth = eye_right - eye_left, mouth - eyes
    x = eye_to_eye - np.array([-eye_to_mouth[1], eye_to_mouth[0]])
    x *= max(np.hypot(*eye_to_eye) * 2.0, np.hypot(*eye_to_mouth) * 1.8) / np.hypot(*x)
    y = np.array([-x[1], x[0]])
    c = eyes + 0.1 * eye_to_mouth

    expected = np.stack([c - x - y, c - x + y, c + x + y, c + x - y]) + 0.5

    assert corners(ffhq_frame_of_landmarks(points)) == pytest.approx(expected)


def test_the_square_goes_where_the_face_goes():
    face = (100 + 100j, 138 + 95j, 125 + 150j)
    turned = 2.5 * cmath.exp(0.7j)

    before, after = ffhq_frame(*face), ffhq_frame(*(turned * p + 30 - 12j for p in face))

    assert after.center == pytest.approx(turned * before.center + 30 - 12j)
    assert after.axis == pytest.approx(turned * before.axis)


def test_landmarks_that_are_no_face_are_refused():
    with pytest.raises(ValueError, match=r"\(68, 2\)"):
        ffhq_frame_of_landmarks(np.zeros((5, 2)))
    with pytest.raises(ValueError, match="finite"):
        ffhq_frame_of_landmarks(np.full((68, 2), np.nan))
    with pytest.raises(ValueError, match="in one place"):
        ffhq_frame_of_landmarks(np.zeros((68, 2)))


def test_the_upright_square_of_the_size_of_a_picture_is_the_picture():
    picture = smooth_picture(48, 48)

    torch.testing.assert_close(cut(picture, whole(picture), 48), picture)
    assert whole(smooth_picture(48, 64)) == Frame(32 + 24j, 32)


@pytest.mark.parametrize("size", [5, 16, 28, 90])
def test_a_slope_stays_a_slope_at_every_size(size):
    """Bilinear interpolation and means are exact on it."""
    y, x = torch.meshgrid(torch.arange(48.0) + 0.5, torch.arange(64.0) + 0.5, indexing="ij")
    t = (np.arange(size) + 0.5) * 2 / size - 1
    points = FRAME.center + FRAME.axis * (t[None] + 1j * t[:, None])

    shown = cut(torch.stack([x, y]), FRAME, size)

    assert shown.numpy() == pytest.approx(np.stack([points.real, points.imag]), abs=1e-4)


def test_a_square_that_does_not_shrink_is_what_pillow_makes_of_its_corners():
    picture = smooth_picture()
    quad = [float(c) for corner in corners(FRAME) for c in corner]
    channels = [Image.fromarray(c.numpy()) for c in picture]
    expected = [
        c.transform((40, 40), Image.Transform.QUAD, quad, Image.Resampling.BILINEAR) for c in channels
    ]

    torch.testing.assert_close(
        cut(picture, FRAME, 40), torch.from_numpy(np.stack(expected)), atol=1e-4, rtol=0
    )


def test_fine_stripes_become_grey_when_they_shrink():
    stripes = torch.tensor([-1.0, 1.0]).repeat(64).expand(1, 128, 128)

    assert cut(stripes, Frame(64 + 64j, 60), 30).abs().max() < 1e-5


def test_what_lies_beyond_the_border_is_mirrored():
    picture = smooth_picture(48, 48)

    wide = cut(picture, Frame(24 + 24j, 48), 96)

    torch.testing.assert_close(wide[:, 24:72, 24:72], picture)
    torch.testing.assert_close(wide[:, 24:72, :24], picture.flip(2)[:, :, 24:])


@pytest.mark.parametrize("size", [28, 56, 200])
def test_a_square_that_is_put_back_unchanged_changes_nothing(size):
    picture = smooth_picture()

    back = paste(picture, cut(picture, FRAME, size), FRAME)

    assert (back - picture).abs().max() < 0.02


def test_a_square_fades_in_from_its_border():
    picture, square = torch.zeros(1, 48, 64), torch.ones(1, 20, 20)
    y, x = np.mgrid[:48, :64] + 0.5
    place = (x + 1j * y - FRAME.center) / FRAME.axis
    reach = np.maximum(abs(place.real), abs(place.imag))  # 0 at the centre, 1 at the border

    pasted = paste(picture, square, FRAME, feather=0.25)[0].numpy()

    assert pasted == pytest.approx(np.clip((1 - reach) / 0.25, 0, 1), abs=1e-5)
    assert (pasted[reach > 1] == 0).all()


def test_what_is_outside_of_the_square_stays_to_the_last_bit():
    picture = smooth_picture()
    edited = paste(picture, torch.full((3, 16, 16), 9.0), FRAME)

    y, x = np.mgrid[:48, :64] + 0.5
    place = (x + 1j * y - FRAME.center) / FRAME.axis
    outside = torch.from_numpy(np.maximum(abs(place.real), abs(place.imag)) > 1.001)
    assert torch.equal(edited[:, outside], picture[:, outside])
    assert edited.isfinite().all()


@pytest.mark.parametrize("feather", [0, -1, 1.5])
def test_a_feather_is_a_share(feather):
    with pytest.raises(ValueError, match="feather"):
        paste(torch.zeros(1, 8, 8), torch.zeros(1, 4, 4), Frame(4 + 4j, 2), feather)


def test_a_frame_found_in_a_square_is_a_frame_of_the_picture():
    picture, inner = smooth_picture(), Frame(30 + 22j, cmath.rect(9, -0.3))
    square = cut(picture, FRAME, 64)

    found = inner.inside(FRAME, 64)

    torch.testing.assert_close(cut(picture, found, 12), cut(square, inner, 12), atol=0.01, rtol=0)
