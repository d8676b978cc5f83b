"""Directions without what they share with others, against the official projection."""

import pytest
import torch

from generative.editing.conditions import projected
from generative.editing.direction import Direction
from generative.spaces import Space
from tests.generative.discovery.vectors import Vectors


def direction(vector, space=Space.W, **more):
    return Direction("d", space, vector, **more)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_projections_agree_with_the_official_code(count):
    stored = Vectors("interfacegan", "project_boundary")
    conditions = [direction(c[0] * 3) for c in stored["conditions"][:count]]
    primal = direction(stored["primal"][0], unit="distance")
    ours = projected(primal, conditions)
    torch.testing.assert_close(ours.vector[None], stored[f"project_{count}"], rtol=0, atol=1e-6)
    assert ours.unit == "distance"


def test_a_projection_keeps_the_length_and_nothing_of_its_conditions():
    rng = torch.Generator().manual_seed(0)
    one, layered = torch.randn(8, generator=rng) * 2, torch.randn(3, 8, generator=rng)
    ours = projected(direction(one, unit="sigma", sigma=0.5), [direction(layered, Space.W_PLUS)])
    assert ours.space is Space.W_PLUS and ours.vector.shape == (3, 8) and ours.sigma == 0.5
    assert abs(float((ours.vector * layered).sum())) < 1e-5
    torch.testing.assert_close(ours.vector.norm(), one.norm() * 3**0.5)


def test_directions_of_other_spaces_cannot_be_kept():
    with pytest.raises(ValueError, match="own space"):
        projected(direction(torch.ones(4)), [direction(torch.ones(4), Space.Z)])
    with pytest.raises(ValueError, match="nothing is left"):
        projected(direction(torch.ones(4)), [direction(torch.ones(4))])
