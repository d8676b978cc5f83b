"""discover: sets found by every method and read from files, measured, stored, and named by edits at once."""

import io
import json
import shutil

import numpy as np
import pytest
import torch

from generative.cards import About
from generative.discovery.dissection import unit_levels
from generative.discovery.sefa import sefa_directions, style_weights
from generative.editing.foreign.request import Target
from generative.generator import sample_z
from generative.networks.feature_network import FeatureNetwork, FeatureRecord, Readout
from generative.networks.parts_network import PartsNetwork, PartsRecord
from generative.store import save_model
from generative.worlds.portraits import FACTORS
from jobs.blobs import upload_key
from jobs.catalog import Catalog
from jobs.errors import BadCheckpoint
from jobs.schemas import Status
from tests.families import tiny
from tests.workers.conftest import SIDE
from tests.workers.given import TENANT, pixels_of
from workers.converter import read_directions
from workers.runner import Outcome, run_job
from workers.work import direction_notes
from workers.work.discover import discover
from workers.work.edit import edit

SHA = "0" * 64


@pytest.fixture(scope="session")
def model_repo(model_repo, tmp_path_factory):
    """`tiny`, as if trained on the world, with an untrained network that reads its factors; and `wild`."""
    repo = tmp_path_factory.mktemp("seeing") / "models"
    shutil.copytree(model_repo, repo)
    shutil.copytree(repo / "tiny", repo / "wild")
    card = json.loads((repo / "tiny" / "card.json").read_text())
    (repo / "wild" / "card.json").write_text(json.dumps(card | {"name": "wild"}))
    (repo / "tiny" / "card.json").write_text(json.dumps(card | {"training": {"world": "portraits"}}))
    readouts = tuple(
        Readout(name=f.name, kind=f.kind, classes=len(f.values) if f.kind == "categorical" else 1)
        for f in FACTORS
    )
    torch.manual_seed(0)
    parts = PartsNetwork(PartsRecord(resolution=SIDE, channels=(4, 8), parts=("background", "hair", "hat")))
    parts.save(repo / "tiny")
    FeatureNetwork(FeatureRecord(resolution=SIDE, channels=(8, 16), readouts=readouts)).save(repo / "tiny")
    save_model(repo / "eigen", tiny("eigengan"), About(name="eigen"))
    return repo


@pytest.fixture
def run(context, submit, finished):
    """Submit and run; the row as it ended."""

    def ended(model="tiny", **given):
        row = submit("discover", model=model, input={"name": "mine"} | given)
        run_job(row.id, discover, context)
        return finished(row)

    return ended


@pytest.fixture
def bring(context, run):
    """Import a file of directions."""

    def ended(array, **given):
        file = io.BytesIO()
        np.save(file, array)
        key = upload_key(TENANT, SHA)
        context.blobs.write(key, file.getvalue(), media_type="application/octet-stream")
        return run(method="import", upload=key, sha256=SHA, **given)

    return ended


METHODS: dict[str, dict] = {
    "sefa": {"layers": "0-2", "count": 3},
    "ganspace": {"samples": 500, "components": 4},
    "interfacegan": {"factor": "smile", "samples": 300, "chosen": 0.1, "keep": ["age"]},
    "higan": {"factor": "smile", "samples": 300, "chosen": 50, "rescored": 16},
    "hessian": {"count": 3, "steps": 2, "batch": 2},
    "sefa_rosinality": {"count": 2},
    "ganspace_features": {"layer": "b8.conv1", "samples": 100, "components": 3},
    "attfind": {"factor": "smile", "samples": 50, "channels": 2},
    "stylespace": {"factor": "smile", "samples": 100, "examples": 10, "channels": 2},
}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_same_on_another_device(context, away, submit, finished, method):
    found = []
    for where, name in ((context, "here"), (away, "there")):
        row = submit("discover", input={"name": name, "method": method} | METHODS[method])
        run_job(row.id, discover, where)
        assert finished(row).status is Status.SUCCEEDED, finished(row).error
        strip = next(o.key for o in finished(row).outputs if o.name == "strip_0000.png")
        found.append(pixels_of(where.blobs.read(strip)).astype(int))
    assert np.abs(found[0] - found[1]).max() <= 1


@pytest.mark.parametrize("method", METHODS)
def test_every_method_makes_a_set_that_edits_can_name_at_once(run, context, submit, finished, method):
    job = run(method=method, **METHODS[method])
    assert job.status is Status.SUCCEEDED, job.error
    card = Catalog(context.settings.model_repo, context.store).get(TENANT, "tiny")
    mine = [d for d in card.directions if d.set == "mine"]
    assert len(mine) == job.result["count"] == len(job.result["directions"])
    assert all(d.method == method and {"moves", "best_layers", "proposed_name"} <= set(dict(d)) for d in mine)
    names = {output.name for output in job.outputs} - {"layers.png"}
    assert names == {"directions.md", *(f"strip_{i:04d}.png" for i in range(len(mine)))}

    [row] = context.store.list_directions(TENANT, "tiny")
    strips = [pixels_of(context.blobs.read(row.prefix + d.strip)) for d in mine]
    assert all(strip.shape == (SIDE, 7 * SIDE + 6 * 2, 3) for strip in strips)

    operations = [{"op": "direction", "name": mine[0].name, "strength": 1.5}]
    row = submit("edit", input={"source": {"seeds": [1]}, "operations": operations})
    run_job(row.id, edit, context)
    assert finished(row).status is Status.SUCCEEDED, finished(row).error


def test_styleflow_makes_a_flow_that_says_what_each_attribute_moves(run, context):
    given = {"attributes": ["smile", "glasses"], "samples": 200, "steps": 20, "layers": "0-2"}
    job = run(method="styleflow", **given)
    assert job.status is Status.SUCCEEDED, job.error
    [listed] = [m for m in Catalog(context.settings.model_repo, context.store).get(TENANT, "tiny").directions
                if m.set == "mine"]  # fmt: skip
    assert (listed.type, listed.name, listed.method) == ("flow", "mine", "styleflow")
    assert listed.strip == "mine.png" and set(listed.moves) == set(listed.reached) == {"smile", "glasses"}
    assert {o.name for o in job.outputs} == {"directions.md", "strip_0000.png", "strip_0001.png"}
    flow = context.models.get(TENANT, "tiny").flows["mine"]
    assert flow.layers == (0, 1, 2) and [a.kind for a in flow.attributes] == ["continuous", "binary"]


def test_dissect_makes_a_table_for_each_layer_with_pictures_of_its_best_units(run, context, read):
    job = run(method="dissect", features=["b8.conv1", "b16.conv0"], samples=60, ablate=2)
    assert job.status is Status.SUCCEEDED, job.error
    names = {o.name for o in job.outputs}
    assert names == {"directions.md", "units.png", "units_0000.png", "units_0001.png"}
    model = context.models.get(TENANT, "tiny")
    first, second = model.units["mine_0"], model.units["mine_1"]
    assert (first.layer, first.size, second.layer, second.size) == ("b8.conv1", 8, "b16.conv0", 16)
    assert set(first.parts) <= {"hair", "hat"} and set(first.effects) == set(first.parts)
    assert first.iou.shape == (len(first.parts), len(first)) and float(first.iou.max()) <= 1
    rows = pixels_of(read(job, "units_0000.png"))
    assert rows.shape[1] == 6 * SIDE + 5 * 2
    card = Catalog(context.settings.model_repo, context.store).get(TENANT, "tiny")
    assert card.units("mine_0").parts == first.parts and card.units("mine_0").strip == "mine_0.png"


def test_the_levels_of_a_dissection_are_those_of_all_samples_together(run, context):
    run(method="dissect", features=["b8.conv1"], samples=60, psi=1)
    model = context.models.get(TENANT, "tiny")
    ws = model.generator.map(sample_z(range(60), model.generator))[:, None].expand(-1, 6, -1)
    activations = model.generator.features_of_ws(ws, ["b8.conv1"])["b8.conv1"]
    assert torch.allclose(model.units["mine"].levels, unit_levels(activations), rtol=1e-4)


def test_a_layer_that_the_model_lacks_is_named_with_those_it_has(run):
    error = run(method="dissect", features=["b99.conv1"], samples=60).error
    assert error.code == "unsupported_by_model" and "b4.conv1" in error.detail


def test_a_training_that_is_canceled_stores_nothing(context, submit):
    given = {"name": "mine", "method": "styleflow", "attributes": ["smile"], "samples": 200, "steps": 50_000}
    row = submit("discover", input=given)
    publish = context.live.publish

    def cancel_in_training(job_id, event):
        publish(job_id, event)
        if event.get("progress", {}).get("message") == "training":
            context.store.cancel(TENANT, row.id)

    context.live.publish = cancel_in_training
    assert run_job(row.id, discover, context) is Outcome.CANCELED
    assert context.store.list_directions(TENANT) == []


def test_higan_acts_in_the_layers_that_raise_the_score_most(run, context):
    job = run(method="higan", **METHODS["higan"])
    found = context.models.get(TENANT, "tiny").directions["mine"]
    rises = found.provenance["rises"]
    chosen = [layer for layer, rise in enumerate(rises) if rise >= 0.5 * max(rises)]
    assert list(found.layers or range(6)) == chosen
    assert "layers.png" in {output.name for output in job.outputs}


@pytest.mark.parametrize(("space", "dim"), [("z", 16), ("w", 16)])
def test_axes_of_the_hessian_are_at_right_angles(run, context, space, dim):
    job = run(method="hessian", space=space, count=dim, steps=2, batch=2)
    assert job.status is Status.SUCCEEDED, job.error
    found = context.models.get(TENANT, "tiny").directions
    axes = torch.stack([found[f"mine_{i}"].vector for i in range(dim)])
    torch.testing.assert_close(axes @ axes.T, torch.eye(dim), atol=1e-5, rtol=0)
    activity = [found[f"mine_{i}"].provenance["activity"] for i in range(dim)]
    assert activity == sorted(activity, reverse=True)


def test_the_subspaces_of_an_eigengan_are_read_out_as_directions_of_z(run, context):
    job = run(model="eigen", method="eigengan")
    assert job.status is Status.SUCCEEDED, job.error
    found = context.models.get(TENANT, "eigen").directions
    assert all(d.description.startswith("dimension") for d in found.values())
    assert sorted(int(d.vector.argmax()) for d in found.values()) == [8, 9, 10, 11]
    assert sum(output.role == "strip" for output in job.outputs) == 4
    assert run(method="eigengan").error.code == "unsupported_by_model"


def test_rosinalitys_variant_takes_the_weights_as_they_are(run, context):
    run(method="sefa_rosinality", count=1)
    model = context.models.get(TENANT, "tiny")
    weights = model.generator.style_weights()
    rows = torch.cat([w for name, w in weights.items() if "torgb" not in name or name == "b4.torgb"])
    first = torch.linalg.svd(rows.double()).Vh[0]
    assert abs(float(first @ model.directions["mine"].vector.double())) > 1 - 1e-6


def test_local_channels_act_in_their_part(run, context, monkeypatch):
    """The network of parts is untrained: let it see the upper half as the part."""
    halves = torch.zeros(1, SIDE, SIDE, dtype=torch.uint8)
    halves[:, : SIDE // 2] = 2
    monkeypatch.setattr(PartsNetwork, "label", lambda self, images: halves.expand(len(images), -1, -1))
    job = run(method="stylespace_local", part="hat", samples=100, looked=8, pictures=2, channels=3)
    assert job.status is Status.SUCCEEDED, job.error
    model = context.models.get(TENANT, "tiny")
    ws = model.generator.map(sample_z(range(8), model.generator))[:, None].expand(-1, 6, -1)
    styles = torch.cat(list(model.generator.styles(ws).values()), dim=1)

    def paint(rows):
        return model.generator.synthesize_styles(model.generator.split_styles(rows))

    for direction in model.directions.values():
        if not direction.name.startswith("mine"):
            continue
        moved = paint(styles + direction.sigma * direction.vector) - paint(styles)
        upper, lower = moved[:, :, : SIDE // 2].abs().sum(), moved[:, :, SIDE // 2 :].abs().sum()
        assert float(upper) > float(lower)
    assert run(method="stylespace_local", name="b", part="nose").error.code == "unsupported_by_model"


def test_the_components_of_a_layer_move_it_along_themselves(run, context):
    """Along the first component's latents, activations move more than along the last one's."""
    run(method="ganspace_features", layer="b8.conv1", samples=400, components=4)
    model = context.models.get(TENANT, "tiny")
    generator = model.generator
    w = generator.map(sample_z(range(50), generator))

    def moved(direction):
        pair = [
            generator.features_of_ws(x[:, None].expand(-1, 6, -1), ["b8.conv1"])["b8.conv1"]
            for x in (w, w + direction.sigma * direction.vector)
        ]
        return float((pair[1] - pair[0]).square().mean())

    assert moved(model.directions["mine_0"]) > moved(model.directions["mine_3"])


def test_sefa_is_that_of_the_weights(run, context):
    run(method="sefa", layers="0-2", count=3)
    model = context.models.get(TENANT, "tiny")
    vectors, _ = sefa_directions(style_weights(model.generator, (0, 1, 2)), 3)
    for i in range(3):
        found = model.directions[f"mine_{i}"]
        assert torch.equal(found.vector, vectors[i]) and found.layers == (0, 1, 2)


def test_ganspace_finds_the_axes_of_w(run, context):
    run(method="ganspace", samples=2000, components=2, seed=3)
    model = context.models.get(TENANT, "tiny")
    w = model.generator.map(sample_z(range(3, 2003), model.generator)).double()
    axes = torch.linalg.svd(w - w.mean(dim=0), full_matrices=False).Vh
    for i in range(2):
        assert abs(float(axes[i] @ model.directions[f"mine_{i}"].vector.double())) > 0.999


def test_a_tenants_directions_come_on_top_and_everything_else_is_shared(run, context):
    before = context.models.get(TENANT, "tiny")
    run(method="sefa", count=1)
    after, others = context.models.get(TENANT, "tiny"), context.models.get("other", "tiny")
    assert after.directions.keys() - before.directions.keys() == {"mine"}
    assert "mine" not in others.directions
    assert after.generator is before.generator and after.examiner is before.examiner
    assert after.comparing is before.comparing and after.encode is before.encode


def test_the_strip_shows_seven_steps(run, read):
    strip = pixels_of(read(run(method="sefa", count=1), "strip_0000.png"))
    assert strip.shape == (SIDE, 7 * SIDE + 6 * 2, 3)


def test_a_file_is_brought_under_its_name(bring, context):
    vector = np.random.default_rng(0).standard_normal((1, 16)).astype(np.float32)
    job = bring(vector, space="w", licence="CC0")
    assert job.status is Status.SUCCEEDED, job.error
    found = context.models.get(TENANT, "tiny").directions["mine"]
    assert np.array_equal(found.vector.numpy(), vector[0])
    assert found.provenance["input"]["licence"] == "CC0"


def test_6_4_31_a_name_that_another_direction_has_is_refused(bring, run, context):
    """The set `a_0`, of one direction, has the name of the first of the set `a`."""
    vector = np.ones((1, 16), np.float32)
    assert bring(vector, space="w", name="a_0").status is Status.SUCCEEDED
    error = run(method="sefa", name="a", count=2).error
    assert error.code == "name_taken" and "a_0" in error.detail
    assert bring(vector, space="w", name="sefa_0").error.code == "name_taken"
    assert [row.name for row in context.store.list_directions(TENANT, "tiny")] == ["a_0"]


def test_a_file_that_does_not_fit_fails_with_the_readers_code(bring):
    assert bring(np.ones((1, 12), np.float32), space="w").error.code == "wrong_shapes"


def test_a_model_of_no_known_world_gets_no_names_and_says_so(run, read):
    job = run(model="wild", method="sefa", count=2)
    assert job.status is Status.SUCCEEDED, job.error
    assert job.result["readable"] is False and job.result["directions"] == []
    assert "no names" in read(job, "directions.md").decode()


def test_a_factor_that_has_no_more_and_no_less_or_is_unknown_is_refused(run):
    for factor in ("hair_color", "mood"):
        error = run(method="stylespace", factor=factor, samples=100).error
        assert error.code == "unsupported_by_model"


def test_only_the_first_of_many_directions_are_measured(run, monkeypatch):
    monkeypatch.setattr(direction_notes, "MEASURED", 2)
    job = run(method="sefa", count=5)
    assert job.result["count"] == 5 and len(job.result["directions"]) == 2
    assert sum(output.role == "strip" for output in job.outputs) == 2


def test_the_same_request_gives_the_same_set(run):
    one, two = (run(method="ganspace", name=name, samples=300, components=2) for name in ("a", "b"))
    for mine, other in zip(one.result["directions"], two.result["directions"], strict=True):
        assert mine["moves"] == other["moves"] and mine["range"] == other["range"]


def test_progress_rises_and_a_canceled_search_stores_nothing(context, submit):
    row = submit("discover", input={"name": "mine", "method": "ganspace", "samples": 50_000, "components": 4})
    publish = context.live.publish

    def cancel_soon(job_id, event):
        publish(job_id, event)
        context.store.cancel(TENANT, row.id)

    context.live.publish = cancel_soon
    assert run_job(row.id, discover, context) is Outcome.CANCELED
    assert context.store.list_directions(TENANT) == []
    values = [e["progress"]["value"] for e in context.live.events if e["type"] == "progress"]
    assert values and values == sorted(values)


def test_directions_of_other_weights_are_left_out(run, context):
    run(method="sefa", count=1)
    [row] = context.store.list_directions(TENANT, "tiny")
    context.store.delete_directions(TENANT, "tiny", "mine")
    context.store.put_directions(TENANT, type(row)(**vars(row) | {"model_sha256": "1" * 64}))
    assert "mine" not in context.models.get(TENANT, "tiny").directions


def test_a_hostile_file_ends_in_the_child(tmp_path):
    (tmp_path / "file").write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    target = vars(Target(16, 16, 6))
    with pytest.raises(BadCheckpoint) as error:
        read_directions(tmp_path / "file", tmp_path / "out", "mine", target, lambda: None)
    assert error.value.code == "unsafe_pickle" and not (tmp_path / "out").exists()
