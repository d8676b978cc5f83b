"""Inception: agreement with an independent implementation on random weights, and the layout of the file.

The official weights are not here, so that our features of them equal published ones is not shown.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from generative.networks.inception import DIMENSION, InceptionV3, MixedE, inception_from

from .foreign import STORED, checksum, inputs, recipe

# torchvision states 27,161,264; of these the side classifier has 3,326,696 and the last layer 2,049,000
PARAMETERS = 21_785_568


@pytest.fixture(scope="module")
def state():
    with torch.device("meta"):
        shapes = {n: tuple(t.shape) for n, t in InceptionV3().state_dict().items()}
    return recipe({n: s for n, s in shapes.items() if not n.endswith("num_batches_tracked")})


def test_it_has_the_parameters_that_the_architecture_is_known_for():
    with torch.device("meta"):
        network = InceptionV3()
    assert sum(p.numel() for n, p in network.named_parameters() if not n.startswith("fc.")) == PARAMETERS


def test_names_and_shapes_are_those_of_the_other_implementation(state):
    assert (len(state), checksum(state)) == (472, 1951085351)


def test_features_are_those_of_the_other_implementation(state):
    with torch.no_grad():
        found = inception_from(state)(inputs()[0])
    expected = np.load(STORED)["inception"]
    assert found.shape == (2, DIMENSION)
    assert np.abs(found.numpy() - expected).max() < 1e-5 * np.abs(expected).max()


def test_the_two_last_blocks_pool_in_different_ways():
    x = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    mean, highest = (MixedE(8, maximum=m) for m in (False, True))
    for block in (mean, highest):
        block.branch_pool = torch.nn.Identity()
    by_hand = F.pad(x, (1, 1, 1, 1), value=float("nan")).unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
    torch.testing.assert_close(mean.pooled(x), by_hand.nanmean(dim=-1))
    torch.testing.assert_close(highest.pooled(x), by_hand.nan_to_num(-torch.inf).amax(dim=-1))


@pytest.mark.parametrize("name", ["fc.bias", "Mixed_7c.branch_pool.bn.running_mean"])
def test_weights_that_are_missing_or_too_many_are_refused(state, name):
    with pytest.raises(RuntimeError, match=name.replace(".", r"\.")):
        inception_from({n: t for n, t in state.items() if n != name})
    with pytest.raises(RuntimeError, match="AuxLogits"):
        inception_from(state | {"AuxLogits.fc.bias": torch.zeros(1000)})
