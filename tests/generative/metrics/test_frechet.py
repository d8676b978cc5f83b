import numpy as np
import pytest
import torch

from generative.metrics.frechet import frechet_distance, frechet_distance_of_gaussians


def normal(n: int, mean: float, std: float, d: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) * std + mean


def test_a_set_is_at_no_distance_from_itself() -> None:
    x = normal(500, 0.3, 2.0)
    assert frechet_distance(x, x.flip(0)) == pytest.approx(0, abs=1e-9)


def test_one_dimensional_gaussians_have_the_textbook_distance() -> None:
    def one(value: float) -> torch.Tensor:
        return torch.tensor([value], dtype=torch.float64)

    found = frechet_distance_of_gaussians(one(1.0), one(4.0)[None], one(3.5), one(9.0)[None])
    assert found == pytest.approx((3.5 - 1.0) ** 2 + (3 - 2) ** 2)


def test_general_gaussians_agree_with_the_square_root_of_the_product() -> None:
    """The formula as it is written, with the square root of a non-symmetric matrix by its eigenvectors."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(400, 8)) @ rng.normal(size=(8, 8)), rng.normal(size=(300, 8)) + 0.5
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    values, vectors = np.linalg.eig(cov_a @ cov_b)
    root = (vectors * np.sqrt(values.astype(complex))) @ np.linalg.inv(vectors)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root.real)

    assert frechet_distance(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected, rel=1e-9)


def test_distance_grows_with_the_shift_and_is_the_same_both_ways() -> None:
    a = normal(2_000, 0.0, 1.0)
    near, far = normal(2_000, 0.2, 1.0, seed=1), normal(2_000, 0.8, 1.0, seed=1)
    assert frechet_distance(a, near) < frechet_distance(a, far)
    assert frechet_distance(a, far) == pytest.approx(frechet_distance(far, a))


def test_fewer_samples_than_dimensions_still_give_a_number() -> None:
    a, b = normal(5, 0, 1, d=20), normal(5, 0, 1, d=20, seed=1)
    assert np.isfinite(frechet_distance(a, b))
