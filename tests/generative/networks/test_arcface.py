"""ArcFace against numbers of omertov/encoder4editing, and what identity losses must hold to."""

from pathlib import Path

import numpy as np
import pytest
import torch

from generative.networks.arcface import ArcFace, arcface_from, face_of
from tests.generative.networks import hash_weights

VECTORS = Path(__file__).parents[4] / "shared/conformance/methods/encoders/arcface_irse50_hash_weights.npz"
TOLERANCE = 1e-4
PARAMETERS = 43_797_696


@pytest.fixture(scope="module")
def state():
    """Under the official names; the official order has the last layer before the body."""
    with torch.device("meta"):
        parameters = dict(ArcFace().named_parameters())
    shapes = {name.removeprefix("trunk."): tuple(p.shape) for name, p in parameters.items()}
    order = [n for part in ("input_layer.", "output_layer.", "body.") for n in shapes if n.startswith(part)]
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == PARAMETERS
    filled = hash_weights.fill({name: shapes[name] for name in order})
    return {name: torch.from_numpy(value) for name, value in filled.items()}


@pytest.fixture(scope="module")
def network(state):
    return arcface_from(state)


@pytest.fixture
def pictures():
    return torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_embedding_agrees(network):
    if not VECTORS.exists():
        pytest.skip("the vectors are not beside this repository")
    expected = dict(np.load(VECTORS))
    faces = torch.nn.functional.interpolate(hash_weights.images(), (112, 112))

    embedding = network(faces)

    assert set(expected) == {"embedding"}
    error = np.abs(embedding.double().numpy() - expected["embedding"]).max()
    assert error < TOLERANCE * np.abs(expected["embedding"]).max()


def test_the_face_is_a_fixed_part_of_the_aligned_picture():
    rows, columns = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    face = face_of(torch.stack([rows, columns, rows + columns])[None])

    assert face.shape == (1, 3, 112, 112)
    # 188 pixels in 112 windows: the first covers 2 of them, and so does the last
    assert face[0, 0, 0, 0] == 35.5 and face[0, 0, -1, 0] == 221.5
    assert face[0, 1, 0, 0] == 32.5 and face[0, 1, 0, -1] == 218.5


def test_pictures_of_other_sizes_are_averaged_to_256_pixels_first(pictures):
    twice = pictures.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    torch.testing.assert_close(face_of(twice), face_of(pictures))


def test_the_distance_of_a_face_to_itself_is_0_and_does_not_depend_on_company(network, pictures):
    a, b = network.describe(pictures), network.describe(pictures.flip(0))

    torch.testing.assert_close(network.compare(a, a), torch.zeros(2), atol=1e-6, rtol=0)
    distance = network.compare(a, b)
    assert (distance > 1e-4).all() and (distance <= 2).all()
    torch.testing.assert_close(network.describe(pictures[1:])[0], a[0][1:], atol=1e-5, rtol=0)


def test_missing_and_unknown_weights_are_named(state):
    with pytest.raises(RuntimeError, match=r"output_layer\.3\.bias"):
        arcface_from({name: value for name, value in state.items() if name != "output_layer.3.bias"})
    with pytest.raises(RuntimeError, match="stranger"):
        arcface_from(state | {"stranger": torch.zeros(1)})
