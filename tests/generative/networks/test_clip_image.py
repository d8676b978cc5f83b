"""CLIP's image encoder: agreement with an independent implementation on random weights, and known sizes.

The official weights are not here, so that our features of them equal published ones is not shown.
"""

import numpy as np
import pytest
import torch

from generative.networks.clip_image import (
    ClipImageConfig,
    ClipImageEncoder,
    clip_image_encoder_from,
    resized,
)

from .foreign import STORED, checksum, inputs, recipe

SMALL = ClipImageConfig(side=32, patch=8, width=128, layers=3, features=24)


def shapes(config):
    with torch.device("meta"):
        return {n: tuple(t.shape) for n, t in ClipImageEncoder(config).state_dict().items()}


@pytest.fixture(scope="module")
def state():
    return recipe(shapes(SMALL))


@pytest.mark.parametrize(("patch", "parameters"), [(32, 87_849_216), (16, 86_192_640)])
def test_the_released_sizes_have_their_known_numbers_of_parameters(patch, parameters):
    assert sum(np.prod(s, dtype=int) for s in shapes(ClipImageConfig(patch=patch)).values()) == parameters


def test_names_and_shapes_are_those_of_the_other_implementation():
    with torch.device("meta"):
        state = ClipImageEncoder(ClipImageConfig()).state_dict()
    assert (len(state), checksum(state)) == (152, 2352669550)


def test_features_are_those_of_the_other_implementation(state):
    with torch.no_grad():
        found = clip_image_encoder_from(state)(inputs()[1])
    expected = np.load(STORED)["clip"]
    assert np.abs(found.numpy() - expected).max() < 1e-5 * np.abs(expected).max()


def test_the_image_encoder_is_found_in_a_file_of_the_whole_model(state):
    whole = {f"visual.{n}": t for n, t in state.items()} | {"logit_scale": torch.tensor(4.6)}
    network = clip_image_encoder_from(whole)
    assert network.config == SMALL
    assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_other_weights_are_refused(state):
    with pytest.raises(ValueError, match="OpenAI's layout"):
        clip_image_encoder_from({"vision_model.embeddings.class_embedding": torch.zeros(768)})
    with pytest.raises(RuntimeError, match="ln_post"):
        clip_image_encoder_from({n: t for n, t in state.items() if n != "ln_post.bias"})


def test_pictures_of_another_size_are_brought_to_the_networks(state):
    flat = torch.full((1, 3, 50, 50), 0.2)
    assert resized(flat, 32).shape == (1, 3, 32, 32)
    torch.testing.assert_close(resized(flat, 32), torch.full((1, 3, 32, 32), 0.2), atol=1 / 255, rtol=0)
