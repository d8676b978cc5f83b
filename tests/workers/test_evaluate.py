"""evaluate: the job against the same evaluation run by hand, without engine, store or encoders."""

import json
import shutil

import numpy as np
import pytest
import torch

from generative.generator import sample_z
from generative.metrics.evaluation import Plan, evaluate
from generative.metrics.examiner import plain_run
from generative.metrics.pictures import Renders
from generative.networks.feature_network import FeatureNetwork, FeatureRecord, Readout
from generative.pixels import to_uint8
from generative.worlds.portraits import FACTORS
from jobs.schemas import Status
from tests.workers.conftest import SIDE
from tests.workers.given import TENANT, pixels_of
from workers.runner import Outcome, run_job
from workers.work.evaluate import evaluate_model
from workers.work.generate import generate

COUNT = 40


@pytest.fixture(scope="session")
def model_repo(model_repo, tmp_path_factory):
    """`tiny`, as if trained on the world, with an untrained network that reads its factors."""
    repo = tmp_path_factory.mktemp("seeing") / "models"
    shutil.copytree(model_repo, repo)
    card = json.loads((repo / "tiny" / "card.json").read_text())
    (repo / "tiny" / "card.json").write_text(json.dumps(card | {"training": {"world": "portraits"}}))
    readouts = tuple(
        Readout(name=f.name, kind=f.kind, classes=len(f.values) if f.kind == "categorical" else 1)
        for f in FACTORS
    )
    torch.manual_seed(0)
    FeatureNetwork(FeatureRecord(resolution=SIDE, channels=(8, 16), readouts=readouts)).save(repo / "tiny")
    return repo


@pytest.fixture
def run(context, submit, finished):
    """Submit and run; the row as it ended."""

    def ended(**given):
        row = submit("evaluate", input={"count": COUNT} | given)
        run_job(row.id, evaluate_model, context)
        return finished(row)

    return ended


@pytest.fixture
def examiner(context):
    return context.models.get(TENANT, "tiny").examiner


def test_all_metrics_agree_with_the_plain_loop(run, examiner):
    metrics = ("fid", "kid", "pr", "ppl", "factors", "identity")
    job = run(metrics=list(metrics), seed=5, path={"space": "z", "sampling": "end"})
    assert job.status is Status.SUCCEEDED, job.error

    plan = Plan(metrics, COUNT, seed=5, path_space="z", path_sampling="end")
    twin = evaluate(examiner, plan, Renders(COUNT, SIDE, 5), plain_run(examiner)).report.plain()
    assert job.result.keys() == twin.keys()
    assert [s["name"] for s in job.result["sets"]] == ["samples", "renders", "renders with 5 % noise"]
    # the twin adds up in another order, so some pixels differ by one grey level
    for mine, other in zip(job.result["sets"], twin["sets"], strict=True):
        assert mine.pop("name") == other.pop("name")
        assert mine == pytest.approx(other, rel=0.03, abs=0.03)
    assert job.result["ppl"]["length"] == pytest.approx(twin["ppl"]["length"], rel=0.05)
    assert {o.name for o in job.outputs} == {"report.md", "factors.png", "nearest.png"}


def test_the_same_request_gives_the_same_numbers_and_files(run):
    one, two, other = run(seed=1), run(seed=1), run(seed=2)
    assert one.result == two.result != other.result
    assert [o.sha256 for o in one.outputs] == [o.sha256 for o in two.outputs]


def test_another_device_gives_the_same_numbers(run, away, submit, finished):
    row = submit("evaluate", input={"count": COUNT})
    run_job(row.id, evaluate_model, away)
    here, there = run().result, finished(row).result
    for mine, other in zip(here["sets"], there["sets"], strict=True):
        assert mine.pop("name") == other.pop("name")
        assert mine == pytest.approx(other, rel=0.03, abs=0.03)  # some pixels differ by one grey level


def test_the_sheet_begins_with_the_picture_of_the_seed(run, read, examiner):
    sheet = pixels_of(read(run(metrics=["fid"], seed=9), "nearest.png"))
    own = to_uint8(examiner.generator(sample_z([9], examiner.generator))).numpy()[0]
    assert np.abs(sheet[:SIDE, :SIDE].astype(int) - own).max() <= 1


def test_the_report_can_be_read(run, read):
    report = read(run(), "report.md").decode()
    assert f"against {COUNT} renders" in report and "smile" in report


def test_people_are_followed_along_edits(run, examiner):
    edits = [{"name": "sefa_0", "strength": 0.0}, {"name": "sefa_0", "strength": 3.0, "layers": "0-1"}]
    job = run(metrics=["identity"], edits=edits)
    assert job.status is Status.SUCCEEDED, job.error
    still, moved = job.result["identity"][-2:]
    assert (still["change"], moved["change"]) == ("sefa_0 +0", "sefa_0 +3")
    assert still["consistency"] == 1 and moved["consistency"] < 1


def test_progress_rises_and_says_what_is_done(run, context):
    run(metrics=["fid", "ppl"])
    events = [e["progress"] for e in context.live.events if e["type"] == "progress"]
    values = [e["value"] for e in events]
    assert values == sorted(values) and events[-1]["message"]


def test_uploaded_pictures_may_be_the_reference(run, upload):
    rng = np.random.default_rng(0)
    images = [upload(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)) for _ in range(18)]
    job = run(reference={"images": images}, metrics=["fid", "kid", "pr", "factors"])
    assert job.status is Status.SUCCEEDED, job.error
    assert job.result["reference"] == {"kind": "pictures", "count": 18}
    assert [s["name"] for s in job.result["sets"]] == ["samples"]


def test_the_pictures_of_an_earlier_job_are_at_no_distance_from_the_same_samples(run, submit, context):
    earlier = submit("generate", input={"source": {"seeds": f"0-{COUNT - 1}"}, "psi": 1.0})
    run_job(earlier.id, generate, context)
    job = run(reference={"job": earlier.id}, metrics=["fid", "pr", "factors"])
    [row] = job.result["sets"]
    assert row["fid"] < 1e-6 and row["factors"] == 0
    assert row["precision"] == row["recall"] == 1


def test_pictures_that_are_not_there_fail_the_job(run, submit, context):
    few = submit("generate", input={"source": {"seeds": [1]}})
    run_job(few.id, generate, context)
    for reference in ({"job": few.id}, {"job": "job_" + "0" * 26}):
        assert run(reference=reference).error.code == "unknown_artifact"
    missing = ["img_" + f"{i:064x}" for i in range(16)]
    assert run(reference={"images": missing}).error.code == "unknown_image"


def test_what_cannot_be_measured_fails_the_job_with_a_reason(run, upload):
    """Pictures that differ outside of their middle squares only: no factor varies, so none has a unit."""
    images = []
    for i in range(16):
        pixels = np.full((SIDE, 3 * SIDE, 3), 99, np.uint8)
        pixels[:, 0] = i
        images.append(upload(pixels))
    error = run(reference={"images": images}, metrics=["factors"]).error
    assert error.code == "job_failed" and "same in all pictures" in error.detail


def test_a_canceled_evaluation_stops(context, submit, finished):
    row = submit("evaluate", input={"count": 5_000})
    publish = context.live.publish

    def cancel_soon(job_id, event):
        publish(job_id, event)
        context.store.cancel(TENANT, row.id)

    context.live.publish = cancel_soon
    assert run_job(row.id, evaluate_model, context) is Outcome.CANCELED
    assert finished(row).status is Status.CANCELED


def test_a_model_that_nothing_can_see_is_refused(run, context, monkeypatch):
    monkeypatch.setattr(type(context.models), "_perceptual", lambda *_: None)
    assert run().error.code == "unsupported_by_model"
