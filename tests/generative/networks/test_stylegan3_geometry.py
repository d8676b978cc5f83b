import time
from itertools import pairwise

import pytest
import torch

from generative.networks.stylegan3 import Generator
from generative.networks.stylegan3_geometry import StyleGAN3Config, bands, layers

PUBLISHED = (  # the layers of the official models of 1024 px
    "L0_36_512 L1_36_512 L2_52_512 L3_52_512 L4_84_512 L5_148_512 L6_148_512 L7_276_323 L8_276_203 "
    "L9_532_128 L10_1044_81 L11_1044_51 L12_1044_32 L13_1024_32 L14_1024_3"
)
HOSTILE = {
    "resolution": {"img_resolution": 48},
    "picture-within-the-first-cutoff": {"img_resolution": 4},
    "huge-resolution": {"img_resolution": 2**20},
    "no-latent": {"z_dim": 0},
    "negative-classes": {"c_dim": -1},
    "wide": {"channel_max": 10**6},
    "no-channels-at-the-end": {"channel_base": 32},
    "endless": {"num_layers": 10**9},
    "no-critical-layer": {"num_critical": 0},
    "only-critical-layers": {"num_critical": 14},
    "cutoff-above-stopband": {"first_cutoff": 8.0},
    "cutoff-zero": {"first_cutoff": 0.0},
    "not-a-number": {"first_stopband": float("nan")},
    "no-transition": {"last_stopband_rel": 0.5},
    "margin": {"margin_size": 10**6},
    "kernel": {"conv_kernel": 0},
    "filter": {"filter_size": 10**5},
    "odd-nonlinearity": {"lrelu_upsampling": 3},
    "clamp": {"conv_clamp": 0.0},
    "scale": {"output_scale": float("inf")},
    "learning-rate": {"mapping_lr_multiplier": 0.0},
}


def test_layers_have_the_published_names():
    assert " ".join(layer.name for layer in layers(StyleGAN3Config(1024))) == PUBLISHED


def test_the_rotation_equivariant_network_has_twice_the_channels():
    r = StyleGAN3Config(1024, channel_base=65536, channel_max=1024, conv_kernel=1, use_radial_filters=True)
    for ours, narrow in zip(layers(r)[:-1], layers(StyleGAN3Config(1024))[:-1], strict=True):
        assert abs(ours.outputs - 2 * narrow.outputs) <= 1
        assert ours.radial != (ours.name.startswith(("L12", "L13")))


@pytest.mark.parametrize("resolution", [8, 64, 1024])
def test_every_grid_holds_its_signal_and_every_layer_goes_on_from_the_one_before(resolution):
    config = StyleGAN3Config(resolution)
    signals, chain = bands(config), layers(config)
    for band in signals:
        assert band.cutoff <= band.rate / 2
        assert band.half_width > 0
    for before, after in pairwise(chain):
        assert (after.before, after.inputs) == (before.after, before.outputs)
        assert after.before.cutoff <= after.after.cutoff
    assert (chain[-1].after.size, chain[-1].outputs) == (resolution, 3)


def test_padding_gives_each_layer_its_size():
    for layer in layers(StyleGAN3Config(256)):
        low, high = layer.padding[:2]
        fine = (layer.before.size + layer.kernel - 1) * layer.up + low + high - layer.up_taps + 1
        assert (fine - layer.down_taps) // layer.down + 1 == layer.after.size


@pytest.mark.parametrize("bad", HOSTILE.values(), ids=HOSTILE)
def test_impossible_configurations_are_refused(bad):
    with pytest.raises(ValueError, match=r"must be|has|no network"):
        StyleGAN3Config(**{"img_resolution": 64} | bad)


def test_the_largest_configuration_can_be_looked_at_without_being_built():
    extreme = {"num_layers": 64, "first_cutoff": 1.0, "first_stopband": 1.1, "filter_size": 64}
    config = StyleGAN3Config(
        4096, channel_base=2**26, channel_max=16384, lrelu_upsampling=4, use_radial_filters=True, **extreme
    )
    began = time.process_time()
    with torch.device("meta"):
        state = Generator(config).state_dict()
    assert sum(value.numel() for value in state.values()) > 2**30
    assert time.process_time() - began < 20
