"""The rewritten synthesis of StyleGAN2 against the network that it was made from."""

from typing import Any

import pytest
import torch

from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.networks.stylegan2_fast import FastSynthesis
from generative.networks.stylegan2_static import StaticSynthesis
from generative.ops.polyphase import polyphase_kernel
from generative.ops.upfirdn2d import fir_filter, upfirdn2d_reference

ERRORS = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}  # of the largest value
VARIANTS: dict[str, dict[str, Any]] = {
    "skip": {},
    "resnet": {"architecture": "resnet"},
    "orig": {"architecture": "orig"},
    "clamped": {"conv_clamp": 1.5},
    "no noise": {"use_noise": False},
    "another filter": {"resample_filter": (1, 2, 4, 1)},
}


def network(**changes: Any) -> Generator:
    """Up to 64 pixels, so that kernels are larger than maps in some layers and smaller in others."""
    torch.manual_seed(0)
    config = StyleGAN2Config(
        64, z_dim=8, w_dim=8, mapping_layers=1, channel_base=512, channel_max=32, **changes
    )
    generator = Generator(config).eval().requires_grad_(False)
    for name, parameter in generator.named_parameters():
        if name.endswith(("noise_strength", "bias")):
            parameter.add_(0.3)
    return generator


def painted(generator: Generator, synthesis: StaticSynthesis, noise: str, N: int = 3) -> float:
    """The largest difference by the largest value."""
    ws = torch.randn(N, generator.num_ws, 8, generator=torch.Generator().manual_seed(1))
    styles = generator.styles(ws)
    drawn = generator.draw_noises(noise, None, generator.stored_noise(), N, None)
    exact = generator.synthesize_styles(styles, noise)
    return float((synthesis(styles, drawn) - exact).abs().max() / exact.abs().max())


@pytest.mark.parametrize("kind", [StaticSynthesis, FastSynthesis])
@pytest.mark.parametrize("variant", VARIANTS)
def test_it_paints_what_the_network_paints(variant: str, kind: type[StaticSynthesis]) -> None:
    generator = network(**VARIANTS[variant])
    synthesis = kind(generator)
    for noise in ("const", "none") if generator.noise_sizes else ("none",):
        assert painted(generator, synthesis, noise) < ERRORS[torch.float32]
    assert painted(generator, synthesis, "none", N=1) < ERRORS[torch.float32]


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(StaticSynthesis, torch.float16), (StaticSynthesis, torch.bfloat16), (FastSynthesis, torch.bfloat16)],
)
def test_less_precision_costs_as_much_as_it_says(kind: Any, dtype: torch.dtype) -> None:
    generator = network()
    error = painted(generator, kind(generator, dtype), "const")
    assert ERRORS[torch.float32] < error < ERRORS[dtype]


def test_its_layers_take_both_ways() -> None:
    ways = {layer.folds for layer in FastSynthesis(network()).layers.values() if hasattr(layer, "folds")}
    assert ways == {True, False}


def test_upsampling_by_phases_is_the_definition() -> None:
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64)
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64)
    taps = fir_filter((1, 2, 4, 1)).double()
    zeros_between = upfirdn2d_reference(x, torch.ones(1, 1).double(), up=2, padding=(2, 1, 2, 1))
    full = torch.nn.functional.conv2d(zeros_between, weight.flip((2, 3)))
    exact = upfirdn2d_reference(full, 4 * taps, padding=(1, 1, 1, 1))
    phases = torch.nn.functional.conv2d(x, polyphase_kernel(weight, taps), padding=1)
    torch.testing.assert_close(torch.nn.functional.pixel_shuffle(phases, 2), exact)
