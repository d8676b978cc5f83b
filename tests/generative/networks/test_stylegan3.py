import math

import pytest
import torch

from generative.networks import stylegan3
from generative.networks.stylegan3 import Generator, StyleGAN3Config
from generative.spaces import broadcast

SIZES = {
    "img_resolution": 32,
    "z_dim": 8,
    "w_dim": 10,
    "num_layers": 6,
    "channel_base": 256,
    "channel_max": 8,
}
CONFIGS = {
    "t": StyleGAN3Config(**SIZES),
    "r": StyleGAN3Config(**SIZES, conv_kernel=1, use_radial_filters=True),
}
QUARTER = torch.tensor(
    [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
)  # x to y: clockwise, as y is down


def made(config):
    torch.manual_seed(0)
    generator = Generator(config)
    with torch.no_grad():  # as after training: the input depends on w, gains and biases differ
        generator.synthesis.input.affine.weight.normal_()
        for name in generator.layers[1:]:
            layer = generator.synthesis.get_submodule(name)
            layer.magnitude_ema.uniform_(0.5, 2)
            layer.bias.normal_()
    return generator.eval().requires_grad_(False)


@pytest.fixture(scope="module", params=CONFIGS)
def generator(request):
    return made(CONFIGS[request.param])


@pytest.fixture(scope="module")
def rotating():
    return made(CONFIGS["r"])


def ws_of(generator, N=3):
    z = torch.randn(N, 8, generator=torch.Generator().manual_seed(1))
    return broadcast(generator.map(z), generator.num_ws)


def shift(x, y):
    return torch.tensor([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def relative(actual, expected):
    return ((actual - expected).abs().max() / expected.abs().max()).item()


def test_painting_from_styles_is_painting_from_the_ws_that_made_them(generator):
    ws = ws_of(generator)
    styles = generator.styles(ws)
    assert {name: s.shape[1] for name, s in styles.items()} == generator.style_widths()
    assert generator.style_widths()["input"] == 4
    torch.testing.assert_close(generator.synthesize_styles(styles), generator.synthesize(ws))


def test_a_picture_does_not_depend_on_its_batch(generator):
    ws = ws_of(generator) * torch.tensor([1.0, 1e-3, 1e3])[:, None, None]  # company of very different styles
    alone = torch.cat([generator.synthesize(w[None]) for w in ws])
    for one, other in zip(generator.synthesize(ws), alone, strict=True):
        assert relative(one, other) < 1e-5


def test_the_convolution_is_the_one_with_a_normalised_kernel_for_each_sample():
    rng = torch.Generator().manual_seed(2)
    x = torch.randn(2, 5, 6, 7, generator=rng, dtype=torch.float64)
    weight = torch.randn(4, 5, 3, 3, generator=rng, dtype=torch.float64)
    styles = 1e-4 * torch.randn(2, 5, generator=rng, dtype=torch.float64)  # so small that the 1e-8 counts
    gain = torch.tensor(0.7, dtype=torch.float64)

    ours = stylegan3.modulated_conv2d(x, 1e-4 * weight, styles, gain)

    for image, style, y in zip(x, styles, ours, strict=True):
        w = weight / weight.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        w = w * (style / style.square().mean().sqrt())[None, :, None, None]
        w = w / (w.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        expected = 0.7 * torch.nn.functional.conv2d(image[None], w, padding=2)[0]
        torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)


def test_the_input_is_made_of_waves_that_w_turns_and_shifts():
    first = made(CONFIGS["t"]).double().synthesis.input
    style = torch.tensor([[3.0, 4.0, 0.5, -1.0]], dtype=torch.float64)  # 0.6 0.8 0.1 -0.2 of unit direction
    got = first(style)[0]

    size, rate = first.band.size, first.band.rate
    for row, column in ((0, 0), (5, 17), (size - 1, 3)):
        x, y = (column + 0.5 - size / 2) / rate - 0.1, (row + 0.5 - size / 2) / rate + 0.2
        place = torch.tensor([0.6 * x - 0.8 * y, 0.8 * x + 0.6 * y], dtype=torch.float64)
        waves = torch.sin(2 * math.pi * (first.freqs @ place + first.phases))
        expected = first.weight @ waves / math.sqrt(len(waves))  # all frequencies are below the cutoff
        torch.testing.assert_close(got[:, row, column], expected)


def test_waves_that_the_grid_cannot_hold_fade_out(generator):
    first = generator.synthesis.input
    style = generator.styles(ws_of(generator))["input"]
    half = (first.band.rate / 2 + first.band.cutoff) / 2 / first.freqs.norm(dim=1).min()
    assert first(style, torch.diag(torch.tensor([half, half, 1.0]))).abs().max() > 0
    assert first(style, torch.diag(torch.tensor([1e4, 1e4, 1.0]))).abs().max() == 0


def test_a_shift_moves_the_picture_and_changes_nothing_else(generator):
    ws, pixels = ws_of(generator), 8  # a whole number of samples on the coarsest grid too
    still = generator.synthesize(ws)
    right = generator.synthesize(ws, transform=shift(pixels / 32, 0))
    down = generator.synthesize(ws, transform=shift(0, pixels / 32))
    assert relative(right[..., pixels:], still[..., :-pixels]) < 1e-3  # what comes in differs a little
    assert relative(down[:, :, pixels:], still[:, :, :-pixels]) < 1e-3


def test_a_quarter_turn_turns_the_picture(rotating):
    ws = ws_of(rotating)
    turned = rotating.synthesize(ws, transform=QUARTER)
    assert relative(turned, torch.rot90(rotating.synthesize(ws), -1, (2, 3))) < 1e-5


def test_each_sample_may_move_by_its_own_transform(generator):
    ws = ws_of(generator)
    moves = torch.stack([torch.eye(3), QUARTER, shift(0.1, 0.2) @ QUARTER])
    together = generator.synthesize(ws, transform=moves)
    for w, move, expected in zip(ws, moves, together, strict=True):
        assert relative(generator.synthesize(w[None], transform=move)[0], expected) < 1e-5


def test_a_transform_acts_on_the_picture_as_the_stored_one_left_it():
    generator = made(CONFIGS["t"])
    ws, first, second = ws_of(generator), shift(0.2, -0.1), QUARTER
    expected = generator.synthesize(ws, transform=second @ first)
    generator.synthesis.input.transform.copy_(torch.linalg.inv(first))
    assert relative(generator.synthesize(ws, transform=second), expected) < 1e-5


@pytest.mark.parametrize(
    "bad", [torch.zeros(3, 3), torch.full((3, 3), math.nan), torch.eye(2), torch.eye(3)[None, None]]
)
def test_a_transform_that_is_none_is_refused(generator, bad):
    with pytest.raises(ValueError, match="transform"):
        generator.synthesize(ws_of(generator), transform=bad)


def test_each_w_reaches_the_one_layer_that_the_index_says(generator):
    ws = ws_of(generator)
    before = generator.styles(ws)
    assert generator.layers[0] == "input" and len(generator.layers) == generator.num_ws == 8
    for name, i in generator.ws_index.items():
        changed = ws.clone()
        changed[:, i] += 1
        after = generator.styles(changed)
        assert {n for n in before if not torch.equal(before[n], after[n])} == {name}


def test_a_hook_changes_what_the_next_layer_sees(generator):
    ws = ws_of(generator)
    last = generator.layers[-1]
    seen = generator.features_of_ws(ws, [last])[last]
    torch.testing.assert_close(seen * generator.config.output_scale, generator.synthesize(ws))
    silent = generator.synthesize(ws, hook=lambda name, x: x * (name != "input"))
    assert not torch.allclose(silent, generator.synthesize(ws))


def test_noise_changes_nothing(generator):
    ws = ws_of(generator)
    assert generator.noise_sizes == {}
    assert torch.equal(generator.synthesize(ws, noise="random"), generator.synthesize(ws, noise="none"))


def test_double_precision_is_the_same_picture(generator):
    ws = ws_of(generator)
    exact = made(generator.config).double().synthesize(ws.double())
    assert exact.dtype == torch.float64
    assert relative(generator.synthesize(ws).double(), exact) < 1e-5


def test_state_is_what_checkpoints_provide_and_floating_point(generator):
    state = generator.state_dict()
    assert all(value.is_floating_point() for value in state.values())
    assert not any("positions" in name for name in state)
    to_rgb = generator.layers[-1]
    assert f"synthesis.{to_rgb}.magnitude_ema" in state
    assert f"synthesis.{to_rgb}.up_filter" not in state


def test_every_parameter_learns():
    generator = made(CONFIGS["t"]).requires_grad_()
    generator(torch.randn(2, 8)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())


@pytest.mark.parametrize("lrelu_upsampling", [1, 4])
def test_other_grids_for_the_nonlinearity_paint_too(lrelu_upsampling):
    generator = made(StyleGAN3Config(**SIZES, lrelu_upsampling=lrelu_upsampling))
    assert generator.synthesize(ws_of(generator)).shape == (3, 3, 32, 32)


def test_wrong_shapes_are_refused(generator):
    with pytest.raises(ValueError, match="ws must be"):
        generator.synthesize(torch.zeros(1, 3, 10))
    with pytest.raises(ValueError, match="z must be"):
        generator.map(torch.zeros(1, 5))
    with pytest.raises(ValueError, match="no such layers: L9"):
        generator.features_of_ws(ws_of(generator), ["L9"])
