import numpy as np
import pytest
import torch

from generative.metrics.factor_distance import factor_distances, wasserstein

KINDS = {"smile": "continuous", "glasses": "binary", "hair": "categorical"}


def readings(n: int, seed: int, shift: float = 0.0, p: float = 0.3) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {
        "smile": torch.randn(n, generator=rng) * 2 + shift,
        "glasses": (torch.rand(n, generator=rng) < p).float() * 0.8 + 0.1,
        "hair": torch.randint(4, (n,), generator=rng).float(),
    }


def test_equal_sizes_are_matched_in_order() -> None:
    """The known form of the distance on a line: mean difference of the sorted values."""
    a, b = (torch.randn(50, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (0, 1))
    assert wasserstein(a, b) == pytest.approx((a.sort().values - b.sort().values).abs().mean().item())


def test_unequal_sizes_agree_with_an_integral_over_quantiles() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=6), rng.normal(size=15) + 0.3
    # at the midpoints of 30 equal steps both quantile functions are known exactly: 30 is a multiple of both
    u = (np.arange(30) + 0.5) / 30
    expected = np.abs(np.sort(a)[(u * 6).astype(int)] - np.sort(b)[(u * 15).astype(int)]).mean()
    assert wasserstein(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected)


def test_a_shift_of_one_standard_deviation_is_at_distance_one() -> None:
    [smile, *_] = factor_distances(readings(4000, 0), readings(4000, 0, shift=2.0), KINDS)
    assert smile.distance == pytest.approx(1, abs=0.02)
    assert smile.samples[0] - smile.reference[0] == pytest.approx(2, abs=1e-5)


def test_frequencies_are_compared_by_total_variation() -> None:
    reference = {
        "smile": torch.tensor([0.0, 1.0]),
        "glasses": torch.tensor([0.9, 0.2]),
        "hair": torch.tensor([0, 1]),
    }
    samples = {
        "smile": torch.tensor([0.0, 1.0]),
        "glasses": torch.tensor([0.1, 0.4]),
        "hair": torch.tensor([0, 3]),
    }
    smile, glasses, hair = factor_distances(reference, samples, KINDS)
    assert (smile.distance, glasses.distance, hair.distance) == (0, 0.5, 0.5)
    assert glasses.reference == (0.5, 0.5) and glasses.samples == (1, 0)
    assert hair.reference == (0.5, 0.5, 0, 0) and hair.samples == (0.5, 0, 0, 0.5)


def test_rare_classes_show() -> None:
    _, glasses, _ = factor_distances(readings(5000, 0, p=0.08), readings(5000, 1, p=0.015), KINDS)
    assert glasses.distance == pytest.approx(0.065, abs=0.012)


def test_a_factor_that_never_varies_has_no_unit() -> None:
    same = {"smile": torch.ones(5)}
    with pytest.raises(ValueError, match="smile"):
        factor_distances(same, same, {"smile": "continuous"})
