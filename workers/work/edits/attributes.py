"""attributes: named attributes set to values through a flow, the others held."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from generative.editing.attribute_flow import AttributeFlow
from generative.spaces import Space
from jobs.editing import AttributesOperation
from jobs.errors import UnsupportedByModel
from workers.blocks import Subject
from workers.latents import Latents
from workers.work import flowing
from workers.work.direction_notes import look, trusted
from workers.work.edits.bench import Bench
from workers.work.edits.draft import Draft


def act(bench: Bench, draft: Draft, wanted: AttributesOperation) -> Draft:
    flow = bench.model.flow(wanted.flow)
    if not trusted(bench.model):
        raise UnsupportedByModel(f"no network reads attributes in pictures of {bench.model.name!r}")
    layers = bench.layers(wanted.layers)

    def move(latents: Latents) -> Latents:
        at = bench.in_space(latents, Space.W_PLUS, draft.painter)
        current = flow.values(look(bench.job, bench.model, {"ws": at.rows}).readings)
        goal = current + wanted.strength * (flow.wanted(current, wanted.set) - current)
        if wanted.mode == "edit":
            inputs = {"ws": at.rows, "current": current, "wanted": goal}
            return replace(at, rows=bench.job.forward(Subject(flow), flowing.Edit(layers), inputs))
        return replace(at, rows=_sampled(bench, flow, at.rows, goal, wanted.seed, layers))

    return draft.moved(move)


def _sampled(
    bench: Bench, flow: AttributeFlow, ws: Tensor, goal: Tensor, seed: int, layers: tuple[int, ...] | None
) -> Tensor:
    """New latents with the attributes `goal`, one w for all layers of a picture."""
    rng = np.random.RandomState(seed)
    z = torch.from_numpy(rng.standard_normal((len(ws), ws.shape[-1])).astype(np.float32))
    sampled: Tensor = bench.job.forward(Subject(flow), flowing.sample, {"z": z, "wanted": goal})
    w = sampled[:, None].expand_as(ws)
    if layers is None:
        return w
    partly = ws.clone()
    partly[:, list(layers)] = w[:, list(layers)]
    return partly
