"""The reader of Hugging Face's BigGAN-deep: with and without its config.json, and what it refuses."""

import collections
import io
import json
import re

import pytest
import torch

from generative.checkpoints import biggan
from generative.checkpoints import biggan_deep_hf as reader
from generative.checkpoints.allowed import TORCH
from generative.checkpoints.contents import Folder
from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.torch_files import read_torch_stream, read_torch_zip
from generative.networks.biggan_deep_hf import BigGANDeepHFConfig, Generator

BUDGET = 2**24
SMALL = BigGANDeepHFConfig(
    z_dim=7,
    c_dim=5,
    channels=(32, 32, 16, 16),
    upsampling=(False, True, False),
    attention_before=2,
    embed_dim=7,
    n_stats=11,
)
JSON = {
    "output_dim": 8,
    "z_dim": 7,
    "class_embed_dim": 7,
    "channel_width": 2,
    "num_classes": 5,
    "layers": [[False, 16, 16], [True, 16, 8], [False, 8, 8]],
    "attention_layer_position": 2,
    "eps": 1e-4,
    "n_stats": 11,
}
RGB_CHANNELS = 16  # of which three are the picture


def saved(root, old=False):
    """What our readers make of the file that torch writes."""
    file = io.BytesIO()
    torch.save(root, file, _use_new_zipfile_serialization=not old)
    return (read_torch_stream if old else read_torch_zip)(file.getvalue(), TORCH)


def their_name(name, attention):
    if match := re.fullmatch(r"blocks\.(\d+)\.(bn|conv)(\d)\.(.+)", name):
        layer = int(match[1]) + (attention is not None and int(match[1]) >= attention)
        rest = re.sub(r"^gain\.", "scale.", re.sub(r"^bias\.", "offset.", match[4]))
        name = f"layers.{layer}.{match[2]}_{int(match[3]) - 1}.{rest}"
    name = re.sub(r"^attention\.o\.", f"layers.{attention}.snconv1x1_o_conv.", name)
    name = re.sub(r"^attention\.(theta|phi|g)\.", rf"layers.{attention}.snconv1x1_\1.", name)
    name = name.replace("attention.gamma", f"layers.{attention}.gamma").replace("linear.", "gen_z.")
    name = name.replace("output_norm.gain", "bn.weight").replace("output_norm.", "bn.")
    name = name.replace("rgb.", "conv_to_rgb.")
    name = re.sub(r"\.mean$", ".running_means", re.sub(r"\.var$", ".running_vars", name))
    return name if name.startswith("embeddings.") else f"generator.{name}"


def official(config=SMALL, seed=0):
    """A state dict with the official names, random, for a network of ours."""
    torch.manual_seed(seed)
    theirs = collections.OrderedDict()
    for name, value in Generator(config).state_dict().items():
        value = torch.rand_like(value) + 0.5 if name.endswith(".var") else torch.randn_like(value)
        name = their_name(name, config.attention_before)
        if name.endswith(".gamma"):
            value = value.reshape(1)
        if name.startswith("generator.conv_to_rgb"):
            value = torch.randn(RGB_CHANNELS, *value.shape[1:])
        if name.endswith(".weight") and value.ndim > 1 and not name.startswith("embeddings"):
            u, _, vh = torch.linalg.svd(value.flatten(1), full_matrices=False)
            theirs |= {f"{name}_orig": value, f"{name}_u": u[:, 0], f"{name}_v": vh[0]}
        else:
            theirs[name] = value
    return theirs


def folder(state=None, config=JSON, **more):
    members = {"pytorch_model.bin": saved(official() if state is None else state)}
    if config is not None:
        members["config.json"] = json.dumps(config).encode()
    return Folder(members | more)


def read(root):
    assert reader.recognises(root)
    return reader.read(root, BUDGET)


def load(contents):
    """The generator, which takes exactly this state."""
    generator = Generator(contents.generator.config)
    generator.load_state_dict(contents.generator.state)
    return generator.eval().requires_grad_(False)


def refusal(root):
    with pytest.raises(CheckpointError) as error:
        read(root)
    return error.value.code


@pytest.mark.parametrize("old", [False, True])
def test_the_architecture_is_read_from_shapes(old):
    contents = read(saved(official(), old))
    assert contents.generator.config == SMALL
    assert contents.generator.name == "biggan_deep_hf"
    assert contents.notes == ("without config.json: taken to be laid out as the published models",)
    load(contents)


@pytest.mark.parametrize("attention", [None, 0, 1])
def test_attention_is_found_where_it_is(attention):
    config = BigGANDeepHFConfig(7, 5, (16, 16, 8), (False, True), attention, embed_dim=7, n_stats=11)
    contents = read(saved(official(config)))
    assert contents.generator.config == config
    load(contents)


def test_a_folder_gives_the_same_generator():
    contents = read(folder())
    assert contents.generator.config == SMALL
    assert contents.notes == ()
    alone = read(saved(official())).generator.state
    assert all(torch.equal(value, alone[name]) for name, value in contents.generator.state.items())


def test_what_shapes_do_not_tell_comes_from_the_json():
    layers = [[True, 16, 16], [False, 16, 8], [True, 8, 8]]
    config = read(folder(config=JSON | {"layers": layers, "eps": 1e-5})).generator.config
    assert config.upsampling == (True, False, True)
    assert config.eps == 1e-5


def test_an_attention_that_is_never_reached_is_none():
    config = BigGANDeepHFConfig(7, 5, (32, 32, 16, 16), SMALL.upsampling, embed_dim=7, n_stats=11)
    root = folder(official(config), JSON | {"attention_layer_position": 8})
    assert read(root).generator.config == config


def test_weights_are_divided_by_their_norms_and_the_picture_is_the_first_three_channels():
    theirs, ours = official(), read(saved(official())).generator.state
    for name in (
        "blocks.1.conv2.weight",
        "attention.theta.weight",
        "linear.weight",
        "blocks.0.bn1.gain.weight",
    ):
        assert torch.linalg.matrix_norm(ours[name].flatten(1), 2) == pytest.approx(1, abs=1e-5)
    whole = theirs["generator.conv_to_rgb.weight_orig"]
    norm = torch.linalg.matrix_norm(whole.flatten(1), 2)  # of all the channels
    torch.testing.assert_close(ours["rgb.weight"], whole[:3] / norm)
    assert ours["rgb.bias"].equal(theirs["generator.conv_to_rgb.bias"][:3])


@pytest.mark.parametrize(
    "config",
    [
        JSON | {"channel_width": 4},
        JSON | {"layers": []},
        JSON | {"layers": [[False, 16, 16], [True, 16, 8]]},
        JSON | {"layers": [[False, 16, 16], [True, 16, 8], [False, 8, 4]]},
        JSON | {"layers": "many"},
        JSON | {"layers": [[False, 16]] * 3},
        JSON | {"attention_layer_position": 1},
        JSON | {"attention_layer_position": None},
        JSON | {"eps": 0.0},
        JSON | {"eps": "small"},
        {key: value for key, value in JSON.items() if key != "attention_layer_position"},
    ],
)
def test_a_json_that_is_impossible_or_of_another_model_is_refused(config):
    assert refusal(folder(config=config)) == "bad_config"


def test_two_jsons_that_could_be_it_are_refused():
    assert refusal(folder(other=json.dumps(JSON).encode())) == "bad_config"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe{", b"[" * 100_000, b"[]", b"3", b"{}", b" " * 2**21])
def test_other_files_in_the_folder_do_not_matter(content):
    assert read(folder(readme=content)).generator.config == SMALL


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("generator.gen_z.weight_v", None, "missing_keys"),
        ("generator.layers.3.conv_3.weight_orig", None, "missing_keys"),
        ("generator.layers.0.conv_0.weight_orig", None, "bad_config"),
        ("generator.layers.0.conv_0.weight_orig", torch.zeros(8, 32), "wrong_shapes"),
        ("embeddings.weight", torch.zeros(7), "wrong_shapes"),
        ("embeddings.weight", torch.zeros(20, 5), "bad_config"),
        ("generator.gen_z.weight_u", torch.zeros(512), "non_finite"),
        ("generator.gen_z.weight_u", torch.zeros(3), "wrong_shapes"),
        ("generator.bn.running_vars", torch.full((11, 16), -1.0), "non_finite"),
        ("output_norm.var", torch.ones(11, 16), "malformed"),
        ("generator.bn.bias", 3, "malformed"),
    ],
)
def test_broken_generators_are_refused(name, value, code):
    state = official()
    if value is None:
        del state[name]
    else:
        state[name] = value
    assert refusal(saved(state)) == code


def test_an_unknown_tensor_stays_for_the_check_against_the_architecture():
    state = read(saved(official() | {"surprise": torch.ones(2)})).generator.state
    assert state["surprise"].equal(torch.ones(2))


def test_layers_without_any_block_are_refused():
    state = {name: value for name, value in official().items() if ".layers." not in name}
    assert refusal(saved(state)) == "bad_config"


@pytest.mark.parametrize(
    "root",
    [
        None,
        3,
        [],
        {},
        {3: 4},
        dict.fromkeys(reader.NEEDED, 1),
        Folder(),
        Folder({"a": b"{}"}),
        Folder({"a": None}),
        Folder({"a": Folder()}),
    ],
    ids=str,
)
def test_what_is_no_generator_is_not_recognised(root):
    assert not reader.recognises(root)


def test_only_one_format_recognises_it():
    assert not biggan.recognises(saved(official()))
    assert not biggan.recognises(folder())
    assert not reader.recognises(folder(other={"state": {}}))
