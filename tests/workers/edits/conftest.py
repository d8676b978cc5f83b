"""Edit jobs on the tiny model, and the same by hand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from generative.generator import sample_z
from generative.pixels import to_uint8
from generative.spaces import broadcast
from tests.workers.given import TENANT, pixels_of
from workers.models import Models
from workers.runner import run_job
from workers.work.edit import edit

REPO = Path(__file__).parents[3] / "model_repo"


@pytest.fixture
def run(context, submit, finished):
    """Seeds 1 and 2 edited: the finished job."""

    def ended(*operations, seeds=(1, 2), output=None, **more):
        asked = {"source": {"seeds": list(seeds)}, "operations": operations} | more
        row = submit("edit", input=asked, output=output or {})
        run_job(row.id, edit, context)
        return finished(row)

    return ended


@pytest.fixture
def edits(run, read) -> Callable[..., np.ndarray]:
    """The pictures of the edits, (N K, H, W, 3)."""

    def pictures(*operations, **more):
        job = run(*operations, **more)
        assert job.error is None, job.error
        return np.stack([pixels_of(read(job, o.name)) for o in job.outputs if o.name.startswith("edit_")])

    return pictures


@pytest.fixture
def model(context):
    return context.models.get(TENANT, "tiny")


@pytest.fixture
def served(context, model, monkeypatch):
    """Serve the model with changes."""

    def serve(**changes):
        changed = replace(model, **changes)
        monkeypatch.setattr(context.models, "get", lambda tenant, name: changed)

    return serve


@pytest.fixture
def portraits(context, configured, monkeypatch):
    """Serve the shipped portraits as `tiny`."""
    settings = configured.model_copy(update={"model_repo": REPO})
    loaded = Models(settings, context.store, context.blobs).get(TENANT, "portraits")
    monkeypatch.setattr(context.models, "get", lambda tenant, name: loaded)
    return loaded


@pytest.fixture
def ws_of(model):
    """(N, L, D), truncated as jobs do."""

    def mapped(*seeds):
        network = model.generator
        with torch.no_grad():
            ws = broadcast(network.map(sample_z(seeds, network)), network.num_ws)
        return network.w_avg.lerp(ws, 0.7)

    return mapped


@pytest.fixture
def paint(model):
    """ws, or styles by layer -> pictures (N, H, W, 3)."""

    def painted(code, hook=None):
        network = model.generator
        with torch.no_grad():
            how = network.synthesize_styles if isinstance(code, dict) else network.synthesize
            return to_uint8(how(code, hook=hook)).numpy()

    return painted


def same(a, b) -> bool:
    return a.shape == b.shape and bool(np.abs(a.astype(int) - b.astype(int)).max() <= 1)
