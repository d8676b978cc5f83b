import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from generative.networks.stylegan import Generator, StyleGANConfig
from generative.spaces import broadcast
from tests.generative.networks.genforce_vectors import randomised

SMALL = StyleGANConfig(
    img_resolution=16, channels=(12, 8, 6), z_dim=10, w_dim=9, mapping_layers=3, mapping_fmaps=11
)


@pytest.fixture
def generator():
    return randomised(Generator(SMALL)).double()


def random(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain(state, ws):
    """The definition at 16 pixels, in small steps."""

    def finished(i, x):
        name = f"synthesis.layer{i}"
        noise, strength = (state[f"{name}.apply_noise.{part}"] for part in ("noise", "weight"))
        x = x + noise * strength.reshape(1, -1, 1, 1) + state[f"{name}.bias"].reshape(1, -1, 1, 1)
        x = F.leaky_relu(x, 0.2)
        x = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), correction=0, keepdim=True) + 1e-8).sqrt()
        style = ws[:, i] @ state[f"{name}.style.weight"].T / 3 + state[f"{name}.style.bias"]  # 3: sqrt(w_dim)
        scale, shift = style[:, :, None, None].tensor_split(2, dim=1)
        return x * (scale + 1) + shift

    def convolved(i, x):
        weight = state[f"synthesis.layer{i}.weight"]
        return F.conv2d(x, weight * math.sqrt(2 / weight[0].numel()), padding=1)

    x = finished(0, state["synthesis.layer0.const"].repeat(len(ws), 1, 1, 1))
    x = finished(1, convolved(1, x))
    row = torch.tensor([0.25, 0.5, 0.25], dtype=ws.dtype)
    for i in (2, 4):
        x = convolved(i, x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
        x = F.conv2d(x.flatten(0, 1)[:, None], torch.outer(row, row)[None, None], padding=1).view_as(x)
        x = finished(i + 1, convolved(i + 1, finished(i, x)))
    weight = state["synthesis.output2.weight"]
    return F.conv2d(x, weight / math.sqrt(weight[0].numel()), state["synthesis.output2.bias"])


def test_pictures_are_what_the_definition_says(generator):
    ws = random(2, 6, 9)

    torch.testing.assert_close(generator.synthesize(ws), plain(generator.state_dict(), ws))


def test_w_is_what_the_definition_says(generator):
    z, state = random(3, 10), generator.state_dict()
    x = z / (z.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    for i in range(3):
        weight, bias = (0.01 * state[f"mapping.dense{i}.{part}"] for part in ("weight", "bias"))
        x = F.leaky_relu(x @ weight.T * math.sqrt(2 / weight.shape[1]) + bias, 0.2)

    torch.testing.assert_close(generator.map(z), x)


def test_a_picture_does_not_depend_on_its_company(generator):
    z = random(3, 10)

    torch.testing.assert_close(generator(z, psi=0.7)[1:2], generator(z[1:2], psi=0.7))


def test_a_style_is_the_deviation_less_one_and_the_mean_of_every_channel(generator):
    ws = random(2, 6, 9)
    styles = generator.styles(ws)

    for name, features in generator.features_of_ws(ws, generator.layers).items():
        scale, shift = styles[name].chunk(2, dim=1)
        torch.testing.assert_close(features.mean(dim=(2, 3)), shift)
        deviation = features.std(dim=(2, 3), correction=0)
        torch.testing.assert_close(deviation, (scale + 1).abs(), rtol=1e-5, atol=1e-5)


def test_there_is_a_style_for_every_layer(generator):
    weights = generator.style_weights()

    assert generator.layers == tuple(f"layer{i}" for i in range(6))
    assert generator.num_ws == 6
    assert generator.style_widths() == {n: s.shape[1] for n, s in generator.styles(random(1, 6, 9)).items()}
    assert all(weight.shape[1] == 9 for weight in weights.values())


def test_the_first_layers_alone_are_truncated_to_the_mean(generator):
    z = random(2, 10)
    ws = broadcast(generator.map(z), 6).clone()
    ws[:, :4] = generator.w_avg

    torch.testing.assert_close(generator(z, psi=0, cutoff=4), generator.synthesize(ws))


def test_noise_is_stored_drawn_given_or_left_out(generator):
    ws = random(2, 6, 9)

    def drawn(seed):
        return generator.synthesize(ws, "random", rng=torch.Generator().manual_seed(seed))

    noises = {name: torch.zeros(1, 1, side, side) for name, side in generator.noise_sizes.items()}
    assert generator.noise_sizes["layer2"] == 8
    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    assert torch.equal(generator.synthesize(ws, noises=noises), generator.synthesize(ws, "none"))
    assert not torch.equal(generator.synthesize(ws), generator.synthesize(ws, "none"))


def test_fused_layers_paint_the_same_with_the_flipped_kernels(generator):
    fused = Generator(dataclasses.replace(SMALL, fused_scale=True)).double()
    state = generator.state_dict()
    for name in ("synthesis.layer2.weight", "synthesis.layer4.weight"):
        state[name] = state[name].flip((2, 3))
    fused.load_state_dict(state)
    ws = random(2, 6, 9)

    torch.testing.assert_close(fused.synthesize(ws), generator.synthesize(ws))


@pytest.mark.parametrize(("scale", "fused"), [("auto", {128, 256}), (True, {8, 128, 256}), (False, set())])
def test_auto_fuses_from_128_pixels(scale, fused):
    config = StyleGANConfig(256, channels=(4,) * 7, fused_scale=scale)

    assert {r for r in (8, 128, 256) if config.fused_at(r)} == fused


def test_without_a_level_of_detail_the_one_of_the_checkpoint_holds(generator):
    z = random(2, 10)
    generator.synthesis.lod.fill_(1.5)

    assert torch.equal(generator(z), generator(z, lod=1.5))
    assert not torch.equal(generator(z), generator(z, lod=0))


def test_a_label_is_embedded_and_normalised_together_with_z():
    generator = randomised(Generator(dataclasses.replace(SMALL, c_dim=2))).double()
    z, c = random(2, 10), torch.eye(2, dtype=torch.float64)
    both = torch.cat([z, generator.mapping.label_weight], dim=1)  # each row's class is its own number
    x = both / (both.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    for i in range(3):
        x = generator.mapping.get_submodule(f"dense{i}")(x)

    torch.testing.assert_close(generator.map(z, c), x)
    for wrong in (None, torch.zeros(2, 3)):
        with pytest.raises(ValueError, match=r"class label c of shape \(N, 2\)"):
            generator.map(z, wrong)


def test_latents_of_other_shapes_are_refused(generator):
    with pytest.raises(ValueError, match=r"z must be \(N, 10\)"):
        generator.map(torch.zeros(1, 9))
    with pytest.raises(ValueError, match=r"ws must be \(N, 6, 9\)"):
        generator.synthesize(torch.zeros(1, 5, 9))


@pytest.mark.parametrize(
    "change", [{"w_dim": 0}, {"mapping_layers": 1000}, {"mapping_fmaps": 2**20}, {"c_dim": -1}]
)
def test_sizes_that_no_network_has_are_refused(change):
    with pytest.raises(ValueError):
        dataclasses.replace(SMALL, **change)
