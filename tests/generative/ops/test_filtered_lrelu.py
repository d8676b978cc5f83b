import math

import pytest
import torch

from generative.ops import filtered_lrelu as module
from generative.ops.filtered_lrelu import filtered_lrelu, filtered_lrelu_reference

CASES = {
    "same-rate": {"up": 2, "down": 2, "padding": (9, 8, 9, 8)},
    "next-rate": {"up": 4, "down": 2, "padding": (-6, -9, -2, -5)},
    "uneven": {"up": 2, "down": 2, "padding": (3, -4, 20, 0)},
    "as-it-is": {"up": 1, "down": 1, "padding": (0, 0, 0, 0)},
}


def inputs(up, down, radial=False, channels=3):
    rng = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    up_filter = draw(6 * up) / up if up > 1 else None
    down_filter = draw(6 * down, 6 * down) if radial else draw(6 * down)
    return draw(2, channels, 18, 17), draw(channels), up_filter, down_filter if down > 1 else None


@pytest.mark.parametrize("clamp", [None, 2.0])
@pytest.mark.parametrize("radial", [False, True], ids=["separable", "radial"])
@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_the_fast_path_is_the_definition(options, radial, clamp):
    arguments = inputs(options["up"], options["down"], radial)

    fast = filtered_lrelu(*arguments, **options, clamp=clamp)

    torch.testing.assert_close(fast, filtered_lrelu_reference(*arguments, **options, clamp=clamp))


def test_channels_last_in_memory_change_nothing_but_the_speed():
    x, *others = inputs(2, 2)
    options = CASES["same-rate"] | {"clamp": 2.0}

    last = filtered_lrelu(x.contiguous(memory_format=torch.channels_last), *others, **options)

    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, filtered_lrelu(x, *others, **options))


def test_channels_a_few_at_a_time_are_all_channels_at_once(monkeypatch):
    arguments = inputs(2, 2, channels=37)
    options = CASES["same-rate"] | {"clamp": 2.0}
    together = filtered_lrelu(*arguments, **options)
    monkeypatch.setattr(module, "CACHED", 1)

    torch.testing.assert_close(filtered_lrelu(*arguments, **options), together)


def test_gradients_are_those_of_the_definition():
    def gradients(operation):
        x, bias, *filters = inputs(2, 2)
        x.requires_grad_(), bias.requires_grad_()
        y = operation(x, bias, *filters, **CASES["same-rate"], clamp=2.0)
        return torch.autograd.grad(y.square().sum(), (x, bias))

    torch.testing.assert_close(gradients(filtered_lrelu), gradients(filtered_lrelu_reference))


def test_the_input_is_left_as_it_was():
    arguments = inputs(1, 1)
    x = arguments[0].clone()
    filtered_lrelu(*arguments, **CASES["as-it-is"], clamp=0.1)
    assert torch.equal(arguments[0], x)


def test_values_that_stay_between_zero_and_the_clamp_are_only_scaled():
    x = torch.rand(1, 2, 6, 6, dtype=torch.float64)
    twice = torch.full((2,), 0.5, dtype=torch.float64)  # repeats each sample, or takes the mean of two
    options = {"up": 2, "down": 2, "padding": (1, 0, 1, 0), "clamp": 100.0}

    y = filtered_lrelu(x, torch.ones(2, dtype=torch.float64), twice, twice, **options)

    torch.testing.assert_close(y, math.sqrt(2) * (x + 1))
