import math

import pytest
import torch
from torch import Tensor

from generative.losses import PerceptualDistance
from generative.metrics.reconstruction import factor_changes, fidelity, psnr_db
from generative.networks.feature_network import FeatureNetwork, FeatureRecord, Readout

READOUTS = (
    Readout(name="yaw", kind="continuous", std=0.5),
    Readout(name="age", kind="continuous", std=2.0),
    Readout(name="hat", kind="binary"),
    Readout(name="hair", kind="categorical", classes=3),
)


def pictures(count: int) -> Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8


def test_the_ratio_is_that_of_the_range_to_the_error() -> None:
    images = pictures(2)
    errors = torch.tensor([0.02, 0.2])[:, None, None, None]
    assert psnr_db(images, images + errors).tolist() == pytest.approx([40, 20], rel=1e-4)
    assert psnr_db(images, images).tolist() == [math.inf, math.inf]


def test_continuous_factors_move_in_their_own_unit_and_the_others_stay_or_not() -> None:
    before = {"yaw": [0.0, 1.0], "age": [0.0, 0.0], "hat": [0.1, 0.9], "hair": [2.0, 1.0]}
    after = {"yaw": [0.5, 1.0], "age": [0.0, 1.0], "hat": [0.4, 0.4], "hair": [2.0, 2.0]}
    a, b = ({name: torch.tensor(values) for name, values in x.items()} for x in (before, after))
    moved, kept = factor_changes(READOUTS, a, b)
    assert moved == pytest.approx((1 + 0 + 0 + 0.5) / 4) and kept == 0.5
    assert math.isnan(factor_changes(READOUTS[:2], a, b)[1])


def test_the_same_pictures_are_faithful_and_overshooting_is_cut() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        record = FeatureRecord(resolution=16, channels=(4, 4), readouts=READOUTS)
        distance = PerceptualDistance(FeatureNetwork(record).eval().requires_grad_(False))
    images = torch.where(pictures(3) > 0, 1.0, -1.0)
    same = fidelity(distance, images, 1.5 * images)
    assert same.psnr_db == math.inf and same.perceptual == 0 and same.factors_kept == 1
    worse = fidelity(distance, images, images.flip(3))
    assert worse.psnr_db < 10 and worse.perceptual > 0 and worse.factor_error > 0
