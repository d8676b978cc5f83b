from pathlib import Path

import pytest
import torch

from generative.training.codes import Codes, normal_codes, rotation
from generative.training.dataset import Portraits
from generative.worlds import portraits as world


def factors(n: int = 4_000) -> torch.Tensor:
    return world.sample(n, torch.Generator().manual_seed(0))


def test_codes_are_uncorrelated_and_of_unit_variance() -> None:
    codes = normal_codes(factors(), torch.Generator().manual_seed(0))
    assert torch.allclose(torch.cov(codes.T), torch.eye(codes.shape[1]), atol=1e-3)
    assert codes.mean(dim=0).abs().max() < 1e-3


def test_codes_have_the_tails_of_a_normal_distribution() -> None:
    codes = normal_codes(factors(), torch.Generator().manual_seed(0))
    for quantile, expected in ((0.05, -1.645), (0.5, 0.0), (0.95, 1.645)):
        assert codes.quantile(quantile, dim=0).sub(expected).abs().max() < 0.3


def test_a_code_follows_its_factor_even_where_many_share_a_value() -> None:
    given = factors()
    codes = normal_codes(given, torch.Generator().manual_seed(0))
    for name in ("yaw", "glasses", "hair_length"):
        i = world.index(name)
        assert torch.corrcoef(torch.stack([given[:, i], codes[:, i]]))[0, 1] > 0.65


def test_a_rotation_keeps_lengths() -> None:
    turn = rotation(8, torch.Generator().manual_seed(0))
    assert torch.allclose(turn @ turn.T, torch.eye(8), atol=1e-6)


def test_the_same_picture_gets_the_same_code_and_fresh_noise(dataset: Path) -> None:
    codes = Codes(Portraits(dataset, held_out=16), z_dim=40)
    rows, rng = torch.tensor([20, 63, 20]), torch.Generator().manual_seed(0)

    z = codes.draw(rows, rng)
    unturned = z @ codes.turn.T

    assert z.shape == (3, 40)
    assert torch.allclose(unturned[0, :27], unturned[2, :27], atol=1e-5)
    assert (unturned[0, 27:] - unturned[2, 27:]).abs().min() > 1e-4
    assert torch.allclose(unturned[:, :27], codes.codes[rows - 16], atol=1e-5)


def test_a_z_with_too_few_coordinates_is_refused(dataset: Path) -> None:
    with pytest.raises(ValueError, match="too few"):
        Codes(Portraits(dataset), z_dim=8)
