"""Path lengths of toy generators whose answer is known in closed form."""

import math

import pytest
import torch
from torch import Tensor

from generative.metrics.path_length import EPSILON, step_lengths, steps_in_w, steps_in_z, trimmed_mean

D = 8


def draw(n: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, D, generator=rng, dtype=torch.float64) for _ in range(2))
    return a, b, torch.rand(n, generator=rng, dtype=torch.float64)


def squared(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().flatten(1).sum(dim=1)


def same(x: Tensor) -> Tensor:
    return x


def test_a_linear_generator_has_the_length_of_its_matrix() -> None:
    """G(w) = A w: every step is eps (b - a), so the length is |A (b - a)|², wherever on the way."""
    a, b, t = draw()
    A = torch.randn(D, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = step_lengths(steps_in_w(a, b, t, same), lambda w: w @ A, squared)
    torch.testing.assert_close(found, ((b - a) @ A).square().sum(dim=1), rtol=1e-6, atol=0)


def test_a_step_in_w_is_taken_after_the_mapping() -> None:
    a, b, t = draw()
    here, there = steps_in_w(a, b, t, lambda z: z**3)
    torch.testing.assert_close(here, torch.lerp(a**3, b**3, t[:, None]))
    torch.testing.assert_close(there - here, EPSILON * (b**3 - a**3), rtol=1e-6, atol=1e-12)


def test_latents_of_many_layers_move_together() -> None:
    a, b, t = draw()
    here, _ = steps_in_w(a, b, t, lambda z: z[:, None].expand(-1, 3, -1))
    torch.testing.assert_close(here[:, 2], torch.lerp(a, b, t[:, None]))


def test_on_the_sphere_the_length_is_the_squared_angle() -> None:
    """With G the identity, the arc of angle phi is walked at constant speed: the length is phi²."""
    a, b, t = draw()
    ends = steps_in_z(a, b, t, lambda z: z.double(), epsilon=1e-2)
    found = step_lengths(ends, same, squared, epsilon=1e-2)
    angle = torch.nn.functional.cosine_similarity(a, b).acos()
    torch.testing.assert_close(found, angle.square(), rtol=1e-3, atol=0)
    torch.testing.assert_close(ends[0].norm(dim=1), torch.ones(64, dtype=torch.float64))


def test_the_arc_leads_from_one_end_to_the_other() -> None:
    a, b, _ = draw()
    start, _ = steps_in_z(a, b, torch.zeros(64), same)
    end, _ = steps_in_z(a, b, torch.ones(64), same)
    torch.testing.assert_close(start.double(), a / a.norm(dim=1, keepdim=True), atol=1e-6, rtol=0)
    torch.testing.assert_close(end.double(), b / b.norm(dim=1, keepdim=True), atol=1e-6, rtol=0)


def test_an_even_quadratic_generator_is_longer_in_the_middle_of_nothing() -> None:
    """G(w) = |w|² / 2 changes by w · (b - a): known at every t, which tells full from end sampling."""
    a, b, t = draw()
    found = step_lengths(steps_in_w(a, b, t, same), lambda w: w.square().sum(1, keepdim=True) / 2, squared)
    slope = (torch.lerp(a, b, t[:, None]) * (b - a)).sum(dim=1)
    torch.testing.assert_close(found, slope.square(), rtol=1e-2, atol=1e-3)


def test_the_mean_leaves_out_the_extremes_of_both_sides() -> None:
    lengths = torch.cat([torch.tensor([1e9, -1e9]), torch.arange(198.0)])
    kept = lengths.sort().values[1:-1]  # the percentiles themselves stay, as in the official code
    assert trimmed_mean(lengths) == pytest.approx(kept.mean().item())
    assert math.isclose(trimmed_mean(torch.full((50,), 3.0)), 3.0)
