"""A flow that changes chosen attributes, trained on what a network reads in samples."""

import math
from functools import partial

import torch
from torch import Tensor

from generative.discovery.styleflow import error_of_steps
from generative.discovery.styleflow_training import StyleFlowTraining, train_flow
from generative.editing.attribute_flow import AttributeFlow, FlowAttribute
from jobs.discovery import StyleflowInput
from jobs.errors import JobFailed
from workers.latents import layers_of
from workers.models import LoadedModel
from workers.work.discovery.samples import FOUND, Job, one_w, refuse_factor, scored
from workers.work.sources import with_w

TRIED = 64  # samples whose way by even steps is compared with the true one
READ = 0.3  # of the progress, where samples are read; then the flow is trained
ENDS = (0.01, 0.99)  # quantiles of the samples between which attributes may be set


def find(job: Job, model: LoadedModel) -> list[AttributeFlow]:
    wanted, generator = job.request.input, with_w(model.generator)
    assert isinstance(wanted, StyleflowInput)
    readings, latents = scored(job, model, wanted, wanted.attributes, one_w, READ)
    attributes = tuple(_attribute(model, name, readings[name]) for name in wanted.attributes)
    values = torch.stack([(readings[a.name] - a.mean) / a.std for a in attributes], dim=1)
    settings = StyleFlowTraining(steps=wanted.steps, seed=wanted.seed)
    losses: list[float] = []
    try:
        flow = train_flow(latents, values, settings, partial(_report, job, wanted.steps, losses))
    except ValueError as error:
        raise JobFailed(str(error)) from error
    loss = sum(losses[-100:]) / len(losses[-100:])
    if not math.isfinite(loss):
        raise JobFailed("the training of the flow diverged")
    some, others = values[:TRIED], values[:TRIED].roll(1, dims=0)
    off = error_of_steps(flow, latents[:TRIED, None], some, others)
    layers = layers_of(wanted.layers, generator.num_ws) if wanted.layers else None
    return [
        AttributeFlow(
            wanted.name,
            flow,
            attributes,
            layers,
            method="styleflow",
            description=f"sets {', '.join(a.name.replace('_', ' ') for a in attributes)}",
            provenance={"loss": round(loss, 4), "solver_error": float(f"{off:.2g}")},
        )
    ]


def _report(job: Job, steps: int, losses: list[float], step: int, loss: float) -> None:
    losses.append(loss)
    job.reporter.report(READ + (FOUND - READ) * step / steps, step, steps, message="training")


def _attribute(model: LoadedModel, name: str, values: Tensor) -> FlowAttribute:
    """Raises JobFailed for a factor that the samples do not differ in."""
    readout, std = refuse_factor(model, name), float(values.std())
    if std < 1e-6:
        raise JobFailed(f"{name} is the same in all samples: leave it out")
    low, high = values.quantile(torch.tensor(ENDS)).tolist()
    assert readout.kind != "categorical"  # refused before
    return FlowAttribute(name, readout.kind, float(values.mean()), std, (round(low, 4), round(high, 4)))
