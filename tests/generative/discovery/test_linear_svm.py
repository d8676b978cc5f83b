import numpy as np
import pytest
import torch

from generative.discovery import linear_svm as module
from generative.discovery.linear_svm import linear_svm


def points(count=200, dim=3, margin=0.0, seed=0):
    """Rows of both sides of a known plane; with a negative margin they overlap."""
    rng = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, dim, generator=rng)
    positive = torch.arange(count) % 3 == 0
    rows[:, 0] += torch.where(positive, margin, -margin)
    return rows, positive


def slow_twin(rows, positive, steps=20_000):
    """The primal objective by plain subgradient descent: ½|w|² + Σ max(0, 1 - y(wx + b))."""
    x, y = rows.double(), torch.where(positive, 1.0, -1.0).double()
    w, b = torch.zeros(x.shape[1], dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for step in range(1, steps):
        inside = y * (x @ w + b) < 1
        rate = 1 / (10 + step)
        b = b + rate * (y * inside).sum() / len(y)
        w = w - rate * (w - (y[:, None] * x * inside[:, None]).sum(dim=0))
    return w, b


@pytest.mark.parametrize("margin", [0.5, 3.0], ids=["overlapping", "apart"])
def test_the_objective_is_that_of_a_slow_search(margin):
    rows, positive = points(margin=margin)
    plane = linear_svm(rows, positive)

    def objective(w, b):
        y = torch.where(positive, 1.0, -1.0).double()
        return float(w.square().sum() / 2 + (1 - y * (rows.double() @ w + b)).clamp(min=0).sum())

    assert objective(plane.normal, plane.intercept) <= 1.001 * objective(*slow_twin(rows, positive))


def test_points_on_two_lines_have_the_plane_between_them():
    rows = torch.tensor([[1.0, 0.0], [1.0, 2.0], [-1.0, 0.0], [-1.0, 2.0]])
    plane = linear_svm(rows, torch.tensor([True, True, False, False]))
    torch.testing.assert_close(plane.normal, torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert abs(plane.intercept) < 1e-6
    assert plane.decide(torch.tensor([[0.1, 5.0], [-0.1, 5.0]])).tolist() == [True, False]


def test_where_all_points_are_inside_of_the_margin_the_plane_is_in_the_middle():
    rows = torch.tensor([[0.1], [-0.1]])
    plane = linear_svm(rows, torch.tensor([True, False]))
    assert plane.normal[0] == pytest.approx(0.2) and abs(plane.intercept) < 1e-9


def test_swapping_the_sides_turns_the_normal_around():
    rows, positive = points(margin=1.0)
    there, back = linear_svm(rows, positive), linear_svm(rows, ~positive)
    torch.testing.assert_close(there.normal, -back.normal, rtol=0, atol=1e-2)


def test_shrinking_does_not_change_what_is_found(monkeypatch):
    rows, positive = points(count=400, dim=8, margin=0.1)
    found = linear_svm(rows, positive)
    monkeypatch.setattr(module._Search, "_shrink", lambda self: None)
    torch.testing.assert_close(linear_svm(rows, positive).normal, found.normal, rtol=0, atol=2e-2)


@pytest.mark.parametrize("positive", [[True, True], [False, False], []])
def test_one_side_alone_has_no_boundary(positive):
    with pytest.raises(ValueError, match="both sides"):
        linear_svm(torch.zeros(len(positive), 2), torch.tensor(positive, dtype=torch.bool))


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e30])
def test_rows_that_are_not_finite_or_too_long_are_refused(number):
    rows, positive = points()
    rows[3, 1] = number
    with pytest.raises(ValueError, match="not finite"):
        linear_svm(rows, positive)


def test_a_search_that_does_not_end_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "MAX_STEPS", 3)
    with pytest.raises(ValueError, match="does not end"):
        linear_svm(*points())


def test_equal_points_on_both_sides_are_no_trouble():
    plane = linear_svm(torch.ones(4, 2), torch.tensor([True, False, True, False]))
    assert np.isfinite(plane.intercept) and plane.normal.abs().max() < 1e-6
