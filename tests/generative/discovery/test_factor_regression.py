from pathlib import Path

import pytest
import torch

from generative.discovery.factor_regression import factor_directions, factor_set
from generative.networks.feature_network import FeatureNetwork
from generative.store import load_model

PORTRAITS = Path(__file__).parents[3] / "model_repo" / "portraits"


def test_each_factor_gets_its_own_share_of_w_however_the_factors_are_correlated() -> None:
    rng = torch.Generator().manual_seed(0)
    true = torch.randn(3, 8, generator=rng)
    factors = torch.randn(4000, 3, generator=rng)
    factors[:, 1] += 2 * factors[:, 0]
    w = 5 + factors @ true + 0.1 * torch.randn(4000, 8, generator=rng)

    found = factor_directions(w, factors)
    assert torch.allclose(found, true, atol=0.02)

    centred = factors - factors.mean(0)
    one_at_a_time = centred.T @ (w - w.mean(0)) / centred.square().sum(0)[:, None]
    assert (one_at_a_time[0] - true[0]).norm() > 1  # the first drags the second along


@pytest.fixture(scope="module")
def directions() -> dict[str, dict]:
    generator, _ = load_model(PORTRAITS)
    found = factor_set(generator, FeatureNetwork.load(PORTRAITS), count=400, tried=12)
    return {d.name: d.provenance for d in found}


def test_directions_of_large_factors_move_their_own_factor_most(directions: dict[str, dict]) -> None:
    for name in ("yaw", "light_azimuth", "skin_tone", "background"):
        moved = directions[name]
        assert moved["moves"] > 0.5 and moved["most_moved_other"]["change"] < 0.4 * moved["moves"]


def test_classes_are_held_and_get_no_direction(directions: dict[str, dict]) -> None:
    assert len(directions) == 25 and not any("color=" in name for name in directions)
    assert "smile" in directions and "hair_color" not in directions
