"""Axes are found where a function is known to be diagonal."""

import torch

from generative.discovery.hessian_directions import HessianTraining, learn_axes, penalties, slope_of
from generative.discovery.hessian_penalty import draw_signs, hessian_penalty, orthonormal, row_penalties

TURN = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(3)))[0]


def G(z: torch.Tensor) -> torch.Tensor:
    """Each output depends on one coordinate, after a turn."""
    return torch.tensor([1.0, 2.0, 3.0]) * (z @ TURN.T) ** 2


def draw(step: int, count: int) -> torch.Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(step))


def test_the_axes_of_a_turned_function_are_found():
    seen = []
    settings = HessianTraining(steps=100, batch=4, learning_rate=0.1)
    axes = learn_axes(draw, 3, slope_of(G), settings, lambda step, penalty: seen.append(penalty))
    torch.testing.assert_close(axes @ axes.T, torch.eye(3), atol=1e-5, rtol=0)
    cosines = (axes @ TURN.T).abs()
    assert float(cosines.amax(dim=1).min()) > 0.99 and sorted(cosines.argmax(dim=1).tolist()) == [0, 1, 2]
    assert sum(seen[-20:]) < 0.1 * sum(seen[:20])


def test_a_latents_penalty_does_not_depend_on_its_company():
    z, axes = draw(0, 4), orthonormal(draw(1, 3)).expand(4, -1, -1)
    signs = draw_signs(2, z, torch.Generator().manual_seed(0)).transpose(0, 1)
    together = penalties(G, z, axes, signs)
    alone = [penalties(G, z[i : i + 1], axes[i : i + 1], signs[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_the_largest_penalty_of_a_row_is_that_of_the_batch():
    z = draw(2, 5)
    signs = draw_signs(3, z, torch.Generator().manual_seed(1))
    turned = row_penalties(lambda x: (x @ TURN).prod(dim=1), z, signs)
    assert float(turned.max()) == float(hessian_penalty(lambda x: (x @ TURN).prod(dim=1), z, signs))
