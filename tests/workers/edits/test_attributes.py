"""attributes, with a random flow on the shipped portraits: what is read and asked for, by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from generative.discovery.styleflow import Flow, StyleFlowConfig
from generative.editing.attribute_flow import AttributeFlow, FlowAttribute
from generative.generator import sample_z
from generative.pixels import from_uint8, to_uint8
from generative.spaces import broadcast
from workers.latents import from_file

SET = {"op": "attributes", "flow": "flow", "set": {"smile": 1.5}}


@pytest.fixture
def flow(portraits, context, monkeypatch):
    torch.manual_seed(0)
    network = Flow(StyleFlowConfig(w_dim=portraits.generator.w_dim, attributes=2, hidden=(16,))).eval()
    known = (
        FlowAttribute("smile", "continuous", 0.0, 0.5, (-1.0, 1.0)),
        FlowAttribute("glasses", "binary", 0.4, 0.4, (0.0, 1.0)),
    )
    made = AttributeFlow("flow", network.requires_grad_(False), known)
    serving = replace(portraits, flows={"flow": made})
    monkeypatch.setattr(context.models, "get", lambda tenant, name: serving)
    return made


@pytest.fixture
def before(portraits):
    """ws (2, L, D), and what the feature network reads in their pictures."""
    network = portraits.generator
    with torch.no_grad():
        ws = network.w_avg.lerp(broadcast(network.map(sample_z([1, 2], network)), network.num_ws), 0.7)
        pictures = from_uint8(to_uint8(network.synthesize(ws)))
        return ws, portraits.examiner.reader.factors(pictures)


@pytest.fixture
def edited(run, read):
    def latents(operation):
        job = run(operation, output={"latents": "w+"}, measure=False)
        assert job.error is None, job.error
        return from_file(read(job, "latents.safetensors")).rows

    return latents


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_what_is_read_is_held_and_what_is_set_is_asked_for(flow, before, edited, strength):
    ws, readings = before
    current = torch.stack([readings["smile"], readings["glasses"]], dim=1)
    goal = current.clone()
    goal[:, 0] += strength * (1.5 - current[:, 0])
    expected = flow.edit(ws, current, goal)
    torch.testing.assert_close(edited(SET | {"strength": strength}), expected, rtol=0, atol=1e-3)
    assert float((expected - ws).abs().max()) > 1e-2


def test_nothing_changes_where_nothing_is_asked_for(flow, before, edited):
    torch.testing.assert_close(edited(SET | {"strength": 0.0}), before[0], rtol=0, atol=1e-3)


def test_a_sample_is_a_new_latent_with_the_attributes(flow, before, edited):
    ws, readings = before
    goal = torch.stack([torch.full((2,), 1.5), readings["glasses"]], dim=1)
    drawn = np.random.RandomState(3).standard_normal((2, ws.shape[-1])).astype(np.float32)
    sampled = edited(SET | {"mode": "sample", "seed": 3})
    assert torch.equal(sampled, sampled[:, :1].expand_as(sampled))
    torch.testing.assert_close(sampled[:, 0], flow.sample(torch.from_numpy(drawn), goal), rtol=0, atol=1e-3)
    seen = flow.flow(sampled[:, :1], (goal - torch.tensor([0.0, 0.4])) / torch.tensor([0.5, 0.4]))
    torch.testing.assert_close(seen[:, 0], torch.from_numpy(drawn), rtol=0, atol=1e-2)


def test_a_flow_that_is_not_there_is_named(portraits, run):
    assert run(SET | {"flow": "nobody"}).error.code == "unknown_direction"
