"""Genuine files of every supported format give back the network that was put in."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from generative.checkpoints import CheckpointError, import_checkpoint
from generative.checkpoints.nvlabs import config_from_kwargs
from generative.networks.stylegan2 import Generator

TABLE = (
    Path(__file__).parents[4] / "shared/conformance/generators/rosinality_stylegan2/nvlabs_key_mapping.json"
)


def assert_same_network(forge, imported):
    assert set(imported.generator.state) == set(forge.state)
    for name, value in forge.state.items():
        assert torch.equal(imported.generator.state[name], value), name
        assert imported.generator.state[name].dtype == torch.float32
    assert torch.equal(imported.generator.state["mapping.w_avg"], forge.state["mapping.w_avg"])


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_nvlabs_pickles_come_in_bit_for_bit(forge, protocol):
    imported = import_checkpoint(forge.write(forge.nvlabs(protocol=protocol)))
    assert_same_network(forge, imported)
    assert imported.generator.config == forge.generator.config
    assert imported.provenance["format"] == "nvlabs-pickle"


def test_the_stylegan3_repository_has_flat_arguments_and_other_defaults(forge):
    kwargs = {"z_dim": 12, "c_dim": 0, "w_dim": 10, "img_resolution": 16, "img_channels": 3}
    kwargs |= {"mapping_kwargs": {"num_layers": 2}, "channel_base": 128, "channel_max": 16}
    imported = import_checkpoint(forge.write(forge.nvlabs(kwargs, stylegan3=True)))
    assert_same_network(forge, imported)
    assert (imported.generator.config.conv_clamp, imported.generator.config.num_fp16_res) == (256, 4)
    assert imported.generator.config.w_avg_beta == 0.998


def test_arguments_without_a_word_on_synthesis_take_the_defaults_of_their_repository():
    kwargs = {"z_dim": 512, "c_dim": 0, "w_dim": 512, "img_resolution": 64, "img_channels": 3}
    assert config_from_kwargs(kwargs).conv_clamp is None
    assert config_from_kwargs(kwargs, stylegan3=True).conv_clamp == 256


@pytest.mark.parametrize("zip_container", [True, False], ids=["zip", "stream"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "converted"])
def test_rosinality_files_come_in_bit_for_bit(forge, training, zip_container):
    content = forge.rosinality(training=training, zip_container=zip_container)
    imported = import_checkpoint(forge.write(content))
    assert_same_network(forge, imported)
    assert imported.generator.config.num_ws == 6
    assert imported.provenance["format"] == "rosinality"


def test_our_inverse_of_the_importer_agrees_with_the_published_key_table(forge):
    if not TABLE.exists():
        pytest.skip("the key table is not beside this repository")
    theirs = forge.rosinality_names()
    by_ours = {ours: name for ours, name, _ in json.loads(TABLE.read_text())["table"]}
    for ours, value in forge.state.items():
        if ours in by_ours and re.search(r"b(4|8|16)\.|fc[01]\.", ours):
            assert torch.equal(theirs[by_ours[ours]].flatten(), value.flatten()), ours


def test_a_training_file_without_an_average_gets_one_from_samples(forge):
    imported = import_checkpoint(forge.write(forge.rosinality(training=True, average=False)))
    w = forge.generator.map(torch.randn(20_000, 12, generator=torch.Generator().manual_seed(9)))
    torch.testing.assert_close(imported.generator.state["mapping.w_avg"], w.mean(dim=0), atol=0.05, rtol=0)
    assert "average" in imported.provenance["notes"][0]


def test_arguments_that_would_be_endless_as_text_are_compared_only(forge):
    endless = ()
    for _ in range(60):
        endless = (endless, endless)
    with pytest.raises(CheckpointError) as refused:
        import_checkpoint(forge.write(forge.rosinality(training=True, args={"size": endless})))
    assert refused.value.code == "bad_config"


def test_an_old_file_without_noise_gets_the_same_noise_each_time(forge):
    path = forge.write(forge.rosinality(noises=False))
    first, second = import_checkpoint(path), import_checkpoint(path)
    noise = "synthesis.b16.conv1.noise_const"
    assert torch.equal(first.generator.state[noise], second.generator.state[noise])
    assert first.generator.state[noise].std() > 0.5
    assert "noise" in first.provenance["notes"][0]


def test_our_own_safetensors_come_in_again(forge):
    content = save(forge.state, metadata={"config": json.dumps(asdict(forge.generator.config))})
    imported = import_checkpoint(forge.write(content))
    assert_same_network(forge, imported)
    assert imported.generator.config == forge.generator.config


def test_the_name_of_the_file_means_nothing(forge):
    path = forge.write(forge.nvlabs(), "weights.safetensors")
    assert import_checkpoint(path).provenance["format"] == "nvlabs-pickle"


def test_the_imported_network_paints_the_same_pictures(forge):
    imported = import_checkpoint(forge.write(forge.nvlabs()))
    generator = Generator(imported.generator.config).eval()
    generator.load_state_dict(imported.generator.state)
    z = torch.randn(2, 12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(generator(z, psi=0.7), forge.generator(z, psi=0.7))


def test_a_network_that_is_not_stylegan2_is_named_as_such(forge):
    state = {"mapping.w_avg": torch.zeros(4), "synthesis.input.freqs": torch.zeros(4, 2)}
    with pytest.raises(CheckpointError, match="not StyleGAN2") as refused:
        import_checkpoint(forge.write(forge.nvlabs(state=state)))
    assert refused.value.code == "unsupported_format"
