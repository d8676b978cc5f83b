"""The perceptual distance, on the network that ships."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from generative.losses import PerceptualDistance
from generative.metrics.judging import DISTURBANCES, Judge, Sitting, mean_squared
from generative.networks.feature_network import FeatureNetwork
from generative.worlds import portraits as world

SHIPPED = Path(__file__).parents[2] / "model_repo" / "portraits"


@pytest.fixture(scope="module")
def distance() -> PerceptualDistance:
    return PerceptualDistance(FeatureNetwork.load(SHIPPED))


@pytest.fixture(scope="module")
def people() -> Tensor:
    return world.sample(24, torch.Generator().manual_seed(77))


@pytest.fixture(scope="module")
def images(people: Tensor) -> Tensor:
    return world.render(people, 64).image


def blur(x: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, stride=1)


def mse(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().mean(dim=(1, 2, 3))


def test_equal_pictures_are_at_no_distance(distance: PerceptualDistance, images: Tensor) -> None:
    assert torch.equal(distance(images, images), torch.zeros(24))


def test_distance_is_the_same_both_ways_and_within_its_range(
    distance: PerceptualDistance, images: Tensor
) -> None:
    there, back = distance(images, images.flip(0)), distance(images.flip(0), images)
    assert torch.allclose(there, back) and (there >= 0).all() and (there <= 4).all()


def test_distance_is_the_written_formula(distance: PerceptualDistance, images: Tensor) -> None:
    a, b = images[:1], images[1:2]
    stages = []
    for x, y in zip(distance.features(a), distance.features(b), strict=True):
        total = 0.0
        for i in range(x.shape[2]):
            for j in range(x.shape[3]):
                u, v = x[0, :, i, j], y[0, :, i, j]
                total += (u / u.norm() - v / v.norm()).square().sum().item()
        stages.append(total / x.shape[2] / x.shape[3])
    assert distance(a, b).item() == pytest.approx(sum(stages) / 4, rel=1e-4)


def test_more_noise_and_more_blur_are_farther(distance: PerceptualDistance, images: Tensor) -> None:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    little, much = distance(images, images + 0.02 * noise), distance(images, images + 0.1 * noise)
    assert (little < much).all()
    assert (distance(images, blur(images)) < distance(images, blur(blur(images)))).all()


def test_a_smile_counts_for_more_than_a_lighter_exposure_while_mse_says_the_opposite(
    distance: PerceptualDistance, people: Tensor
) -> None:
    sad = world.render(world.replace(people, smile=-0.8), 64).image
    smiling = world.render(world.replace(people, smile=0.8), 64).image
    lighter = sad + 0.06

    assert (mse(sad, smiling) < mse(sad, lighter)).float().mean() > 0.9
    assert (distance(sad, smiling) > distance(sad, lighter)).float().mean() > 0.9


def test_blur_is_farther_than_a_shift_by_one_pixel_while_mse_cannot_tell(
    distance: PerceptualDistance, images: Tensor
) -> None:
    shifted, blurred = images.roll(1, dims=3), blur(images)
    ratio = distance(images, blurred).mean() / distance(images, shifted).mean()
    plain = mse(images, blurred).mean() / mse(images, shifted).mean()
    assert ratio > 1 and ratio > plain


@pytest.fixture(scope="module")
def judges(distance: PerceptualDistance) -> tuple[Judge, Judge]:
    """Ours and the plain one, of the same pictures."""
    sitting = Sitting(32, 64, torch.Generator().manual_seed(5))
    return Judge(distance, sitting), Judge(mean_squared, sitting)


@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_stronger_disturbance_is_farther_for_nearly_every_picture(
    distance: PerceptualDistance, images: Tensor, name: str
) -> None:
    disturbance = DISTURBANCES[name]
    steps = torch.stack([distance(images, disturbance.apply(images, level)) for level in disturbance.levels])
    assert (steps.diff(dim=0) > 0).float().mean(dim=1).min() > 0.9
    assert (steps.mean(dim=1).diff() > 0).all()


def test_a_shift_by_a_pixel_is_nearer_than_blur_while_squared_error_says_the_opposite(
    judges: tuple[Judge, Judge],
) -> None:
    ours, plain = ((judge.disturbed("shift")[0], judge.disturbed("blur")[3]) for judge in judges)
    assert ours[0] < 0.6 * ours[1] and plain[0] > 1.2 * plain[1]


# In units of the distance between strangers
@pytest.mark.parametrize(("change", "times"), [("smile", 2), ("iris colour", 4), ("gaze", 1.3), ("age", 2)])
def test_details_of_a_face_count_for_more_than_their_pixels(
    judges: tuple[Judge, Judge], change: str, times: float
) -> None:
    ours, plain = judges
    assert ours.changed(change) > times * plain.changed(change)


def test_gradients_lead_from_one_picture_to_another(distance: PerceptualDistance, images: Tensor) -> None:
    x, target = images[:2].clone().requires_grad_(True), images[2:4]
    before = distance(x, target).sum()
    (gradient,) = torch.autograd.grad(before, x)
    step = 0.5 * gradient / gradient.abs().amax()
    assert gradient.isfinite().all() and distance(x - step, target).sum() < before


def test_black_pictures_have_finite_gradients(distance: PerceptualDistance) -> None:
    x = torch.full((1, 3, 64, 64), -1.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(distance(x, x.detach() + 0.01).sum(), x)
    assert gradient.isfinite().all()


def test_a_described_target_gives_the_same_distance(distance: PerceptualDistance, images: Tensor) -> None:
    a, b = images[:4], images[4:8]
    assert torch.equal(distance.compare(distance.describe(a), distance.describe(b)), distance(a, b))
