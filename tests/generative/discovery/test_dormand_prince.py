import math
from itertools import pairwise

import pytest
import torch

from generative.discovery import dormand_prince
from generative.discovery.dormand_prince import integrate, integrate_evenly


def spiral(t, x):
    """Turns, faster with time: by t + t²/2 radians."""
    return torch.stack([x[:, 1], -x[:, 0]], dim=1) * (1 + t[:, None])


def turned(x, t):
    angle = torch.tensor(t + t * t / 2, dtype=torch.float64)
    return torch.stack([angle.cos() * x[:, 0] + angle.sin() * x[:, 1],
                        angle.cos() * x[:, 1] - angle.sin() * x[:, 0]], dim=1)  # fmt: skip


START = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1e-3, 5.0]], dtype=torch.float64)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5, 1e-7, 1e-9])
def test_the_error_follows_the_tolerance(tolerance):
    error = (integrate(spiral, START, 0.0, 3.0, tolerance) - turned(START, 3.0)).abs().max()
    assert float(error) < 50 * tolerance


def test_there_and_back_is_where_it_began():
    there = integrate(spiral, START, 0.0, 3.0, 1e-10)
    torch.testing.assert_close(integrate(spiral, there, 3.0, 0.0, 1e-10), START, rtol=0, atol=1e-7)


def test_even_steps_are_of_order_five():
    steps = [40, 80, 160]
    errors = [
        float((integrate_evenly(spiral, START, 0.0, 3.0, n) - turned(START, 3.0)).abs().max()) for n in steps
    ]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert all(4.6 < order < 5.4 for order in orders)


def test_a_row_is_solved_alike_whatever_is_beside_it():
    together = integrate(spiral, START, 0.0, 3.0)
    alone = torch.cat([integrate(spiral, row[None], 0.0, 3.0) for row in START])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)


def test_no_time_changes_nothing():
    assert torch.equal(integrate(spiral, START, 2.0, 2.0), START)


def test_an_equation_that_runs_away_is_given_up(monkeypatch):
    monkeypatch.setattr(dormand_prince, "MAX_STEPS", 60)
    with pytest.raises(ValueError, match="not solved"):
        integrate(lambda t, x: x.square(), torch.ones(1, 1), 0.0, 2.0)  # infinite at 1
