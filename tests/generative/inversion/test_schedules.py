from pathlib import Path

import numpy as np
import pytest
import torch

from generative.inversion.schedules import jitter, learning_rate_ramp

VECTORS = Path(__file__).parents[4] / "shared/conformance/methods/projector/schedules.npz"


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    if not VECTORS.exists():
        pytest.skip("the published schedules are not here")
    with np.load(VECTORS) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def share(steps: int) -> torch.Tensor:
    return torch.arange(steps, dtype=torch.float64) / steps


@pytest.mark.parametrize("steps", [300, 1000])
def test_learning_rate_and_jitter_are_the_published_ones(
    published: dict[str, torch.Tensor], steps: int
) -> None:
    rate = 0.1 * learning_rate_ramp(share(steps))
    torch.testing.assert_close(rate, published[f"lr_{steps}"], rtol=0, atol=1e-12)
    torch.testing.assert_close(
        jitter(share(steps)), published[f"noise_scale_over_wstd_{steps}"], rtol=0, atol=1e-12
    )


def test_the_ramp_of_styleclip_is_the_same_one(published: dict[str, torch.Tensor]) -> None:
    expected = published["lr_300_styleclip_optim"]
    torch.testing.assert_close(0.1 * learning_rate_ramp(share(300)), expected, rtol=0, atol=1e-12)


def test_every_run_begins_and_ends_gently_whatever_its_length() -> None:
    for steps in (1, 7, 200):
        rate = learning_rate_ramp(share(steps))
        assert rate[0] == 0 and rate.max() <= 1 and rate.min() >= 0
