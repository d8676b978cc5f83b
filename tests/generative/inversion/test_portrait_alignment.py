"""Portraits are framed as the world frames them; the world's camera gives the exact truth."""

import cmath
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from generative.inversion.alignment import Frame, cut, paste
from generative.inversion.portrait_alignment import (
    EYES_ABOVE,
    EYES_APART,
    EYES_ASIDE,
    EYES_SHARE,
    find_portrait,
    portrait_frame,
)
from generative.networks.parts_network import PartsNetwork
from generative.worlds.portraits import PARTS, Camera, columns, render, replace, sample

SIZE = 128
SHIPPED = Path(__file__).parents[3] / "model_repo" / "portraits"


@pytest.fixture(scope="module")
def people():
    return sample(12, torch.Generator().manual_seed(11))


def camera(half_height, x, y):
    """And the square of the picture that shows what the default camera shows."""
    pixels = SIZE / 2 / half_height  # in a unit of the world
    truth = Frame(SIZE / 2 * (1 + 1j) - pixels * complex(x, -y), pixels)
    return Camera(half_height=half_height, target=(x, y, 0.0)), truth


def errors(frame, truth):
    """Of the place, in halves of the side; of the size, as a share; of the turn, in degrees."""
    ratio = frame.axis / truth.axis
    return (
        abs(frame.center - truth.center) / abs(truth.axis),
        abs(abs(ratio) - 1),
        abs(math.degrees(cmath.phase(ratio))),
    )


@pytest.mark.parametrize(("half_height", "x", "y"), [(1.0, 0, 0), (1.7, 0.3, -0.2), (0.9, 0.05, 0.0)])
def test_portraits_are_framed_as_the_default_camera_would(people, half_height, x, y):
    """Whatever their pose: heads are turned aside by up to 29 degrees, and nod by up to 13."""
    view, truth = camera(half_height, x, y)
    drawn = render(people, SIZE, 1, view, truth=True)

    for labels in drawn.parts:
        place, size, turn = errors(portrait_frame(labels, PARTS), truth)
        assert place < 0.1 and size < 0.05 and turn < 1


def test_heads_that_look_ahead_are_framed_closely(people):
    ahead = replace(people, yaw=0.0, pitch=0.0)
    view, truth = camera(1.4, -0.2, 0.1)

    for labels in render(ahead, SIZE, 1, view, truth=True).parts:
        place, size, turn = errors(portrait_frame(labels, PARTS), truth)
        assert place < 0.02 and size < 0.03 and turn < 0.3


def test_a_head_that_turns_aside_stays_in_the_middle(people):
    """Its eyes move by 0.2 halves of the picture's side; the square by a tenth of that."""
    view, _ = camera(1.0, 0, 0)
    centers = {}
    for yaw in (-0.45, 0.0, 0.45):
        turned = replace(people[:6], yaw=yaw)
        labels = render(turned, SIZE, 1, view, truth=True).parts
        centers[yaw] = torch.tensor([portrait_frame(x, PARTS).center.real for x in labels])

    assert (centers[0.45] - centers[-0.45]).abs().max() < 0.05 * SIZE / 2


def test_the_constants_are_those_of_the_world():
    people = sample(96, torch.Generator().manual_seed(1))
    drawn, yaw = render(people, 64, 1, truth=True).parts, columns(people)["yaw"].double()
    places = (torch.arange(64, dtype=torch.float64) + 0.5) / 32 - 1

    def middle(*parts):
        """(N, 2): x and y."""
        seen = torch.isin(drawn, torch.tensor([PARTS.index(p) for p in parts]).to(torch.uint8)).double()
        return torch.stack([seen.sum(1) @ places, seen.sum(2) @ places], dim=1) / seen.sum((1, 2))[:, None]

    left, right = middle("right eye"), middle("left eye")
    eyes, head = (left + right) / 2, middle(*set(PARTS) - {"background", "neck", "shirt"})
    slope = (yaw.sin() @ eyes[:, 0]) / yaw.sin().square().sum()
    against = (yaw.sin() @ head[:, 0]) / yaw.sin().square().sum()

    assert ((right - left)[:, 0] / yaw.cos()).mean() == pytest.approx(EYES_APART, abs=0.01)
    assert -eyes[:, 1].mean() == pytest.approx(EYES_ABOVE, abs=0.01)
    assert slope - against == pytest.approx(EYES_ASIDE, rel=0.1)
    assert -against / (slope - against) == pytest.approx(EYES_SHARE, abs=0.02)


@pytest.fixture(scope="module")
def network():
    return PartsNetwork.load(SHIPPED)


@pytest.mark.parametrize(
    ("half_height", "degrees", "x", "y"),
    [(1.2, 0, 0, 0), (1.8, 25, 0.2, -0.2), (2.1, -40, -0.3, 0.1)],
)
def test_a_shifted_turned_and_smaller_portrait_is_found_in_a_picture(
    people, network, half_height, degrees, x, y
):
    view, truth = camera(half_height, x, y)
    turned = Frame(SIZE / 2 * (1 + 1j), cmath.rect(SIZE / 2 * 0.85, math.radians(-degrees)))

    for image in render(people[:3], SIZE, 1, view).image:
        frame = find_portrait(cut(image, turned, SIZE), network).inside(turned, SIZE)

        place, size, turn = errors(frame, truth)
        assert place < 0.1 and size < 0.08 and turn < 4


def test_what_is_cut_out_looks_like_the_picture_of_the_default_camera(people, network):
    """So a generator of such portraits can go on from there, and the result goes back into the picture."""
    ahead = replace(people[:1], yaw=0.0, pitch=0.0)
    view, _ = camera(1.5, 0.2, 0.1)
    image, expected = render(ahead, SIZE, 2, view).image[0], render(ahead, 64, 2).image[0]
    frame = find_portrait(image, network)

    aligned = cut(image, frame, 64)

    def difference(picture):
        """In the middle: backgrounds are fixed to the picture, not to the world."""
        return (picture - expected)[:, 12:52, 12:52].abs().mean()

    assert difference(aligned) < difference(F.avg_pool2d(image, 2)) / 4
    assert (paste(image, aligned, frame) - image).abs().mean() < 0.02


def test_a_large_picture_that_is_not_square_is_framed_alike(people, network):
    view, truth = camera(1.5, 0.1, 0.1)
    image = render(people[:1], SIZE, 1, view).image[0]
    large = image[:, 8:].repeat_interleave(4, dim=1).repeat_interleave(4, dim=2)

    place, size, turn = errors(find_portrait(large, network), Frame(4 * (truth.center - 8j), 4 * truth.axis))

    assert place < 0.1 and size < 0.08 and turn < 4


@pytest.mark.parametrize("side", [1, 16])
def test_a_picture_without_a_face_is_refused(network, side):
    """One colour, and noise."""
    noise = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(3)).clamp(-1, 1)

    with pytest.raises(ValueError, match="no face"):
        find_portrait(F.interpolate(noise, (72, 96), mode="bilinear")[0], network)


def test_a_map_without_a_part_of_the_face_is_refused():
    labels = torch.zeros(64, 64, dtype=torch.uint8)
    with pytest.raises(ValueError, match="shows no right eye"):
        portrait_frame(labels, PARTS)

    labels[20:24, 20:24] = PARTS.index("right eye")
    labels[20:24, 40:44] = PARTS.index("left eye")
    with pytest.raises(ValueError, match="shows no mouth"):
        portrait_frame(labels, PARTS)

    labels[5:8, 30:34] = PARTS.index("mouth")
    with pytest.raises(ValueError, match="not below"):
        portrait_frame(labels, PARTS)


def test_eyes_in_one_place_are_no_face():
    labels = torch.zeros(64, 64, dtype=torch.uint8)
    labels[20:24, 20:22] = labels[20:24, 26:28] = PARTS.index("right eye")
    labels[20:24, 23:25] = PARTS.index("left eye")
    labels[40:44, 20:24] = PARTS.index("mouth")

    with pytest.raises(ValueError, match="in one place"):
        portrait_frame(labels, PARTS)
