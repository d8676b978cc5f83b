import math

import pytest
import torch

from generative.worlds import steady


@pytest.mark.parametrize(
    ("ours", "true", "low", "high", "error"),
    [
        (steady.sin, torch.sin, -10, 10, 2e-6),
        (steady.sin, torch.sin, -100, 100, 1e-5),
        (steady.cos, torch.cos, -10, 10, 2e-6),
        (steady.decay, lambda t: torch.exp(-t), 0, 80, 2e-6),
        (steady.display, lambda v: v ** (1 / 2.2), 0, 1, 3e-4),
    ],
)
def test_a_function_is_as_near_to_the_true_one_as_it_says(ours, true, low, high, error):
    x = torch.linspace(low, high, 200_001)
    assert (ours(x) - true(x.double())).abs().max() < error


def test_the_angle_of_a_point_is_right_in_all_quadrants():
    angle = torch.linspace(-math.pi, math.pi, 100_001).double()
    found = steady.atan2(angle.sin().float(), angle.cos().float())
    assert (found - torch.atan2(angle.sin().float(), angle.cos().float())).abs().max() < 4e-6


@pytest.mark.parametrize("function", [steady.sin, steady.cos, steady.decay, steady.display])
def test_a_value_does_not_depend_on_its_place_in_an_array(function):
    x = torch.rand(100_003, generator=torch.Generator().manual_seed(0))
    whole = function(x)
    assert torch.equal(whole[1:], function(x[1:].clone()))
    assert all(
        torch.equal(whole[i : i + 1], function(x[i : i + 1].clone())) for i in range(0, 100_003, 5_003)
    )
