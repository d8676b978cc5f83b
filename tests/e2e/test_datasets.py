"""Datasets and batches on the real stack: PostgreSQL, an S3 server, workers that are killed, a full queue."""

import hashlib
import io
import itertools
import json
import statistics
import tarfile
import time

import boto3
import httpx2 as httpx
import pyarrow.parquet as pq
import pytest
import webdataset as wds

from .conftest import MODEL, finished, on_postgres_and_s3
from .stack import eventually

BUCKETS = """
[acme]
tenants = ["default"]
bucket = "acme-training"
prefix = "faces"
endpoint = "{endpoint}"
access_key_file = "{folder}/id"
secret_key_file = "{folder}/secret"
"""


@pytest.fixture(scope="module")
def bucket(s3_server):
    """A client for the tenant's own, with its own keys."""
    keys = {"aws_access_key_id": "of-acme", "aws_secret_access_key": "secret-of-acme"}
    client = boto3.client("s3", endpoint_url=s3_server.endpoint, region_name="us-east-1", **keys)
    client.create_bucket(Bucket="acme-training")
    yield client
    client.close()


@pytest.fixture(scope="module")
def production(tmp_path_factory, model_repo, postgres, s3_server, bucket):
    folder = tmp_path_factory.mktemp("buckets")
    (folder / "id").write_text("of-acme")
    (folder / "secret").write_text("secret-of-acme")
    (folder / "buckets.toml").write_text(BUCKETS.format(endpoint=s3_server.endpoint, folder=folder))
    given = {"GANSERVE_BUCKETS": str(folder / "buckets.toml")}
    with on_postgres_and_s3(tmp_path_factory, model_repo, postgres, s3_server, "datasets", given) as stack:
        yield stack


def order(count, size, **given):
    inputs = {"count": count, "shard_size": size, "seed": 3, "noise": "random"} | given
    output = {"format": "jpeg", "latents": "w"}
    return {"kind": "dataset", "model": MODEL, "input": inputs, "output": output}


def manifest(client, job, folder):
    [path] = client.download(job, folder / job.id, names=("manifest.json",))
    return json.loads(path.read_text())


def hashes(found):
    return {file["name"]: file["sha256"] for file in found["files"]}


def test_shards_are_the_same_after_kills_and_hold_the_same_in_another_layout(production, s3_server, tmp_path):
    """Workers are killed in the middle; a quiet run, and one in other shards, have the same pictures."""
    with production.client() as client:
        disturbed = client.submit(order(480, 40))
        for _ in range(2):
            before = client.get(disturbed.id).parts["succeeded"]
            assert eventually(lambda n=before: client.get(disturbed.id).parts["succeeded"] > n, 90)
            production.kill(production.workers()[0])
            production.add_worker()
        told = manifest(client, finished(client, disturbed), tmp_path)
        assert told["counts"]["samples"] == 480 and told["counts"]["complete"]
        quiet = manifest(client, finished(client, client.submit(order(480, 40))), tmp_path)
        assert hashes(told) == hashes(quiet) and len(hashes(told)) == 24
        other = manifest(client, finished(client, client.submit(order(480, 160))), tmp_path)
    pictures = [_pictures(s3_server, each) for each in (told, other)]
    assert pictures[0] == pictures[1] and len(pictures[0]) == 480


def _pictures(s3_server, told):
    """sha256 by key, from the tables."""
    found = {}
    for file in told["files"]:
        if file["role"] == "table":
            table = pq.read_table(io.BytesIO(_s3(s3_server, file["key"])))
            found |= dict(zip(table["key"].to_pylist(), table["sha256"].to_pylist(), strict=True))
    return found


def _s3(s3_server, key, **how):
    client = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=s3_server.secret_key,
    )
    try:
        return client.get_object(Bucket=s3_server.bucket, Key=f"objects/{key}", **how)["Body"].read()
    finally:
        client.close()


def test_a_dataset_lies_in_its_tenant_s_bucket_and_stays_there_when_its_job_is_deleted(
    production, bucket, tmp_path
):
    where = "faces/default/mine/"
    with production.client() as client:
        before = client.usage().stored_bytes.used
        body = order(30, 10, prefix="mine")
        job = finished(client, client.submit(body | {"output": {"format": "jpeg", "bucket": "acme"}}))
        parts = [client.get(part.id) for part in client.jobs(parent=job.id)]
        links = [o.url for part in parts if part.kind == "shard" for o in part.outputs]
        assert len(links) == 6 and all(f"/acme-training/{where}train-" in link for link in links)
        names = {o.name for o in job.outputs}
        told = manifest(client, job, tmp_path)
        summary = sum(o.size_bytes for o in job.outputs)  # manifest, README and pictures are kept here too
        assert client.usage().stored_bytes.used - before == summary
        client.delete(job.id)
    there = {found["Key"] for found in bucket.list_objects_v2(Bucket="acme-training")["Contents"]}
    assert there == {where + name for name in names | set(hashes(told))}
    for file in told["files"]:
        body = bucket.get_object(Bucket="acme-training", Key=where + file["name"])["Body"].read()
        assert hashlib.sha256(body).hexdigest() == file["sha256"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_streams_it_from_the_bucket_and_a_range_is_one_picture(production, s3_server, tmp_path):
    with production.client() as client:
        told = manifest(client, finished(client, client.submit(order(30, 10))), tmp_path)
        job = client.get(told["job"])
        links = [
            o.url
            for part in client.jobs(parent=job.id)
            for o in client.get(part.id).outputs
            if o.role == "shard"
        ]
    keys = {file["name"]: file["key"] for file in told["files"]}
    assert keys["train-000000.tar"] == f"t/default/s/{told['job']}/train-000000.tar"
    urls = [f"pipe:curl -s '{link}'" for link in links]
    seeds = [sample["json"]["seed"] for sample in wds.WebDataset(urls, shardshuffle=False).decode("rgb8")]
    assert sorted(seeds) == list(range(3, 33))
    row = pq.read_table(io.BytesIO(_s3(s3_server, keys["train-000001.parquet"]))).to_pylist()[4]
    span = f"bytes={row['offset']}-{row['offset'] + row['bytes'] - 1}"
    alone = _s3(s3_server, keys["train-000001.tar"], Range=span)
    with tarfile.open(fileobj=io.BytesIO(_s3(s3_server, keys["train-000001.tar"]))) as tar:
        assert tar.extractfile(f"{row['key']}.jpg").read() == alone


def test_a_batch_gives_results_and_errors(production, tmp_path):
    lines = [
        {
            "custom_id": f"ok-{n}",
            "body": {"kind": "generate", "model": MODEL, "input": {"source": {"seeds": [n]}}},
        }
        for n in range(20)
    ]
    mixing = {"mixing": {"rows": [1], "columns": [2], "layers": "0"}, "noise": "random"}
    late = {"kind": "generate", "model": MODEL, "input": mixing, "timeout_s": 0.000001}
    lines.append({"custom_id": "late", "body": late})
    with production.client() as client:
        batch = client.submit_batch(b"\n".join(json.dumps(line).encode() for line in lines))
        done = finished(client, batch)
        results, errors = client.download(done, tmp_path)
    told = [json.loads(line) for line in results.read_text().splitlines()]
    assert [each["custom_id"] for each in told] == [f"ok-{n}" for n in range(20)]
    assert told[0]["outputs"][0]["name"] == "image_0000.png"
    [error] = [json.loads(line) for line in errors.read_text().splitlines()]
    assert (error["custom_id"], error["error"]["code"]) == ("late", "timeout")
    assert httpx.get(f"{production.url}/v1/batches/{batch.id}").json()["request_counts"] == {
        "total": 21,
        "completed": 20,
        "failed": 1,
    }


def test_a_million_pictures_keep_no_preview_waiting(production):
    """One worker, full of shards: the wait of single jobs in the queue, by the database's clock."""
    with production.client() as client:
        flood = client.submit(order(1_000_000, 5000))
        assert eventually(lambda: client.get(flood.id).parts["running"] == 2, 30)
        waits = []
        for seed in itertools.islice(itertools.count(), 20):
            body = {"kind": "generate", "model": MODEL, "input": {"source": {"seeds": [seed]}}}
            job = client.submit(body, wait_s=30)
            waits.append(client.wait(job.id, timeout_s=60).metrics["queue_ms"] / 1000)
            time.sleep(0.1)
        client.cancel(flood.id)
        assert client.wait(flood.id, timeout_s=60, check=False).status == "canceled"
    assert statistics.quantiles(waits, n=20)[-1] < 2
