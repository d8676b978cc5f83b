"""Pickles of the TensorFlow era, made by turning a StyleGAN2 of ours into what `dnnlib` kept."""

import io
import json
import pickle
import sys
import types
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from generative.checkpoints import allowed, tensorflow
from generative.checkpoints.dnnlib_networks import NETWORK
from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.pickles import Inert, read_pickle
from generative.checkpoints.tensorflow import config_from_kwargs
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.spaces import truncate

CASE = Path(__file__).parents[4] / "shared" / "conformance" / "generators" / "stylegan2_ada" / "uncond_r64"
NAMES = allowed.nvlabs(lambda _content: None) | {NETWORK: allowed.inert(NETWORK)}
BUDGET = 10**7

SMALL = StyleGAN2Config(16, z_dim=12, w_dim=10, mapping_layers=2, channel_base=128, channel_max=16)
KWARGS = {  # of the official constructor, for the same network
    "resolution": 16,
    "num_channels": 3,
    "label_size": 0,
    "latent_size": 12,
    "dlatent_size": 10,
    "mapping_layers": 2,
    "mapping_fmaps": 10,
    "fmap_base": 64,
    "fmap_max": 16,
    "randomize_noise": True,
}
LAYERS = {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB", "skip": "Skip"}


def their_variables(state):
    """Our weights by their paths and in their layouts, the opposite of what the reader does."""
    theirs = {"": {}, "mapping": {}, "synthesis": {}}
    for name, value in state.items():
        network, *path = name.split(".")
        value = value.numpy()
        if name == "mapping.w_avg":
            theirs[""]["dlatent_avg"] = value
        elif path[-1] == "resample_filter":
            continue
        elif network == "mapping":
            layer = "LabelEmbed" if path[0] == "embed" else f"Dense{path[0].removeprefix('fc')}"
            theirs[network][f"{layer}/{path[1]}"] = value.T
        else:
            put_in_block(theirs[network], int(path[0].removeprefix("b")), path[1:], value)
    return theirs


def put_in_block(variables, r, path, value):
    if path == ["const"]:
        variables["4x4/Const/const"] = value[None]
        return
    layer, *part = path
    scope = f"{r}x{r}/{LAYERS[layer] if r > 4 or layer == 'torgb' else 'Conv'}"
    match part:
        case ["noise_const"]:
            variables[f"noise{2 * int(np.log2(r)) - (5 if layer == 'conv0' else 4)}"] = value[None, None]
        case ["noise_strength"]:
            variables[f"{scope}/noise_strength"] = np.float32(value)  # a session returns scalars for these
        case ["affine", "weight"]:
            variables[f"{scope}/mod_weight"] = value.T
        case ["affine", "bias"]:
            variables[f"{scope}/mod_bias"] = value - 1
        case ["weight"]:
            value = value.transpose(2, 3, 1, 0)
            variables[f"{scope}/weight"] = value[::-1, ::-1] if layer == "conv0" else value
        case ["bias"]:
            variables[f"{scope}/bias"] = value


@contextmanager
def official_modules():
    """`dnnlib.tflib.network.Network` and `dnnlib.util.EasyDict`, only while a file is being written."""
    names = ("dnnlib", "dnnlib.util", "dnnlib.tflib", "dnnlib.tflib.network")
    modules = {name: types.ModuleType(name) for name in names}
    for name in names[1:]:
        parent, child = name.rsplit(".", 1)
        setattr(modules[parent], child, modules[name])
    for module, name, base in (
        ("dnnlib.tflib.network", "Network", object),
        ("dnnlib.util", "EasyDict", dict),
    ):
        setattr(modules[module], name, type(name, (base,), {"__module__": module}))
    sys.modules.update(modules)
    try:
        yield modules
    finally:
        for name in modules:
            del sys.modules[name]


def pickled(state, kwargs=KWARGS, change=lambda theirs: None, networks=3):
    """A file with the same network as G, D and Gs, as the official training saves it."""
    theirs = their_variables(state)
    change(theirs)
    with official_modules() as modules:
        easy = modules["dnnlib.util"].EasyDict

        def network(name, static_kwargs, components):
            made = modules["dnnlib.tflib.network"].Network()
            made.__dict__ = {
                "version": 5,
                "name": name or "Gs",
                "static_kwargs": easy(static_kwargs),
                "components": easy(components),
                "build_module_src": "raise AssertionError('only the official loader runs this')",
                "build_func_name": "G_main",
                "variables": list(theirs[name].items()),
            }
            return made

        parts = {name: network(name, kwargs, {}) for name in ("synthesis", "mapping")}
        Gs = network("", kwargs, parts)
        return pickle.dumps((Gs,) * networks, protocol=4)


def read(content):
    root = read_pickle(io.BytesIO(content), NAMES)
    assert tensorflow.recognises(root)
    return tensorflow.read(root, BUDGET)


def refusal(content):
    with pytest.raises(CheckpointError) as error:
        read(content)
    return error.value.code


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    state = Generator(SMALL).state_dict()
    for value in state.values():
        value += torch.randn(value.shape).round(decimals=1)  # not 0 or 1 anywhere
    for name in state:
        if name.endswith("resample_filter"):
            state[name] = Generator(SMALL).state_dict()[name]
        elif name.endswith("affine.bias"):
            state[name] = (16 * state[name]).round() / 16  # so that 1 can be subtracted without rounding
    return state


def test_the_network_comes_in_bit_for_bit(state):
    contents = read(pickled(state))
    assert contents.format == "tensorflow-pickle"
    assert contents.generator.name == "stylegan2"
    assert contents.generator.config == SMALL
    assert set(contents.generator.state) == set(state)
    for name, value in state.items():
        assert torch.equal(contents.generator.state[name], value), name
        assert contents.generator.state[name].is_contiguous()


def test_images_are_those_of_the_official_code():
    if not CASE.exists():
        pytest.skip("the vectors are not beside this repository")
    weights, inputs, outputs = (np.load(CASE / f"{name}.npz") for name in ("weights", "inputs", "outputs"))
    state = {
        k.removeprefix("G_ema."): torch.from_numpy(weights[k]) for k in weights if k.startswith("G_ema.")
    }
    synthesis = json.loads((CASE / "config.json").read_text())["G_init_kwargs"]["synthesis_kwargs"]
    kwargs = {"resolution": 64, "latent_size": 64, "dlatent_size": 64, "mapping_fmaps": 64}
    kwargs |= {"fmap_base": synthesis["channel_base"] // 2, "fmap_max": synthesis["channel_max"]}

    found = read(pickled(state, kwargs)).generator
    generator = Generator(found.config).requires_grad_(False)
    generator.load_state_dict(found.state)

    wplus, z = torch.from_numpy(inputs["wplus"]), torch.from_numpy(inputs["z"])
    ws = generator.map(z)[:, None].repeat(1, generator.num_ws, 1)
    images = {
        "img_wplus_const": generator.synthesize(wplus),
        "img_psi0.7_const": generator.synthesize(truncate(ws, generator.w_avg, 0.7)),
        "img_psi0.7_none": generator.synthesize(truncate(ws, generator.w_avg, 0.7), "none"),
    }
    for name, image in images.items():
        error = np.abs(image.numpy() - outputs[name]).max() / np.abs(outputs[name]).max()
        assert error < 1e-5, name


@pytest.mark.parametrize("architecture", ["resnet", "orig"])
def test_other_architectures_and_classes_come_in_too(architecture):
    config = StyleGAN2Config(
        16,
        img_channels=1,
        c_dim=5,
        z_dim=12,
        w_dim=10,
        channel_base=128,
        architecture=architecture,
        use_noise=False,
    )
    state = Generator(config).state_dict()
    kwargs = {"architecture": architecture, "label_size": 5, "num_channels": 1, "use_noise": False}
    kwargs = KWARGS | kwargs | {"mapping_layers": 8, "fmap_max": 512}
    found = read(pickled(state, kwargs)).generator
    assert found.config == config
    assert {name: value.shape for name, value in found.state.items()} == {
        n: v.shape for n, v in state.items()
    }


def test_arguments_that_are_not_given_have_the_defaults_of_their_code():
    config = config_from_kwargs({"num_channels": 3, "label_size": 0})
    assert (config.img_resolution, config.channel_base, config.channel_max) == (1024, 32768, 512)


def test_other_pickles_are_not_recognised():
    network = Inert(NETWORK)
    for root in (None, {}, [network] * 3, (network,) * 4, (network, None, None), (Inert("persistent"),) * 3):
        assert not tensorflow.recognises(root)


def test_stylegan1_is_told_apart(state):
    def change(theirs):
        variables = theirs["synthesis"]
        theirs["synthesis"] = {name.replace("mod_", "StyleMod/"): value for name, value in variables.items()}

    assert refusal(pickled(state, change=change)) == "unsupported_format"


@pytest.mark.parametrize(
    "kwargs",
    [
        {"resolution": 24},
        {"resolution": 2**40},
        {"fmap_base": "many"},
        {"fmap_base": None},
        {"fmap_base": 10**4000},
        {"fmap_decay": 0.5},
        {"nonlinearity": "relu"},
        {"normalize_latents": False},
        {"resample_kernel": [1, 2, 1]},
        {"magic": 1},
        {4: 1},
    ],
    ids=lambda kwargs: str(kwargs)[:40],
)
def test_configurations_that_no_network_has_are_refused(state, kwargs):
    assert refusal(pickled(state, KWARGS | kwargs)) == "bad_config"


@pytest.mark.parametrize(
    "name, value, code",
    [
        ("4x4/Conv/weight", "text", "bad_tensor"),
        ("4x4/Conv/weight", np.full((3, 3, 16, 16), np.nan, np.float32), "non_finite"),
        ("4x4/Conv/weight", np.zeros(2, np.complex64), "unsupported_dtype"),
        (4, np.zeros(2), "malformed"),
    ],
)
def test_variables_that_are_no_arrays_are_refused(state, name, value, code):
    assert refusal(pickled(state, change=lambda theirs: theirs["synthesis"].update({name: value}))) == code


def test_names_and_shapes_that_do_not_fit_are_kept_for_the_check_against_the_architecture(state):
    odd = {"8x8/Conv/weight": np.zeros(3), "8x8/Conv1/weight": np.zeros((2, 2)), "lod": np.float32(0)}
    found = read(pickled(state, change=lambda theirs: theirs["synthesis"].update(odd))).generator.state
    assert {"synthesis/8x8/Conv/weight", "synthesis/lod"} <= set(found)
    assert found["synthesis.b8.conv1.weight"].shape == (2, 2)


def test_networks_without_parts_or_states_are_refused():
    for state in (None, [], {"variables": []}, {"components": {}, "variables": []}):
        network = Inert(NETWORK)
        network.state = state
        with pytest.raises(CheckpointError) as error:
            tensorflow.read((network,) * 3, BUDGET)
        assert error.value.code == "malformed"


def test_variables_are_not_made_beyond_the_budget(state):
    root = read_pickle(io.BytesIO(pickled(state)), NAMES)
    with pytest.raises(CheckpointError) as error:
        tensorflow.read(root, 1000)
    assert error.value.code == "too_large"
