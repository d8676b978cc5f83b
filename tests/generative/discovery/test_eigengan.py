"""Every dimension of a subspace is a direction, and moves the features as far as it says."""

import torch

from generative.discovery.eigengan import dimensions
from tests.families import tiny


def test_a_step_along_a_dimension_moves_its_level_and_nothing_before():
    generator = tiny("eigengan")
    found = dimensions(generator)
    assert [(d.level, d.side) for d in found] == [(1, 4), (1, 4), (2, 8), (2, 8)]
    assert sorted(d.place for d in found) == [8, 9, 10, 11]
    z = torch.randn(1, generator.z_dim, generator=torch.Generator().manual_seed(0))
    layers = ["blocks.0.projection", "blocks.1.projection"]
    before = generator.features(z, layers)
    for dimension in found:
        after = generator.features(z + dimension.vector(generator.z_dim), layers)
        changes = [float((after[name] - before[name]).norm()) for name in layers]
        own = dimension.level - 1
        torch.testing.assert_close(changes[own], dimension.length, rtol=1e-4, atol=0)
        assert changes[1 - own] == 0


def test_in_each_level_the_dimension_that_moves_most_comes_first():
    lengths = [(d.level, d.length) for d in dimensions(tiny("eigengan"))]
    assert lengths == sorted(lengths, key=lambda item: (item[0], -item[1]))
