import numpy as np
import pytest
import torch

from generative.metrics import precision_recall as module
from generative.metrics.precision_recall import nearest, precision_recall, reaches


def cloud(n: int, seed: int, spread: float = 1.0, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed)) * spread + shift


def by_loops(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, float, float, float]:
    """Both papers' definitions, one vector at a time."""

    def reach(x: np.ndarray, i: int) -> float:
        return sorted(np.linalg.norm(x[i] - x[j]) for j in range(len(x)) if j != i)[k - 1]

    real_reach, fake_reach = ([reach(x, i) for i in range(len(x))] for x in (real, fake))
    inside = recalled = covered = balls = 0
    for f in fake:
        hits = [np.linalg.norm(f - r) <= reach for r, reach in zip(real, real_reach, strict=True)]
        inside, balls = inside + any(hits), balls + sum(hits)
    for r, reach in zip(real, real_reach, strict=True):
        distances = [np.linalg.norm(r - f) for f in fake]
        recalled += any(d <= own for d, own in zip(distances, fake_reach, strict=True))
        covered += min(distances) <= reach
    N, M = len(real), len(fake)
    return inside / M, recalled / N, balls / (k * M), covered / N


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("room", [2**24, 100])
def test_it_is_the_definition_whatever_is_held_at_a_time(k, room, monkeypatch) -> None:
    monkeypatch.setattr(module, "ROOM", room)
    real, fake = cloud(60, 0), cloud(45, 1, spread=0.7, shift=0.4)
    found = precision_recall(real, fake, k)
    expected = by_loops(real.numpy().astype(float), fake.numpy().astype(float), k)
    assert (found.precision, found.recall, found.density, found.coverage) == pytest.approx(expected)


def test_samples_of_one_mode_are_precise_and_recall_little() -> None:
    found = precision_recall(cloud(500, 0), cloud(500, 1, spread=0.1))
    assert found.precision > 0.95 and found.recall < 0.2 and found.coverage < 0.2


def test_samples_all_over_the_place_recall_much_and_are_not_precise() -> None:
    found = precision_recall(cloud(500, 0), cloud(500, 1, spread=5.0))
    assert found.precision < 0.2 and found.recall > 0.9


def test_strangers_share_nothing_and_twins_everything() -> None:
    x = cloud(100, 0)
    far, same = precision_recall(x, x + 100), precision_recall(x, x)
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)


def test_reach_is_the_distance_to_the_kth_other() -> None:
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert reaches(line, 1).tolist() == [1, 1, 2, 4]
    assert reaches(line, 2).tolist() == [3, 2, 3, 6]


def test_the_nearest_come_first() -> None:
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert nearest(torch.tensor([[2.6], [0.4]]), line, 2).tolist() == [[2, 1], [0, 1]]


def test_too_few_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 3"):
        precision_recall(cloud(3, 0), cloud(50, 1))
