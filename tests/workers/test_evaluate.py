"""evaluate: the job against the same evaluation run by hand, without engine, store or encoders."""

import json

import numpy as np
import pytest

from generative.metrics.evaluation import Plan, evaluate
from generative.metrics.examiner import plain_run
from generative.metrics.pictures import Renders
from generative.networks.feature_network import FeatureNetwork, FeatureRecord, Readout
from generative.worlds.portraits import FACTORS
from jobs.schemas import Status
from tests.workers.given import TENANT, pixels_of, ramp
from workers.reporter import Canceled
from workers.runner import Outcome, run_job
from workers.work.evaluate import evaluate_model

CLOSE = 2e-3  # the twin sums in another order, so some pixels differ by one grey level


@pytest.fixture
def model_repo(model_repo, tmp_path_factory):
    """`tiny` with an untrained feature network that reads the world's factors, as if trained on it."""
    import shutil

    import torch

    repo = tmp_path_factory.mktemp("seeing") / "models"
    shutil.copytree(model_repo, repo)
    card = json.loads((repo / "tiny" / "card.json").read_text())
    (repo / "tiny" / "card.json").write_text(json.dumps(card | {"training": {"world": "portraits"}}))
    readouts = tuple(
        Readout(name=f.name, kind=f.kind, classes=len(f.values) if f.kind == "categorical" else 1)
        for f in FACTORS
    )
    torch.manual_seed(0)
    FeatureNetwork(FeatureRecord(resolution=16, channels=(8, 16), readouts=readouts)).save(repo / "tiny")
    return repo


@pytest.fixture
def run(context, submit, finished):
    def ended(**given):
        row = submit("evaluate", input={"count": 40} | given)
        run_job(row.id, evaluate_model, context)
        return finished(row)

    return ended


def by_hand(context, plan, reference):
    examiner = context.models.get(TENANT, "tiny").examiner
    return evaluate(examiner, plan, reference, plain_run(examiner)).report.plain()


def test_all_metrics_agree_with_the_plain_loop(run, context):
    metrics = ("fid", "kid", "pr", "ppl", "factors", "identity")
    job = run(metrics=list(metrics), seed=5)
    assert job.status is Status.SUCCEEDED, job.error
    twin = by_hand(context, Plan(metrics, 40, seed=5), Renders(40, 16, 5))
    assert job.result.keys() == twin.keys()
    assert [s["name"] for s in job.result["sets"]] == ["samples", "renders", "renders with 5 % noise"]
    for mine, other in zip(job.result["sets"], twin["sets"], strict=True):
        assert mine["fid"] == pytest.approx(other["fid"], rel=0.02)
    assert job.result["ppl"]["length"] == pytest.approx(twin["ppl"]["length"], rel=0.05)
    assert {o.name for o in job.outputs} == {"report.md", "factors.png", "nearest.png"}


def test_the_same_request_gives_the_same_numbers_and_pictures(run):
    one, two = run(seed=1), run(seed=1)
    assert one.result == two.result
    assert [o.sha256 for o in one.outputs] == [o.sha256 for o in two.outputs]
    assert run(seed=2).result != one.result


def test_the_sheet_begins_with_the_pictures_of_the_seeds(run, read, context):
    job = run(metrics=["fid"], seed=9)
    sheet = pixels_of(read(job, "nearest.png"))
    examiner = context.models.get(TENANT, "tiny").examiner
    from generative.pixels import to_uint8
    from generative.spaces import sample_z

    own = to_uint8(examiner.generator(sample_z([9], 16))).numpy()[0]
    assert np.abs(sheet[:16, :16].astype(int) - own).max() <= 1
