"""e4e against numbers of omertov/encoder4editing, at full width: every stored output is compared.

The weights are those of a closed form, in a file of the official layout; the generator beside them is small.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from generative.checkpoints.e4e import FORMAT
from generative.checkpoints.tensors import Storage, StorageType, TensorSpec
from generative.networks.e4e_encoder import Encoder
from generative.networks.psp_encoder import StyleMapEncoderConfig
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from tests.generative.checkpoints.conftest import to_rosinality
from tests.generative.networks import hash_weights

VECTORS = Path(__file__).parents[4] / "shared/conformance/methods/encoders/irse50_hash_weights.npz"
TOLERANCE = 1e-4  # of the largest value of the reference
PARAMETERS = 122_921_664


@pytest.fixture(scope="module")
def expected():
    if not VECTORS.exists():
        pytest.skip("the vectors are not beside this repository")
    return dict(np.load(VECTORS))


@pytest.fixture(scope="module")
def encoder(expected):
    with torch.device("meta"):
        meta = Encoder(StyleMapEncoderConfig(num_ws=8))
    shapes = {name.removeprefix("trunk."): tuple(p.shape) for name, p in meta.named_parameters()}
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == PARAMETERS
    decoder = Generator(StyleGAN2Config(32, mapping_layers=1, channel_base=128, channel_max=8)).state_dict()
    theirs = {f"encoder.{name}": value for name, value in hash_weights.fill(shapes).items()}
    theirs |= {f"decoder.{n}": t.numpy() for n, t in to_rosinality(decoder, noises=True).items()}
    root = {
        "state_dict": {name: described(value) for name, value in theirs.items()},
        "latent_avg": described(np.ones((8, 512), np.float32)),
        "opts": {"encoder_type": "Encoder4Editing", "stylegan_size": 32},
    }

    assert FORMAT.recognises(root)
    network = FORMAT.read(root, 2**30).encoder

    module = Encoder(network.config)
    module.load_state_dict(network.state, assign=True)
    return module.eval().requires_grad_(False)


def described(array):
    """What our reader makes of a tensor in a file; a file of the whole network would take half a gigabyte."""
    kind = StorageType(8, "<i8") if array.dtype == np.int64 else StorageType(4, "<f4")
    array = np.ascontiguousarray(array)
    strides = tuple(s // array.itemsize for s in array.strides)
    return TensorSpec(Storage(kind, array.size, memoryview(array).cast("B")), 0, array.shape, strides)


def assert_close(actual, expected):
    assert tuple(actual.shape) == expected.shape
    assert np.abs(actual.double().numpy() - expected).max() < TOLERANCE * np.abs(expected).max()


def test_codes_at_all_stages_and_the_maps_below_them_agree(encoder, expected):
    images = hash_weights.images()
    ours = {f"e4e__stage{k}": encoder(images, stage=k) - 1 for k in (0, 3, 7)}  # all of the mean are 1
    ours["e4e__out"] = encoder(images) - encoder.latent_avg
    for i, x in enumerate(encoder.trunk(images)[1:], start=1):
        assert x.shape == tuple(expected[f"e4e__c{i}_shape"])
        ours[f"e4e__c{i}_sub"] = x[:, ::16, ::8, ::8]
        ours[f"e4e__c{i}_meanabs"] = x.abs().mean()

    shapes = {f"e4e__c{i}_shape" for i in (1, 2, 3)}
    assert set(ours) | shapes == set(expected)
    for name, value in ours.items():
        assert_close(value, expected[name])
