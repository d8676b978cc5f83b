"""StyleGAN3 pickles: read without running them, told from StyleGAN2, and refused where we know better."""

import pytest
import torch

from generative.checkpoints import CheckpointError
from generative.checkpoints.nvlabs import read_nvlabs, stylegan3_config
from generative.networks.stylegan3 import Generator
from tests.generative.checkpoints.stylegan3_pickle import stylegan3_pickle

KWARGS = {  # of the official constructor
    "z_dim": 8,
    "c_dim": 3,
    "w_dim": 10,
    "img_resolution": 16,
    "img_channels": 3,
    "mapping_kwargs": {"num_layers": 2},
    "channel_base": 128,
    "channel_max": 16,
    "magnitude_ema_beta": 0.998,
}
R_KWARGS = KWARGS | {"conv_kernel": 1, "use_radial_filters": True}


def generator_of(kwargs):
    torch.manual_seed(0)
    return Generator(stylegan3_config(kwargs))


def read(content):
    return read_nvlabs(content, 2 * len(content)).generator


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("kwargs", [KWARGS, R_KWARGS], ids=["t", "r"])
def test_pickles_of_stylegan3_come_in_bit_for_bit(kwargs, protocol, tmp_path):
    generator, canary = generator_of(kwargs), tmp_path / "canary"
    source = f"open({str(canary)!r}, 'w').close()"

    network = read(stylegan3_pickle(generator, kwargs, source=source, protocol=protocol))

    assert (network.name, network.config) == ("stylegan3", generator.config)
    expected = generator.state_dict()
    assert set(network.state) == set(expected)
    assert all(torch.equal(network.state[name], value) for name, value in expected.items())
    assert not canary.exists()


def test_stylegan2_of_the_same_repository_is_still_stylegan2(forge):
    assert read(forge.nvlabs(stylegan3=True)).name == "stylegan2"


def test_arguments_that_are_left_out_have_the_official_defaults():
    config = stylegan3_config({"z_dim": 512, "c_dim": 0, "w_dim": 512, "img_resolution": 256})
    assert (config.mapping_layers, config.channel_base, config.channel_max) == (2, 32768, 512)
    assert (config.num_layers, config.num_critical, config.conv_clamp) == (14, 2, 256)
    assert (config.first_stopband, config.last_stopband_rel) == (2**2.1, 2**0.3)


def test_arguments_of_training_and_speed_do_not_matter():
    given = {"num_fp16_res": 0, "magnitude_ema_beta": 0.9, "mapping_kwargs": {"w_avg_beta": 0.5}}
    assert stylegan3_config({"img_resolution": 64} | given) == stylegan3_config({"img_resolution": 64})


@pytest.mark.parametrize(
    "bad",
    [
        {"rand_embedding": True},
        {"x" * 10_000: 1},
        {"mapping_kwargs": {"magic": 1}},
        {"mapping_kwargs": {10**5000: 1}},
        {"mapping_kwargs": None},
        {"mapping_kwargs": {"num_layers": 10**9}},
        {"channel_max": "many"},
        {"channel_base": 10**10_000},
        {"first_cutoff": float("nan")},
        {"use_radial_filters": []},
    ],
    ids=lambda bad: next(iter(bad))[:20],
)
def test_arguments_that_we_do_not_know_are_refused(bad):
    with pytest.raises(CheckpointError) as error:
        stylegan3_config(KWARGS | bad)
    assert error.value.code == "bad_config"
    assert len(str(error.value)) < 4000


def test_other_networks_of_the_official_code_are_refused():
    class Discriminator(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.synthesis = torch.nn.Linear(2, 2)

    with pytest.raises(CheckpointError, match="not StyleGAN2 or StyleGAN3") as error:
        read(stylegan3_pickle(Discriminator(), {}))
    assert error.value.code == "unsupported_format"


def test_tensors_above_the_budget_are_refused():
    content = stylegan3_pickle(generator_of(KWARGS), KWARGS)
    with pytest.raises(CheckpointError) as error:
        read_nvlabs(content, 1000)
    assert error.value.code == "too_large"
