"""What must be true of ALAE's networks whatever their weights are."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from generative.networks.alae import ALAEConfig, DecodeBlock, Generator, UpConv
from generative.networks.alae_encoder import ALAEEncoderConfig, DownConv, Encoder, moments

SMALL = ALAEConfig(16, channels=(12, 8, 6), latent_dim=10, mapping_layers=2)
SMALL_ENCODER = ALAEEncoderConfig(16, channels=(6, 8, 12, 12), w_dim=10)


def randomised(module):
    """With every parameter and buffer at some value of its own, in float64."""
    module = module.double().eval().requires_grad_(False)
    rng = torch.Generator().manual_seed(7)
    for value in module.state_dict().values():
        value += 0.3 * torch.randn(value.shape, generator=rng, dtype=value.dtype)
    return module


def normal(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.fixture(scope="module")
def generator():
    return randomised(Generator(SMALL))


@pytest.fixture(scope="module")
def encoder():
    return randomised(Encoder(SMALL_ENCODER))


def test_a_picture_does_not_depend_on_its_company(generator, encoder):
    z = normal(3, 10)
    images = generator(z, psi=0.5, cutoff=2)
    ws = encoder(images)
    for i in range(3):
        torch.testing.assert_close(generator(z[i : i + 1], psi=0.5, cutoff=2), images[i : i + 1])
        torch.testing.assert_close(encoder(images[i : i + 1]), ws[i : i + 1])


def test_w_scales_out_the_length_of_z(generator):
    z = normal(2, 10)
    torch.testing.assert_close(generator.map(5 * z), generator.map(z), atol=1e-6, rtol=0)


def test_truncation_pulls_every_layer_to_a_mean_of_its_own(generator):
    mean = generator.synthesize(generator.w_avg[None])
    torch.testing.assert_close(generator(normal(2, 10), psi=0.0), mean.expand(2, -1, -1, -1))
    assert not torch.allclose(generator.w_avg[0], generator.w_avg[1])


def test_the_stored_noise_and_no_noise_are_the_same(generator):
    ws = normal(2, 6, 10)
    assert torch.equal(generator.synthesize(ws, "const"), generator.synthesize(ws, "none"))


def test_random_noise_comes_from_the_given_generator_alone(generator):
    ws = normal(2, 6, 10)

    def drawn(seed):
        return generator.synthesize(ws, "random", rng=torch.Generator().manual_seed(seed))

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.allclose(drawn(1), drawn(2))
    assert not torch.allclose(drawn(1)[0], drawn(1)[1])


def test_given_noise_takes_the_place_of_the_other(generator):
    ws = normal(1, 6, 10)
    rng = torch.Generator().manual_seed(5)
    noises = {
        name: torch.randn(1, 1, side, side, generator=rng, dtype=torch.float64)
        for name, side in generator.noise_sizes.items()
    }
    given = generator.synthesize(ws, "none", noises)
    drawn = generator.synthesize(ws, "random", rng=torch.Generator().manual_seed(5))
    assert torch.equal(given, drawn)


def test_without_noise_a_bump_of_the_width_of_the_block_is_added():
    block = DecodeBlock(3, 4, 4, 10).double()
    x = torch.linspace(-30, 30, 601, dtype=torch.float64)
    bump = block._noisy(x, None, block.noise_weight_1) - x
    assert bump.sum() * 0.1 == pytest.approx(0.8 * 2 * 2)  # 0.8 s times a Gaussian of width s = 2
    assert x[bump.argmax()] == pytest.approx(0, abs=1e-9)


def test_levels_of_detail_fill_the_picture_with_copies(generator):
    ws = normal(1, 6, 10)
    coarse = generator.synthesize(ws, lod=2)
    assert coarse.shape == (1, 3, 16, 16)
    assert torch.equal(coarse, coarse[:, :, ::4, ::4].repeat_interleave(4, 2).repeat_interleave(4, 3))


def test_levels_of_detail_blend_between_whole_numbers(generator):
    ws = normal(1, 6, 10)
    fine, coarse = generator.synthesize(ws, lod=0), generator.synthesize(ws, lod=1)
    torch.testing.assert_close(generator.synthesize(ws, lod=0.25), 0.75 * fine + 0.25 * coarse)


def test_levels_that_are_not_there_are_refused(generator, encoder):
    for lod in (-0.1, 2.1, float("nan")):
        with pytest.raises(ValueError, match="lod"):
            generator.synthesize(normal(1, 6, 10), lod=lod)
        with pytest.raises(ValueError, match="lod"):
            encoder(normal(1, 3, 16, 16), lod)


def test_the_hook_sees_and_changes_every_layer(generator):
    ws, seen = normal(1, 6, 10), []

    def hook(name, value):
        seen.append(name)
        return value * 0 if name == "layer5" else value

    image = generator.synthesize(ws, hook=hook)
    assert seen == [*generator.layers, "output2"]
    bias = generator.decoder.to_rgb[2].to_rgb.bias
    torch.testing.assert_close(image, bias[:, None, None].expand(1, 3, 16, 16))


def test_styles_are_what_the_layers_make_of_w(generator):
    ws = normal(2, 6, 10)
    widths = generator.style_widths()
    styles = generator.styles(ws)
    assert {name: style.shape[1] for name, style in styles.items()} == widths
    assert list(widths.values()) == [24, 24, 16, 16, 12, 12]
    moved = generator.styles(ws + 1)["layer3"] - styles["layer3"]
    torch.testing.assert_close(moved, generator.style_weights()["layer3"].sum(dim=1).expand(2, -1))


def test_from_128_pixels_on_the_kernel_is_that_of_a_transposed_convolution():
    config = ALAEConfig(128, channels=(2,) * 5 + (3,), latent_dim=4)
    with torch.device("meta"):
        blocks = Generator(config).decoder.decode_block
    assert [block.conv_1.fused for block in list(blocks)[1:]] == [False] * 4 + [True]
    assert blocks[5].conv_1.weight.shape == (2, 3, 3, 3)


def test_the_transposed_convolution_is_the_mirrored_kernel_on_the_doubled_picture():
    fused, plain = UpConv(3, 2, fused=True).double(), UpConv(3, 2, fused=False).double()
    plain.weight.data = fused.weight.data.transpose(0, 1).flip(2, 3)
    x = normal(2, 3, 5, 5)
    torch.testing.assert_close(fused(x), plain(x))


def test_convolving_down_is_convolving_and_averaging():
    layer, x = DownConv(3, 2).double(), normal(2, 3, 8, 8)
    torch.testing.assert_close(layer(x), F.avg_pool2d(F.conv2d(x, layer.weight, padding=1), 2))


def test_moments_are_means_and_deviations():
    x = normal(2, 3, 4, 4)
    deviation, mean = torch.std_mean(x, dim=(2, 3), correction=0)
    torch.testing.assert_close(moments(x), torch.cat([mean, deviation], dim=1))


def test_encoding_without_the_finest_level_starts_with_the_smaller_picture(encoder):
    image = normal(2, 3, 16, 16)
    same = F.avg_pool2d(image, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(encoder(image, lod=1), encoder(same, lod=1))
    assert not torch.allclose(encoder(image), encoder(image, lod=1))


def test_the_score_of_w_is_an_affine_map(encoder):
    a, b = normal(2, 10).unbind()
    between = encoder.score(torch.stack([a, b, (a + b) / 2]))
    torch.testing.assert_close(between[2], between[:2].mean())


def test_wrong_shapes_are_refused(generator, encoder):
    with pytest.raises(ValueError, match="z must be"):
        generator.map(normal(2, 9))
    with pytest.raises(ValueError, match="ws must be"):
        generator.styles(normal(2, 5, 10))
    with pytest.raises(ValueError, match="images must be"):
        encoder(normal(1, 3, 8, 8))


@pytest.mark.parametrize(
    "change",
    [
        {"img_resolution": 24},
        {"img_resolution": 2**40},
        {"img_resolution": 32},
        {"channels": ()},
        {"channels": (12, 8, 0, 1)},
        {"img_channels": 0},
        {"img_channels": 10**9},
    ],
    ids=str,
)
@pytest.mark.parametrize("config", [SMALL, SMALL_ENCODER], ids=["generator", "encoder"])
def test_sizes_that_no_network_has_are_refused(config, change):
    with pytest.raises(ValueError):
        dataclasses.replace(config, **change)


def test_depths_and_lengths_that_no_network_has_are_refused():
    with pytest.raises(ValueError):
        dataclasses.replace(SMALL, mapping_layers=10**9)
    with pytest.raises(ValueError):
        dataclasses.replace(SMALL, latent_dim=10**9)
    with pytest.raises(ValueError):
        dataclasses.replace(SMALL_ENCODER, critic_layers=0)
    with pytest.raises(ValueError):
        dataclasses.replace(SMALL_ENCODER, w_dim=0)
