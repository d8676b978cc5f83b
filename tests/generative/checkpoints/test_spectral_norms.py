"""Spectral normalisation folded into weights, against torch's own layers and exact singular values."""

import pytest
import torch
from torch import nn

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.spectral_norms import divide, divide_after_a_step

EPS = 1e-6


def layers():
    torch.manual_seed(0)
    return [nn.Linear(7, 5), nn.Conv2d(4, 6, 3)]


@pytest.mark.parametrize("layer", layers(), ids=["linear", "conv"])
def test_stored_vectors_give_the_weight_that_torch_uses(layer):
    normalised = nn.utils.spectral_norm(layer, eps=EPS).eval()
    normalised(torch.zeros(1, *layer.weight_orig.shape[1:]))
    state = {name: value.detach() for name, value in normalised.state_dict().items()}
    ours = divide("weight", state["weight_orig"], state["weight_u"], state["weight_v"])
    torch.testing.assert_close(ours, normalised.weight.detach())


@pytest.mark.parametrize("layer", layers(), ids=["linear", "conv"])
def test_a_step_is_the_one_that_torch_takes_in_training(layer):
    normalised = nn.utils.spectral_norm(layer, eps=EPS).train()
    weight, u = normalised.weight_orig.detach().clone(), normalised.weight_u.clone()
    normalised(torch.zeros(1, *weight.shape[1:]))
    ours = divide_after_a_step("weight", weight, u[None], EPS)
    torch.testing.assert_close(ours, normalised.weight.detach())


@pytest.mark.parametrize("layer", layers(), ids=["linear", "conv"])
def test_exact_singular_vectors_give_a_norm_of_one(layer):
    weight = layer.weight.detach()
    u, s, vh = torch.linalg.svd(weight.flatten(1))
    for ours in (
        divide("weight", weight, u[:, 0], vh[0]),
        divide_after_a_step("weight", weight, u[None, :, 0], EPS),
    ):
        torch.testing.assert_close(ours, weight / s[0])
        assert torch.linalg.matrix_norm(ours.flatten(1), 2) == pytest.approx(1, abs=1e-6)


def test_a_step_is_blind_to_the_sign_and_length_of_what_is_stored():
    weight, u = torch.randn(5, 7), torch.randn(1, 5)
    torch.testing.assert_close(
        divide_after_a_step("weight", weight, u, EPS), divide_after_a_step("weight", weight, -3 * u, EPS)
    )


def test_weights_without_a_norm_are_refused():
    with pytest.raises(CheckpointError) as error:
        divide_after_a_step("some.weight", torch.zeros(5, 7), torch.ones(1, 5), EPS)
    assert error.value.code == "non_finite" and "some.weight" in str(error.value)
    with pytest.raises(CheckpointError) as error:
        divide("some.weight", torch.ones(5, 7), torch.zeros(5), torch.ones(7))
    assert error.value.code == "non_finite"


@pytest.mark.parametrize("u", [torch.ones(5), torch.ones(1, 4), torch.ones(0, 5), torch.tensor(1.0)])
def test_a_vector_for_a_step_of_another_shape_is_refused(u):
    with pytest.raises(CheckpointError) as error:
        divide_after_a_step("weight", torch.ones(5, 7), u, EPS)
    assert error.value.code == "wrong_shapes"


@pytest.mark.parametrize("weight", [torch.tensor(1.0), torch.ones(5)])
def test_a_weight_that_is_no_matrix_is_refused(weight):
    for attempt in (
        lambda: divide_after_a_step("weight", weight, torch.ones(1, 5), EPS),
        lambda: divide("weight", weight, torch.ones(5), torch.ones(7)),
    ):
        with pytest.raises(CheckpointError) as error:
            attempt()
        assert error.value.code == "wrong_shapes"
