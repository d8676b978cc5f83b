"""What is exported comes in again bit for bit, and agrees with the published table of names."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from generative.cards import About
from generative.checkpoints.allowed import TENSORS
from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.exporting import EXPORTS, export_checkpoint, to_rosinality
from generative.checkpoints.nvlabs import config_from_kwargs
from generative.checkpoints.rosinality import from_rosinality, rosinality_config
from generative.checkpoints.tensors import make_tensors
from generative.checkpoints.torch_files import read_torch_zip
from generative.networks.alae import ALAEConfig
from generative.networks.alae import Generator as OtherGenerator
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.store import save_model

SHARED = Path(__file__).parents[4] / "shared" / "conformance" / "generators"
SMALL = StyleGAN2Config(16, z_dim=12, w_dim=10, mapping_layers=2, channel_base=128, channel_max=16)

#: operations of the published table
OPERATIONS = {
    "same": lambda value: value,
    "add axis 0": lambda value: value[None],
    "add axis 0, no flip": lambda value: value[None],
    "add axes 0,1": lambda value: value[None, None],
    "reshape [1]": lambda value: value.reshape(1),
    "reshape [1,3,1,1]": lambda value: value.reshape(1, 3, 1, 1),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    generator = Generator(SMALL).eval()
    for name, value in generator.state_dict().items():
        if not name.endswith("resample_filter"):
            value += torch.randn(value.shape)
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, generator, About(name="small"))
    return folder, generator.state_dict()


def exported(folder, form, out):
    export_checkpoint(folder / "weights.safetensors", form, out)
    return read_torch_zip(out.read_bytes(), TENSORS)


def test_a_rosinality_file_comes_in_again_bit_for_bit(folder, tmp_path):
    path, state = folder
    root = exported(path, "rosinality", tmp_path / "small.pt")
    assert set(root) == {"g_ema", "latent_avg"}
    g_ema = make_tensors(root["g_ema"], 10**7)
    again = from_rosinality(g_ema, root["latent_avg"].make())

    assert set(again) == set(state)
    for name, value in state.items():
        assert torch.equal(again[name], value), name
    config = rosinality_config(g_ema)
    assert dict(config.channels) == {r: SMALL.channels_at(r) for r in SMALL.resolutions}
    assert dataclasses.replace(config, channels=None, channel_base=128, channel_max=16) == SMALL


def test_a_state_dict_has_everything_by_the_official_names(folder, tmp_path):
    path, state = folder
    again = make_tensors(exported(path, "nvlabs-state-dict", tmp_path / "small.pt"), 10**7)
    assert set(again) == set(state)
    for name, value in state.items():
        assert torch.equal(again[name], value), name


def test_the_files_load_with_torch_too(folder, tmp_path):
    for form in EXPORTS:
        export_checkpoint(folder[0] / "weights.safetensors", form, tmp_path / form)
        torch.load(tmp_path / form, weights_only=True)


def test_every_name_and_shape_of_the_published_table_agrees():
    table_file = SHARED / "rosinality_stylegan2" / "nvlabs_key_mapping.json"
    if not table_file.exists():
        pytest.skip("the key table is not beside this repository")
    case = SHARED / "stylegan2_ada" / "uncond_r64"
    config = config_from_kwargs(json.loads((case / "config.json").read_text())["G_init_kwargs"])
    weights = np.load(case / "weights.npz")
    state = {
        k.removeprefix("G_ema."): torch.from_numpy(weights[k]) for k in weights if k.startswith("G_ema.")
    }
    root = to_rosinality(config, state)

    table = {
        theirs: (ours, operation) for ours, theirs, operation in json.loads(table_file.read_text())["table"]
    }
    for theirs, (ours, operation) in table.items():
        assert torch.equal(root["g_ema"][theirs], OPERATIONS[operation](state[ours])), theirs
    assert torch.equal(root["latent_avg"], state["mapping.w_avg"][None])

    beside = set(root["g_ema"]) - set(table)
    kernels = {f"convs.{2 * k}.conv.blur.kernel" for k in range(4)}
    assert beside == kernels | {f"to_rgbs.{k}.upsample.kernel" for k in range(4)}
    for name in beside:
        assert torch.equal(root["g_ema"][name], 4 * state["synthesis.b8.resample_filter"])


def test_names_and_shapes_are_those_of_a_real_file():
    case = SHARED / "rosinality_stylegan2" / "size64"
    if not case.exists():
        pytest.skip("the vectors are not beside this repository")
    weights = np.load(case / "weights.npz")
    theirs = {
        k.removeprefix("g_ema."): torch.from_numpy(weights[k]) for k in weights if k.startswith("g_ema.")
    }
    average = torch.from_numpy(weights["latent_avg"])

    root = to_rosinality(rosinality_config(theirs), from_rosinality(theirs, average))

    assert {name: value.shape for name, value in root["g_ema"].items()} == {
        n: v.shape for n, v in theirs.items()
    }
    for name, value in theirs.items():
        assert torch.equal(root["g_ema"][name], value), name
    assert torch.equal(root["latent_avg"], average)


@pytest.mark.parametrize(
    "change, word",
    [
        ({"c_dim": 3}, "classes"),
        ({"architecture": "resnet"}, "resnet"),
        ({"architecture": "orig"}, "orig"),
        ({"use_noise": False}, "noise"),
        ({"conv_clamp": 256.0}, "clamping to 256"),
        ({"resample_filter": (1, 2, 2, 1)}, "filter"),
        ({"mapping_lr_multiplier": 1.0}, "learning rate"),
    ],
    ids=str,
)
def test_what_names_and_shapes_cannot_say_is_refused(change, word):
    config = dataclasses.replace(SMALL, **change)
    with pytest.raises(CheckpointError, match=word) as error:
        to_rosinality(config, Generator(config).state_dict())
    assert error.value.code == "unsupported_format"


def test_other_networks_than_stylegan2_are_refused(tmp_path):
    config = ALAEConfig(8, channels=(4, 4), latent_dim=4, mapping_layers=1)
    save_model(tmp_path / "model", OtherGenerator(config).eval(), About(name="other"))
    with pytest.raises(CheckpointError, match="alae cannot be exported"):
        export_checkpoint(tmp_path / "model" / "weights.safetensors", "rosinality", tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()
