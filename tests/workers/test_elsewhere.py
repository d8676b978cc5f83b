"""Jobs on a device that is not the CPU: what they make is the same, and painting asks nothing back."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generative.cards import About
from generative.families import GENERATORS
from generative.store import save_model
from jobs.inversion import METHODS
from jobs.schemas import Status
from tests import elsewhere
from tests.families import inputs_of, tiny
from tests.workers.given import pixels_of, ramp
from tests.workers.inversions import PIXELS, briefly, save_seeing
from workers.context import Context
from workers.metrics import REGISTRY
from workers.models import Models
from workers.runner import run_job
from workers.work import painting
from workers.work.edit import edit
from workers.work.generate import generate
from workers.work.invert import invert

BLOCKS = "ganserve_backend_blocks_total"
Pictures = dict[str, np.ndarray]
WORKS: dict[str, Any] = {"generate": generate, "invert": invert, "edit": edit}
SEVEN = {"seeds": [7]}
LEFT = {"box": {"left": 0, "top": 0, "width": 0.5, "height": 1}}
SEFA = {"op": "direction", "name": "sefa_0", "strength": 2.0}
EDITS: dict[str, dict[str, Any]] = {
    "direction": SEFA,
    "vector": {"op": "direction", "vector": {"space": "w", "values": [[0.5] * 16]}},
    "channel": {"op": "direction", "channel": {"layer": "b8.conv0", "index": 4}, "strength": 5.0},
    "features": {"op": "direction", "features": {"layer": "b8.conv1", "values": [0.5] * 16}},
    "mix": {"op": "mix", "with": SEVEN, "layers": "0-1,4"},
    "transfer": {"op": "transfer", "from": SEVEN, "to": {"seeds": [8]}, "strength": 0.5},
    "spherical": {"op": "interpolate", "with": SEVEN, "mode": "spherical"},
    "average": {"op": "average", "with": {"seeds": [5, 6]}},
    "region": {"op": "region", "mask": LEFT, "operations": [SEFA]},
    "units": {"op": "units", "layer": "b8.conv1", "units": [0, 3, 5], "mask": LEFT},
}
SPACES = ("z", "w", "w+", "s", "p", "p+", "features")


@pytest.fixture(scope="module")
def model_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny`, with an encoder, and one of every family."""
    repo = tmp_path_factory.mktemp("models")
    save_seeing(repo)
    for name in GENERATORS:
        network = tiny(name)
        classes = ("ant", "bee", "cow") if network.c_dim else ()
        save_model(repo / _served(name), network, About(name=_served(name), class_names=classes))
    return repo


@pytest.fixture
def ended(submit, finished) -> Callable[..., tuple[str, Pictures]]:
    """Run a job somewhere: its id, and the pictures (H, W, 3) that it made, by name."""

    def ran(where: Context, kind: str, **given: Any) -> tuple[str, Pictures]:
        row = submit(kind, **given)
        run_job(row.id, WORKS[kind], where)
        row = finished(row)
        assert row.status is Status.SUCCEEDED, row.error
        keys = {o.name: o.key for o in row.outputs if o.media_type == "image/png" and o.role != "plot"}
        return row.id, {name: pixels_of(where.blobs.read(key)).astype(int) for name, key in keys.items()}

    return ran


@pytest.fixture
def agree(context, away, ended) -> Callable[..., bool]:
    """Whether a job makes the same on the CPU and there; to a level, for blocks may have other sizes there,
    and sums another order.
    """

    def compared(kind: str, **given: Any) -> bool:
        here, there = (ended(where, kind, **given)[1] for where in (context, away))
        assert here and here.keys() == there.keys()
        return all(np.abs(here[name] - there[name]).max() <= 1 for name in here)

    return compared


def _served(name: str) -> str:
    return name.replace("_", "-")


@pytest.mark.parametrize("family", sorted(GENERATORS))
def test_every_family_paints_the_same_pictures(agree, family):
    classes = {"class": 1} if tiny(family).c_dim else {}
    assert agree("generate", model=_served(family), input={"source": {"seeds": [1, 2, 3]}} | classes)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_inversion_finds_the_same(agree, upload, method):
    asked = {"images": [upload(ramp())], "losses": PIXELS, "preview_every": 0}
    assert agree("invert", input=asked | briefly(method, upload))


@pytest.mark.parametrize("space", SPACES)
def test_every_space_is_searched(agree, upload, space):
    asked = {"images": [upload(ramp())], "losses": PIXELS, "preview_every": 0}
    assert agree("invert", input=asked | {"method": "projector", "space": space, "steps": 10})


def test_a_tuned_generator_is_painted_and_edited_there(away, ended, upload):
    tuning = {"method": "pti", "steps": 5, "tuning": {"steps": 5}, "losses": PIXELS, "preview_every": 0}
    job, found = ended(away, "invert", input={"images": [upload(ramp())]} | tuning)
    source = {"artifact": {"job": job, "name": "latents.safetensors"}}
    again = ended(away, "generate", input={"source": source, "psi": 1.0})[1]["image_0000.png"]
    assert np.abs(again - found["reconstruction_0000.png"]).max() <= 1
    moved = ended(away, "edit", input={"source": source, "operations": [SEFA]})[1]["edit_0000.png"]
    assert np.abs(moved - again).max() > 1


@pytest.mark.parametrize(("backend", "levels"), [("prepared", 0.1), ("prepared-bf16", 2.0)])
def test_prepared_weights_paint_there_too(context, away, ended, backend, levels):
    settings = away.settings.model_copy(update={"backend": backend})
    prepared = replace(away, models=Models(settings, away.store, away.blobs, elsewhere.NAME))
    asked = {"source": {"seeds": [1, 2, 3]}}
    before = REGISTRY.get_sample_value(BLOCKS, {"backend": "prepared"}) or 0
    here, there = (ended(where, "generate", input=asked)[1] for where in (context, prepared))
    assert (REGISTRY.get_sample_value(BLOCKS, {"backend": "prepared"}) or 0) > before
    assert np.mean([np.abs(here[name] - there[name]).mean() for name in here]) <= levels


@pytest.mark.parametrize("edit", EDITS)
def test_every_edit_makes_the_same(agree, edit):
    assert agree("edit", input={"source": {"seeds": [1, 2]}, "operations": [EDITS[edit]]})


@pytest.mark.parametrize("family", sorted(GENERATORS))
def test_painting_asks_nothing_back(family):
    """So that a GPU's queue never runs empty meanwhile."""
    network = tiny(family).eval().requires_grad_(False).to(elsewhere.NAME)
    there = {name: t.to(elsewhere.NAME) for name, t in inputs_of(network, 2).items()}
    with torch.no_grad(), elsewhere.Reads() as reads:
        pictures = painting.Paint()(network, there)
        assert not reads.seen
        pictures.cpu()
        assert reads.seen


def test_the_cpu_is_refused_as_company():
    there = torch.ones(2, 2, device=elsewhere.NAME)
    with pytest.raises(RuntimeError, match="tensors of the CPU"):
        there @ torch.ones(2, 2)
    assert torch.equal((there @ torch.ones(2, 2).to(elsewhere.NAME)).cpu(), torch.full((2, 2), 2.0))
