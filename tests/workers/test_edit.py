"""edit: checked against `generative.editing` applied by hand, and against invariants."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from generative.editing.direction import Direction, apply
from generative.generator import sample_z
from generative.pixels import to_uint8
from generative.spaces import Space, broadcast
from jobs.schemas import Status
from tests.workers.given import TENANT, pixels_of, ramp
from workers.encode import GRID_GAP
from workers.runner import run_job
from workers.work.edit import edit

STEP = 16 + GRID_GAP


@pytest.fixture
def run(context, submit, finished):
    def ended(input, **given):
        row = submit("edit", input=input, **given)
        run_job(row.id, edit, context)
        return finished(row)

    return ended


@pytest.fixture
def model(context):
    return context.models.get(TENANT, "tiny")


@pytest.fixture
def with_directions(context, model, monkeypatch):
    """Serve the model with more directions."""

    def serve(*directions: Direction) -> None:
        more = replace(model, directions={**model.directions, **{d.name: d for d in directions}})
        monkeypatch.setattr(context.models, "get", lambda tenant, name: more)

    return serve


def move(name: str = "sefa_0", strength: float = 2.0, **more) -> dict:
    return {"op": "direction", "name": name, "strength": strength, **more}


def truncated(model, seeds, psi=0.7) -> torch.Tensor:
    network = model.generator
    with torch.no_grad():
        ws = broadcast(network.map(sample_z(seeds, network)), network.num_ws)
    return network.mapping.w_avg.lerp(ws, psi)


def painted(model, ws) -> np.ndarray:
    with torch.no_grad():
        return to_uint8(model.generator.synthesize(ws)).numpy()


def same(a, b) -> bool:
    return bool(np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max() <= 1)


def edits(job, read) -> np.ndarray:
    return np.stack([pixels_of(read(job, o.name)) for o in job.outputs if o.name.startswith("edit_")])


@pytest.mark.parametrize("layers", [None, "0-1,4"])
def test_a_direction_moves_the_latents_as_the_library_does(run, read, model, layers):
    job = run({"source": {"seeds": [1, 2]}, "operations": [move(layers=layers)]})
    assert job.status is Status.SUCCEEDED and job.result == {"count": 2}
    chosen = None if layers is None else (0, 1, 4)
    moved = apply(truncated(model, [1, 2]), model.directions["sefa_0"], 2.0, chosen)
    assert same(edits(job, read), painted(model, moved))


def test_a_strip_shows_the_picture_before_and_after(run, read, model):
    job = run({"source": {"seeds": [1, 2]}, "operations": [move()]})
    strip = pixels_of(read(job, "strip_0001.png"))
    assert strip.shape == (16, 2 * STEP - GRID_GAP, 3)
    assert same(strip[:, :16], painted(model, truncated(model, [2]))[0])
    assert same(strip[:, STEP:], edits(job, read)[1])


def test_a_sweep_repeats_the_edit_with_each_strength(run, read, model):
    strengths = [-3.0, 0.0, 3.0]
    sweep = {"operation": 1, "strengths": strengths}
    job = run(
        {
            "source": {"seeds": [5, 6]},
            "operations": [move("sefa_0", 1.0), move("sefa_1", 9.0)],
            "sweep": sweep,
        }
    )
    start = apply(truncated(model, [5, 6]), model.directions["sefa_0"], 1.0)
    by_strength = [painted(model, apply(start, model.directions["sefa_1"], s)) for s in strengths]
    made = edits(job, read)
    assert len(made) == 6 and same(made, np.stack(by_strength, axis=1).reshape(6, 16, 16, 3))
    assert [o.about["strength"] for o in job.outputs if o.name.startswith("edit_")] == strengths * 2

    grid = pixels_of(read(job, "grid.png"))
    assert grid.shape == (2 * STEP - GRID_GAP, 4 * STEP - GRID_GAP, 3)
    assert same(grid[STEP:, 3 * STEP :], made[5])


def test_strength_zero_changes_nothing(run, read, model):
    job = run({"source": {"seeds": [5]}, "operations": [move(strength=0.0)]})
    assert same(edits(job, read), painted(model, truncated(model, [5])))


def test_operations_act_in_order_over_the_spaces(run, read, model, with_directions):
    size = model.card.style_size
    rng = torch.Generator().manual_seed(1)
    in_z = Direction("in_z", Space.Z, torch.randn(16, generator=rng))
    in_s = Direction("in_s", Space.S, torch.randn(size, generator=rng) * 0.1)
    with_directions(in_z, in_s)
    job = run(
        {"source": {"seeds": [4]}, "operations": [move("in_z", 0.5), move("sefa_0", 1.0), move("in_s", 1.0)]}
    )

    network = model.generator
    with torch.no_grad():
        ws = broadcast(network.map(apply(sample_z([4], network), in_z, 0.5)), network.num_ws)
        ws = apply(network.mapping.w_avg.lerp(ws, 0.7), model.directions["sefa_0"], 1.0)
        styles = network.styles(ws)
        rows = apply(torch.cat(list(styles.values()), dim=1), in_s, 1.0)
        split = dict(zip(styles, rows.split([s.shape[1] for s in styles.values()], dim=1), strict=True))
        expected = to_uint8(network.synthesize_styles(split)).numpy()
    assert same(edits(job, read), expected)

    backwards = run({"source": {"seeds": [4]}, "operations": [move("sefa_0"), move("in_z")]})
    assert backwards.error.code == "unsupported_by_model"


def test_a_distance_is_where_the_latent_ends(run, read, model, with_directions):
    normal = torch.nn.functional.normalize(torch.randn(16, generator=torch.Generator().manual_seed(2)), dim=0)
    with_directions(Direction("plane", Space.W, normal, unit="distance"))
    job = run({"source": {"seeds": [4]}, "operations": [move("plane", 1.5)]}, output={"latents": "w+"})

    from workers.latents import from_file

    ws = from_file(read(job, "latents.safetensors")).rows
    assert torch.allclose(ws @ normal, torch.full((1, model.generator.num_ws), 1.5), atol=1e-4)


def test_the_edited_latents_come_out_and_paint_the_edits(run, read, model):
    job = run({"source": {"seeds": [1]}, "operations": [move()]}, output={"latents": "w+"})
    source = {"artifact": {"job": job.id, "name": "latents.safetensors"}}
    again = run({"source": source, "operations": [move(strength=0.0)]})
    assert same(edits(again, read), edits(job, read))


def test_a_picture_is_inverted_first_and_shown_in_its_strip(run, read, upload, context):
    inversion = {"steps": 20, "losses": {"pixel": 1.0, "perceptual": 0.0}}
    wanted = {
        "source": {"images": [upload(ramp())]},
        "operations": [move(strength=0.0)],
        "inversion": inversion,
    }
    job = run(wanted)
    assert job.status is Status.SUCCEEDED and job.result["images"][0]["steps"] == 20
    names = {o.name for o in job.outputs}
    assert names >= {"original_0000.png", "reconstruction_0000.png", "edit_0000.png", "strip_0000.png"}
    strip = pixels_of(read(job, "strip_0000.png"))
    reconstruction = pixels_of(read(job, "reconstruction_0000.png"))
    assert np.array_equal(strip[:, :16], ramp())
    assert np.array_equal(strip[:, STEP : STEP + 16], reconstruction)
    assert same(strip[:, 2 * STEP :], reconstruction)  # an edit of strength 0
    values = [e["progress"]["value"] for e in context.live.events if e["type"] == "progress"]
    assert values == sorted(values) and values[-1] == 1


@pytest.mark.parametrize(
    ("operation", "code"),
    [(move("nothing"), "unknown_direction"), (move(layers="0-63"), "unsupported_by_model")],
)
def test_a_direction_or_layer_that_the_model_lacks_is_refused(run, operation, code):
    assert run({"source": {"seeds": [1]}, "operations": [operation]}).error.code == code


def test_a_sweep_over_too_many_pictures_is_refused(run):
    sweep = {"strengths": [float(i) for i in range(33)]}
    job = run({"source": {"seeds": "0-99"}, "operations": [move()], "sweep": sweep})
    assert job.error.code == "limit_exceeded"
