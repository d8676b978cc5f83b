"""Shards of datasets: read back with the public webdataset and pyarrow packages, compared over layouts."""

import gc
import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import webdataset as wds
from PIL import Image

from jobs.factors import CATEGORICAL
from jobs.schemas import Kind, Status
from tests.workers.given import TENANT, pixels_of
from workers.images import to_tensor
from workers.runner import run_job
from workers.work.generate import generate
from workers.work.shard import shard
from workers.work.summary import summarise

WORKS = {Kind.SHARD: shard, Kind.SUMMARY: summarise}


@pytest.fixture
def make(context, submit):
    """Order a dataset and make all of it; the parent as it ended."""

    def made(output=None, **given):
        given = {"count": 20, "shard_size": 8, "model_sha256": sha256(context)} | given
        row = submit("dataset", input=given, output=output or {})
        return carry_out(context, row)

    return made


def sha256(context):
    return context.models.get(TENANT, "tiny").sha256


def carry_out(context, row):
    """Run every part until the dataset has ended."""
    for _ in range(100):
        context.store.tend(TENANT, row.id)
        if (row := context.store.get(TENANT, row.id)).terminal:
            return row
        for due in context.store.due_for_send():
            run_job(due.id, WORKS[Kind(due.kind)], context)
    raise AssertionError(row.progress)


def shards(context, row):
    return context.store.parts(TENANT, row.id)


def files(context, row, ending):
    """name: bytes."""
    outputs = [o for part in shards(context, row) for o in part.outputs if o.name.endswith(ending)]
    return {o.name: context.blobs.read(o.key) for o in outputs}


def members(context, row):
    """By the name of the member, over all tars."""
    found = {}
    for body in files(context, row, ".tar").values():
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            for member in tar:
                assert member.name not in found
                found[member.name] = tar.extractfile(member).read()
    return found


def test_a_dataset_is_made_in_shards_and_told_of_by_a_summary(context, make):
    row = make()
    assert row.status is Status.SUCCEEDED, row.error
    assert [part.result["count"] for part in shards(context, row)] == [8, 8, 4]
    assert {o.name for o in row.outputs} == {"manifest.json", "README.md", "samples.png"}
    assert row.result["samples"] == row.result["pictures"] == 20 and row.result["complete"]
    assert row.parts["succeeded"] == row.parts["total"] == 3
    assert row.progress.value == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves files open
def test_webdataset_reads_pairs_and_what_is_told_of_them(context, make, tmp_path):
    row = make(
        {"format": "jpeg", "latents": "w"},
        count=6,
        variants=[{"name": "moved", "edits": [{"name": "sefa_0", "strength": 2}]}],
    )
    for name, body in files(context, row, ".tar").items():
        (tmp_path / name).write_bytes(body)
    urls = sorted(str(path) for path in tmp_path.glob("*.tar"))
    samples = list(wds.WebDataset(urls, shardshuffle=False).decode("rgb8"))
    gc.collect()
    assert [sample["__key__"] for sample in samples] == [f"{i:08d}" for i in range(6)]
    first = samples[0]
    assert first["jpg"].shape == first["moved.jpg"].shape == (16, 16, 3)
    assert (first["jpg"] != first["moved.jpg"]).any()
    assert first["json"]["seed"] == 0 and first["json"]["split"] == "train"
    assert first["npz"]["w"].shape == (16,)


def test_the_table_says_where_in_the_tar_each_picture_lies(context, make):
    row = make(count=6)
    [body], [table] = files(context, row, ".tar").values(), files(context, row, ".parquet").values()
    rows = pq.read_table(io.BytesIO(table)).to_pylist()
    assert [r["seed"] for r in rows] == list(range(6))
    for r in rows:
        with Image.open(io.BytesIO(body[r["offset"] : r["offset"] + r["bytes"]])) as image:
            about = json.loads(image.text["ganserve"])
        assert about["seed"] == r["seed"] and about["kind"] == "dataset"


@pytest.mark.parametrize("noise", ["const", "random"])
def test_a_picture_is_that_of_a_generate_job_of_its_seed(context, submit, finished, read, make, noise):
    how = {"noise": noise, "noise_seed": 3, "psi": 0.6}
    made = members(context, make(seed=40, count=3, **how))
    row = submit("generate", input={"source": {"seeds": [40, 41, 42]}} | how)
    run_job(row.id, generate, context)
    for i in range(3):
        alone = pixels_of(read(finished(row), f"image_{i:04d}.png"))
        assert np.array_equal(pixels_of(made[f"{i:08d}.png"]), alone)


EVERYTHING = {
    "count": 21,
    "seed": 5,
    "noise": "random",
    "splits": {"train": 0.75, "test": 0.25},
    "mix": [{"name": "moved", "share": 0.5, "edits": [{"name": "sefa_1", "strength": -2}]}],
    "variants": [{"name": "more", "edits": [{"name": "sefa_0", "strength": 1.5, "layers": "0-2"}]}],
}


def test_bytes_do_not_depend_on_shards_nor_on_attempts(context, make):
    """Other layouts, other jobs, other attempts: the same members; the same layout: the same tars."""
    output = {"latents": "w+", "format": "webp"}
    a, b = (make(output, shard_size=size, **EVERYTHING) for size in (7, 21))
    assert members(context, a) == members(context, b)
    again = make(output, shard_size=7, **EVERYTHING)
    assert files(context, a, "") == files(context, again, "")
    assert len(members(context, a)) == 21 * 4


def test_shares_and_splits_hold_and_pairs_stay_together(context, make):
    row = make(**EVERYTHING | {"count": 40})
    about = [json.loads(body) for name, body in members(context, row).items() if name.endswith(".json")]
    assert sum(sample["share"] == "moved" for sample in about) in (19, 20, 21)
    assert row.result["splits"] in ({"test": n, "train": 40 - n} for n in (9, 10, 11))
    assert all(len(sample["pictures"]) == 2 for sample in about)


def test_what_an_interrupted_attempt_wrote_is_taken_over(context, submit):
    """The same key, the same bytes; another device's bytes get a name of their own, and change nothing."""
    row = submit(
        "dataset", input={"count": 8, "shard_size": 8, "model_sha256": sha256(context), "prefix": "p"}
    )
    context.blobs.write("t/default/s/p/train-000000.tar", b"another device's", media_type="application/x-tar")
    row = carry_out(context, row)
    [part] = shards(context, row)
    assert [o.key for o in part.outputs] == [
        "t/default/s/p/train-000000.1.tar",
        "t/default/s/p/train-000000.parquet",
    ]
    manifest = json.loads(context.blobs.read("t/default/s/p/manifest.json"))
    assert manifest["files"][0]["key"] == part.outputs[0].key


def test_a_model_with_other_weights_is_refused(make):
    row = make(model_sha256="0" * 64)
    assert (row.status, row.error.code) == (Status.FAILED, "parts_failed")


@pytest.fixture
def portraits(model_repo):
    """The shipped model beside the tiny one, for one test."""
    link = model_repo / "portraits"
    link.symlink_to(Path(__file__).parents[2] / "model_repo" / "portraits")
    yield
    link.unlink()


def test_what_a_share_requires_is_seen_in_its_pictures(portraits, context, submit):
    """By another way: the network that reads factors looks at the files, and a mask has their size."""
    mix = [{"name": "glasses", "share": 0.5, "require": {"glasses": True, "hair_length": {"max": 0.7}}}]
    model = context.models.get(TENANT, "portraits")
    given = {"count": 8, "shard_size": 8, "model_sha256": model.sha256, "attributes": True, "masks": True}
    row = carry_out(context, submit("dataset", model="portraits", input=given | {"mix": mix}))
    assert row.status is Status.SUCCEEDED and row.result["shares"] == {"glasses": 4, "the rest": 4}
    found = members(context, row)
    about = [json.loads(body) for name, body in found.items() if name.endswith(".json")]
    pictures = [pixels_of(found[f"{sample['index']:08d}.png"]) for sample in about]
    with torch.no_grad():
        read = model.perceptual.features.factors(to_tensor(np.stack(pictures)))
    for i, sample in enumerate(about):
        told = sample["pictures"]["png"]["attributes"]
        assert told["glasses"] == pytest.approx(float(read["glasses"][i]), abs=1e-3)
        if sample["share"] == "glasses":
            assert sample["met"] and told["glasses"] > 0.5 and told["hair_length"] <= 0.7
    masks = [cv2.imdecode(np.frombuffer(found[f"{i:08d}.mask.png"], np.uint8), -1) for i in range(8)]
    assert {mask.shape for mask in masks} == {(64, 64)} and max(mask.max() for mask in masks) > 3
    assert {o.name for o in row.outputs} >= {"factors.png"}
    [table] = files(context, row, ".parquet").values()
    assert pq.read_table(io.BytesIO(table))["factor_hair_color"].to_pylist()[0] in CATEGORICAL["hair_color"]


def test_what_cannot_be_met_is_taken_as_it_is_and_told(portraits, context, submit):
    mix = [{"name": "never", "share": 1, "require": {"age": {"min": 9}}, "tries": 2}]
    sha = context.models.get(TENANT, "portraits").sha256
    given = {"count": 3, "shard_size": 2, "model_sha256": sha, "mix": mix}
    row = carry_out(context, submit("dataset", model="portraits", input=given))
    assert row.status is Status.SUCCEEDED and row.result["unmet"] == 3
    assert "do not show" in context.blobs.read(f"t/default/s/{row.id}/README.md").decode()
