"""A flow trained on latents whose dependence on attributes is known moves them as that says."""

import pytest
import torch

from generative.discovery.styleflow import edit
from generative.discovery.styleflow_training import StyleFlowTraining, matching_loss, train_flow

EFFECT = torch.tensor([[1.0, -0.5, 0.0], [0.0, 0.5, 1.5]])  # (A, D), of attributes on latents


def world(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    attributes = torch.randn(count, 2, generator=rng)
    return attributes @ EFFECT + 0.3 * torch.randn(count, 3, generator=rng), attributes


def test_an_edit_moves_a_latent_by_the_effect_of_its_attribute():
    latents, attributes = world(2000)
    losses: list[float] = []
    settings = StyleFlowTraining(steps=600, hidden=(32, 32))
    flow = train_flow(latents, attributes, settings, lambda step, loss: losses.append(loss))
    assert len(losses) == 600 and sum(losses[-50:]) < 0.7 * sum(losses[:50])

    before, wanted = attributes[:100], attributes[:100] + torch.tensor([1.0, 0.0])
    moved = edit(flow, latents[:100, None], before, wanted, [0])[:, 0] - latents[:100]
    assert torch.allclose(moved.mean(dim=0), EFFECT[0], atol=0.15)


def test_the_same_seed_trains_the_same_flow_and_leaves_the_global_one_alone():
    latents, attributes = world(100)
    settings = StyleFlowTraining(steps=3, batch=8, hidden=(8,))
    state = torch.get_rng_state()
    one, two = (train_flow(latents, attributes, settings).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(state, torch.get_rng_state())


def test_a_speed_of_nothing_has_a_loss_of_one():
    latents, attributes = world(50)
    flow = train_flow(latents, attributes, StyleFlowTraining(steps=0, hidden=(8,)))
    for parameter in flow.flow.speed.parameters():
        parameter.zero_()
    loss = matching_loss(flow, latents, torch.randn(50, 3), torch.rand(50), attributes)
    assert float(loss) == pytest.approx(1)


def test_latents_of_which_a_coordinate_does_not_vary_are_refused():
    latents, attributes = world(50)
    latents[:, 1] = 2.0
    with pytest.raises(ValueError, match="does not vary"):
        train_flow(latents, attributes, StyleFlowTraining(steps=1))
