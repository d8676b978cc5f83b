"""Trained flows in the engine and in shares of datasets, on the shipped portraits."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from generative.discovery.styleflow_training import StyleFlowTraining, train_flow
from generative.editing.attribute_flow import AttributeFlow, FlowAttribute
from generative.generator import sample_z
from generative.pixels import from_uint8, to_uint8
from generative.spaces import truncate
from jobs.schemas import Status
from workers.blocks import Subject
from workers.models import Models
from workers.work import flowing

from .given import TENANT
from .test_shard import carry_out, members, shards

REPO = Path(__file__).parents[2] / "model_repo"
NAMES = ("glasses", "smile")


@pytest.fixture(scope="module")
def flow(engine):
    """Trained in two seconds: what the shipped directions say of latents is taken for what is read."""

    def train(model):
        network = model.generator
        with torch.no_grad():
            w = truncate(network.map(sample_z(range(2048), network)), network.w_avg, 0.7)
            pictures = from_uint8(to_uint8(network.synthesize(w[:64, None].expand(-1, network.num_ws, -1))))
            seen = model.examiner.reader.factors(pictures)
        along = w @ torch.stack([model.directions[name].vector for name in NAMES]).T
        values = (along - along.mean(dim=0)) / along.std(dim=0)
        trained = train_flow(w, values, StyleFlowTraining(steps=600, hidden=(128, 128)))
        told = [(float(seen[name].mean()), float(seen[name].std())) for name in NAMES]
        attributes = [
            FlowAttribute(name, "continuous", *moments, (-1, 2))
            for name, moments in zip(NAMES, told, strict=True)
        ]
        return AttributeFlow("looks", trained, tuple(attributes))

    made = []

    def once(model):
        if not made:
            made.append(train(model))
        return made[0]

    return once


@pytest.fixture
def serving(flow, context, configured, monkeypatch):
    """Serve the shipped portraits, with the flow, as `tiny`."""
    settings = configured.model_copy(update={"model_repo": REPO})
    model = Models(settings, context.store, context.blobs).get(TENANT, "portraits")
    model = replace(model, flows={"looks": flow(model)})
    monkeypatch.setattr(context.models, "get", lambda tenant, name: model)
    return model


@pytest.mark.parametrize("shape", [(11, 128), (5, 3, 128)])
def test_a_row_goes_the_same_way_to_the_bit_alone_and_in_company(serving, engine, shape):
    rng = torch.Generator().manual_seed(0)
    inputs = {"ws": torch.randn(shape, generator=rng)}
    inputs |= {name: torch.rand(len(inputs["ws"]), 2, generator=rng) for name in ("current", "wanted")}
    subject, op = Subject(serving.flows["looks"]), flowing.Edit()
    together = engine.forward(subject, op, inputs).result()
    for i in range(shape[0]):
        alone = {name: rows[i : i + 1] for name, rows in inputs.items()}
        assert torch.equal(engine.forward(subject, op, alone).result()[0], together[i])


@pytest.fixture
def make(serving, context, submit):
    def made(size, *mix):
        given = {"count": 16, "shard_size": size, "model_sha256": serving.sha256, "attributes": True}
        row = submit("dataset", input=given | {"mix": mix})
        row = carry_out(context, row)
        assert row.status is Status.SUCCEEDED, [part.error for part in shards(context, row)]
        return members(context, row)

    return made


def test_what_a_share_asks_of_a_flow_is_read_in_its_pictures_whatever_the_shards(make):
    """And where the flow alone does not do it, `require` tries on."""
    put_on, take_off = ({"name": "looks", "set": {"glasses": value}} for value in (1.0, 0.0))
    wearing = {"name": "wearing", "share": 0.5, "flow": put_on, "require": {"glasses": True}, "tries": 8}
    bare = {"name": "bare", "share": 0.5, "flow": take_off}
    found = make(16, wearing, bare)
    about = [json.loads(body) for name, body in found.items() if name.endswith(".json")]
    for sample in about:
        glasses = sample["pictures"]["png"]["attributes"]["glasses"]
        assert glasses > 0.5 if sample["share"] == "wearing" else glasses < 0.5
    assert sum(sample["tries"] for sample in about if sample["share"] == "wearing") <= 12  # half with glasses
    assert found == make(9, wearing, bare)
