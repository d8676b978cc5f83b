"""BigGAN and BigGAN-deep against numbers of the official codes, on small random models that went through our
readers: every stored output is compared.

The sets lie next to the repository; without them these tests are skipped.
"""

import collections
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from generative.checkpoints import biggan as ajbrock
from generative.checkpoints import biggan_deep_hf as hf
from generative.checkpoints.allowed import TORCH
from generative.checkpoints.contents import Folder
from generative.checkpoints.torch_files import read_torch_stream, read_torch_zip
from generative.networks import biggan, biggan_deep, biggan_deep_hf

SHARED = Path(__file__).parents[4] / "shared" / "conformance" / "generators"
AJBROCK = ("r32_hier_shared", "r32_noshared", "deep_r32")
MODULES = {"biggan": biggan, "biggan_deep": biggan_deep, "biggan_deep_hf": biggan_deep_hf}
TOLERANCE = 1e-5  # of the largest value of the reference
BUDGET = 2**24
MIXES = {"r32_hier_shared": {1: 0.3, 2: 0.7}, "deep_r32": {1: 0.3, 2: 0.7}}  # of the rows of `y_embed_interp`

pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="the vectors are not beside this repository")


class Case:
    """One folder of vectors, and the generator that our reader made of its weights."""

    def __init__(self, name, form, old, files):
        folder = SHARED / name
        self.name = folder.name
        self.config = json.loads((folder / "config.json").read_text())
        self.inputs = {k: torch.from_numpy(v) for k, v in np.load(folder / "inputs.npz").items()}
        self.outputs = dict(np.load(folder / "outputs.npz"))
        self.exact = dict(np.load(folder / "outputs_f64.npz"))  # by the official code in float64
        weights = np.load(folder / "weights.npz").items()
        root = saved(collections.OrderedDict((k, torch.from_numpy(v)) for k, v in weights), old)
        if files:
            root = Folder({"weights.bin": root, **files})
        assert form.recognises(root)
        self.contents = form.read(root, BUDGET)
        network = self.contents.generator
        self.generator = MODULES[network.name].Generator(network.config)
        self.generator.load_state_dict(network.state)
        self.generator.eval().requires_grad_(False)

    def assert_outputs(self, ours):
        """All stored outputs and no others."""
        assert set(ours) == set(self.outputs)
        for name, value in ours.items():
            assert_close(value, self.outputs[name])
            if name in self.exact:
                assert_close(value, self.exact[name])


def saved(root, old):
    file = io.BytesIO()
    torch.save(root, file, _use_new_zipfile_serialization=not old)
    return (read_torch_stream if old else read_torch_zip)(file.getvalue(), TORCH)


def assert_close(actual, expected, tolerance=TOLERANCE):
    assert tuple(actual.shape) == expected.shape
    error = np.abs(actual.double().numpy() - expected).max() / np.abs(expected).max()
    assert error < tolerance


def seen(generator, *arguments):
    """The picture, and what passed the hook by name."""
    layers = {}

    def keep(name, value):
        layers[name] = value
        return value

    return generator(*arguments, hook=keep), layers


def our_layer(name):
    """`layer.blocks.1.1`, the attention after block 1, is our `attention.1`."""
    kind, *rest = name.removeprefix("layer.").split(".")
    return kind if not rest else f"{('blocks', 'attention')[int(rest[1])]}.{rest[0]}"


def our_weight(name):
    """`sn_weight.blocks.0.0.conv1`, a normalised weight, by our name."""
    return name.removeprefix("sn_weight.").replace("blocks.0.0.", "blocks.0.") + ".weight"


@pytest.fixture(scope="module", params=[(n, old) for n in AJBROCK for old in (False, True)], ids=str)
def case(request):
    name, old = request.param
    settings = {"config": {"BN_eps": 1e-5, "SN_eps": 1e-6, "G_depth": 2, "resolution": 32}}
    return Case(f"biggan_ajbrock/{name}", ajbrock.FORMAT, old, {"settings.pth": settings} if old else {})


def test_every_output_of_ajbrock_agrees(case):
    g, z, y = case.generator, case.inputs["z"], case.inputs["y"]
    c = F.one_hot(y, g.c_dim).float()
    img, layers = seen(g, z, c)
    state = case.contents.generator.state
    embedded = g.shared(c)
    ours = {
        "img": img,
        "y_embed": embedded if case.config["init_kwargs"]["G_shared"] else embedded.argmax(dim=1),
        "img_trunc_z0.4_sample0": g(z[:1], c[:1], psi=0.4),
    }
    for name in case.outputs:
        if name.startswith("sn_weight."):
            ours[name] = state[our_weight(name)]
        if name.startswith("layer."):
            value = layers[our_layer(name)][:2]
            ours[name] = value.flatten(1) if name == "layer.linear" else value
    if mix := MIXES.get(case.name):
        weights = torch.zeros(1, g.c_dim)
        for label, share in mix.items():
            weights[0, label] = share
        assert_close(g.shared(weights), case.inputs["y_embed_interp"].numpy())
        ours["img_y_interp"] = g(z[:1], weights)
    case.assert_outputs(ours)


def test_ajbrock_in_float64_agrees_with_the_official_code_in_float64(case):
    z, c = case.inputs["z"].double(), F.one_hot(case.inputs["y"], case.generator.c_dim).double()
    twin = type(case.generator)(case.generator.config).double()
    twin.load_state_dict(case.generator.state_dict())
    with torch.no_grad():
        assert_close(twin(z, c), case.exact["img"], 1e-6)  # the stored weights are float32, and so are ours


@pytest.fixture(scope="module", params=["alone", "with config.json", "old container"])
def published(request):
    stored = json.loads((SHARED / "biggan_deep_hf" / "r32" / "config.json").read_text())["config_json"]
    files = {"config.json": json.dumps(stored).encode()} if request.param == "with config.json" else {}
    return Case("biggan_deep_hf/r32", hf.FORMAT, request.param == "old container", files)


def test_every_output_of_hugging_face_agrees(published):
    g, z, c = published.generator, published.inputs["z"], published.inputs["c"]
    img, layers = seen(g, z, c, 0.4)
    first = layers["linear"].permute(0, 2, 3, 1)  # theirs is NHWC
    ours = {
        "img_t0.4": img,
        "img_t0.5_classinterp": g(z[:1], published.inputs["c_interp"], 0.5),
        "cond_vector": torch.cat([0.4 * z, g.embeddings(c)], dim=1),
        "layer.generator.gen_z": first.flatten(1),
        "weight_gen_z_normalised": published.contents.generator.state["linear.weight"],
    }
    ours |= {f"img_t{t}": g(z[:1], c[:1], t) for t in (0.02, 0.14, 0.43, 0.58, 1.0)}
    theirs = ["blocks.0", "blocks.1", "blocks.2", "blocks.3", "attention", "blocks.4", "blocks.5", "blocks.6"]
    ours |= {f"layer.generator.layers.{i}": layers[name][:1] for i, name in enumerate(theirs)}
    published.assert_outputs(ours)


def test_hugging_face_s_configuration_is_the_one_that_shapes_imply(published):
    config = published.contents.generator.config
    stored = published.config["config_json"]
    assert config.img_resolution == stored["output_dim"]
    assert [*zip(config.upsampling, config.channels, config.channels[1:], strict=False)] == [
        (up, inputs * stored["channel_width"], outputs * stored["channel_width"])
        for up, inputs, outputs in stored["layers"]
    ]
    assert config.attention_before == stored["attention_layer_position"]
    assert (config.eps, config.n_stats) == (stored["eps"], stored["n_stats"])
