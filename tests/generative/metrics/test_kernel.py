import numpy as np
import pytest
import torch

from generative.metrics.kernel import kernel_distance, squared_mmd


def normal(n: int, d: int = 5, shift: float = 0.0, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=rng, dtype=torch.float64) + shift


def by_loops(a: np.ndarray, b: np.ndarray) -> float:
    """The unbiased estimator as it is written in the paper, one pair at a time."""

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (float(x @ y) / len(x) + 1) ** 3

    def within(x: np.ndarray) -> float:
        pairs = [kernel(p, q) for i, p in enumerate(x) for j, q in enumerate(x) if i != j]
        return sum(pairs) / len(pairs)

    between = [kernel(p, q) for p in a for q in b]
    return within(a) + within(b) - 2 * sum(between) / len(between)


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_it_is_the_estimator_of_the_paper_pair_by_pair(shift) -> None:
    a, b = normal(23), normal(17, shift=shift, seed=1)
    assert squared_mmd(a, b).item() == pytest.approx(by_loops(a.numpy(), b.numpy()), rel=1e-10)


def test_single_precision_is_enough() -> None:
    a, b = normal(500), normal(500, shift=0.3, seed=1)
    assert squared_mmd(a.float(), b.float()).item() == pytest.approx(squared_mmd(a, b).item(), rel=1e-4)


def test_equal_distributions_give_nothing_on_average() -> None:
    """The estimator has no bias: over many small draws it is 0 within its standard error."""
    found = [squared_mmd(normal(10, seed=2 * i), normal(10, seed=2 * i + 1)).item() for i in range(400)]
    assert abs(np.mean(found)) < 3 * np.std(found) / 20


def test_it_grows_with_the_shift() -> None:
    a = normal(400)
    near, far = (kernel_distance(a, normal(400, shift=s, seed=1), _rng(), subsets=5) for s in (0.2, 1.0))
    assert 0 < near.mean < far.mean


def test_subsets_follow_from_the_generator_and_give_mean_and_spread() -> None:
    a, b = normal(300), normal(300, shift=0.5, seed=1)
    one, two = (kernel_distance(a, b, _rng(), subsets=20, subset_size=50) for _ in range(2))
    assert one == two and one.std > 0
    whole = squared_mmd(a, b).item()
    assert abs(one.mean - whole) < 3 * one.std


def test_few_vectors_are_halved_into_subsets_that_differ() -> None:
    assert kernel_distance(normal(8), normal(8, seed=1), _rng(), subsets=10).std > 0
    with pytest.raises(ValueError, match="at least four"):
        kernel_distance(normal(3), normal(8), _rng())


def test_the_callback_can_stop_it() -> None:
    calls: list[int] = []

    def count() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        kernel_distance(normal(20), normal(20), _rng(), callback=count)


def _rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)
