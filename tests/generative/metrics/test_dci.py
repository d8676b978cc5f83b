import pytest
import torch

from generative.metrics.dci import completeness, dci, disentanglement, lasso


def test_a_lasso_of_orthogonal_columns_is_the_soft_threshold_of_least_squares() -> None:
    rng = torch.Generator().manual_seed(0)
    q = torch.linalg.qr(torch.randn(64, 5, generator=rng, dtype=torch.float64)).Q * 8  # columns: x'x / N = 1
    y = torch.randn(64, 3, generator=rng, dtype=torch.float64)
    plain = q.T @ y / 64
    expected = plain.sign() * (plain.abs() - 0.1).clamp(min=0)
    torch.testing.assert_close(lasso(q, y, 0.1), expected, atol=1e-6, rtol=0)


def test_a_lasso_of_correlated_columns_fulfils_the_conditions_of_its_minimum() -> None:
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(200, 10, generator=rng, dtype=torch.float64)
    x = x + 0.8 * x[:, :1]
    y = x[:, :2] - x[:, 3:5] + 0.1 * torch.randn(200, 2, generator=rng, dtype=torch.float64)
    b = lasso(x, y, 0.2)
    slope = x.T @ (y - x @ b) / 200
    assert bool((slope.abs() <= 0.2 + 1e-4).all())  # the subgradient of |b|
    torch.testing.assert_close(slope[b != 0], 0.2 * b[b != 0].sign(), atol=1e-4, rtol=0)
    assert 0 < int((b == 0).sum()) < b.numel()


def test_one_dimension_for_each_factor_is_full_marks_and_an_even_table_none() -> None:
    assert disentanglement(torch.eye(4)) == completeness(torch.eye(4)) == pytest.approx(1)
    assert disentanglement(torch.ones(4, 4)) == completeness(torch.ones(4, 4)) == pytest.approx(0)


def test_two_dimensions_of_one_factor_are_disentangled_but_not_complete() -> None:
    table = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert disentanglement(table) == pytest.approx(1)
    assert completeness(table) == pytest.approx((0.5 + 1) / 2)  # log 2 of log 4; one alone


def test_a_rotation_hides_factors_that_a_lasso_found_before() -> None:
    rng = torch.Generator().manual_seed(2)
    latents = torch.randn(2000, 6, generator=rng)
    factors = latents[:, :4] + 0.05 * torch.randn(2000, 4, generator=rng)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=rng)).Q
    plain, rotated = dci(latents, factors), dci(latents @ rotation, factors)
    assert plain.disentanglement > 0.9 and plain.completeness > 0.9
    assert rotated.disentanglement < 0.5 and rotated.completeness < 0.5
    assert plain.informativeness == pytest.approx(rotated.informativeness, abs=0.01)
    assert plain.informativeness == pytest.approx(1 - 0.05**2, abs=0.005)


def test_a_constant_dimension_counts_for_nothing_and_a_constant_factor_is_refused() -> None:
    latents = torch.randn(100, 3, generator=torch.Generator().manual_seed(3))
    latents[:, 1] = 7.0
    assert not bool(dci(latents, latents[:, :1]).importance[1].any())
    with pytest.raises(ValueError, match="does not vary"):
        dci(latents, torch.ones(100, 1))
