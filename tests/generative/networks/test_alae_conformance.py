"""ALAE against numbers of the official code, on a small random model: every stored output is compared."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from generative.checkpoints import alae as reader
from generative.checkpoints.allowed import TENSORS
from generative.checkpoints.torch_files import read_torch_stream, read_torch_zip
from generative.networks.alae import Generator
from generative.networks.alae_encoder import Encoder

FOLDER = Path(__file__).parents[4] / "shared" / "conformance" / "generators" / "alae" / "res32"
TOLERANCE = 3e-5  # of the largest value of the reference
TOLERANCE_64 = 1e-6  # of the float64 run, whose inputs are stored rounded to float32

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="the vectors are not beside this repository")


def load(name):
    return {key: torch.from_numpy(value) for key, value in np.load(FOLDER / name).items()}


@pytest.fixture(scope="module")
def inputs():
    return load("inputs.npz")


@pytest.fixture(scope="module")
def outputs():
    return load("outputs.npz")


@pytest.fixture(scope="module", params=[True, False], ids=["zip", "stream"])
def contents(request):
    """The weights by way of a file as the official code saves it."""
    models = {}
    for key, value in load("weights.npz").items():
        _, name, parameter = key.split("/")
        models.setdefault(name, {})[parameter] = value
    file = io.BytesIO()
    torch.save({"models": models, "auxiliary": {}}, file, _use_new_zipfile_serialization=request.param)
    read = read_torch_zip if request.param else read_torch_stream
    return reader.FORMAT.read(read(file.getvalue(), TENSORS), 4 * len(file.getvalue()))


@pytest.fixture
def generator(contents):
    g = Generator(contents.generator.config)
    g.load_state_dict(contents.generator.state)
    return g.eval().requires_grad_(False)


@pytest.fixture
def encoder(contents):
    e = Encoder(contents.encoder.config)
    e.load_state_dict(contents.encoder.state)
    return e.eval().requires_grad_(False)


def assert_close(actual, expected, tolerance=TOLERANCE):
    assert actual.shape == expected.shape
    error = (actual.double() - expected.double()).abs().max() / expected.abs().max()
    assert error < tolerance


def test_the_file_is_recognised_and_nothing_is_left_out(contents):
    assert (contents.generator.name, contents.encoder.name) == ("alae", "alae_encoder")
    assert contents.generator.config.channels == (40, 32, 16, 8)
    assert contents.encoder.config.channels == (8, 16, 32, 40, 40)
    count = len(contents.generator.state) + len(contents.encoder.state)
    assert count == len(load("weights.npz")) - 1  # the blur of the first block, which is never used


def test_w_and_images_agree(generator, inputs, outputs):
    z, wplus = inputs["z"], inputs["wplus"]
    noises = {f"layer{i}": inputs[f"noise_{i}"] for i in range(8)}
    smaller = outputs["img_lod_minus1_nonoise"].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    assert_close(generator.map(z), outputs["styles_mapping_f"])
    assert_close(generator(z), outputs["img_notrunc_nonoise"])
    assert_close(generator(z, psi=0.7, cutoff=4), outputs["img_psi0.7_cutoff_nonoise"])
    assert_close(generator.synthesize(wplus, "none"), outputs["img_wplus_nonoise"])
    assert_close(generator.synthesize(wplus, noises=noises), outputs["img_wplus_explicitnoise"])
    assert_close(generator.synthesize(wplus, lod=0.7), outputs["img_blend0.3_nonoise"])
    assert_close(generator.synthesize(wplus, lod=1), smaller)


def test_features_agree(generator, inputs, outputs):
    layers = {f"layer.decode_block.{i}": f"layer{2 * i + 1}" for i in range(4)}
    features = generator.features_of_ws(inputs["wplus"][:1], set(layers.values()))
    for theirs, ours in layers.items():
        assert_close(features[ours], outputs[theirs])


def test_encoded_w_and_its_score_agree(encoder, inputs, outputs):
    w = encoder(inputs["x"])
    assert_close(w[:, None], outputs["enc_Z"])
    assert_close(encoder.score(w), outputs["mapping_d"])
    assert_close(encoder(inputs["x"], lod=0.7)[:, None], outputs["enc_Z_blend0.3"])


def test_what_every_block_of_the_encoder_says_agrees(encoder, inputs, outputs):
    seen = {}

    def keep(name, pick=lambda value: value):
        return lambda _module, _args, value: seen.__setitem__(name, pick(value))

    for i, block in enumerate(encoder.encode_block):
        block.style_1.register_forward_hook(keep(f"layer.encode_block.{i}.s1"))
        block.style_2.register_forward_hook(keep(f"layer.encode_block.{i}.s2"))
        block.register_forward_hook(keep(f"layer.encode_block.{i}.x", lambda value: value[0][:1]))
    encoder(inputs["x"])

    assert set(seen) == {name for name in outputs if name.startswith("layer.encode_block.")}
    for name, value in seen.items():
        assert_close(value, outputs[name])


def test_reconstructions_agree(generator, encoder, inputs, outputs):
    ws = encoder(inputs["x"])[:, None].expand(-1, generator.num_ws, -1)
    assert_close(generator.synthesize(ws), outputs["recon_of_x_nonoise"])


def test_float64_agrees_with_the_official_code_in_float64(generator, encoder, inputs):
    expected = load("outputs_f64.npz")
    assert set(expected) == {"img_wplus_nonoise", "enc_Z"}
    image = generator.double().synthesize(inputs["wplus"].double())
    assert_close(image, expected["img_wplus_nonoise"], TOLERANCE_64)
    assert_close(encoder.double()(inputs["x"].double())[:, None], expected["enc_Z"], TOLERANCE_64)


def test_no_stored_output_of_the_official_code_is_left_out(outputs):
    known = ("styles_mapping_f", "img_", "layer.", "enc_Z", "mapping_d", "recon_of_x_nonoise")
    assert [name for name in outputs if not name.startswith(known)] == []
    images = {name for name in outputs if name.startswith("img_")}
    assert images == {
        "img_notrunc_nonoise",
        "img_psi0.7_cutoff_nonoise",
        "img_wplus_nonoise",
        "img_wplus_explicitnoise",
        "img_blend0.3_nonoise",
        "img_lod_minus1_nonoise",
    }
