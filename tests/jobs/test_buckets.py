"""Tenants' own buckets beside the service's storage, on a real S3 server."""

from urllib.request import urlopen

import boto3
import pytest

from jobs.blobs import dataset_prefix, open_blobs
from jobs.buckets import names_of, read_buckets, refuse_unknown
from jobs.errors import JobFailed, UnknownBucket
from jobs.settings import read_settings

FILE = """
[acme]
tenants = ["acme", "sister"]
bucket = "{bucket}"
prefix = "faces/raw"
endpoint = "{endpoint}"
access_key_file = "{folder}/id"
secret_key_file = "{folder}/secret"
"""
KEY = dataset_prefix("acme", "half", "acme") + "train-000000.tar"
TAR = {"media_type": "application/x-tar"}


@pytest.fixture
def s3(s3_server):
    client = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint,
        region_name="us-east-1",
        aws_access_key_id="of-acme",
        aws_secret_access_key="secret-of-acme",
    )
    client.create_bucket(Bucket="acme-training")
    yield client
    client.close()


@pytest.fixture
def opened(s3, s3_server, tmp_path):
    """The blobs of a service whose own storage is a folder; `bucket`: in the file of buckets."""
    (tmp_path / "id").write_text("of-acme\n")
    (tmp_path / "secret").write_text("secret-of-acme\n")
    file = tmp_path / "buckets.toml"

    def make(bucket="acme-training"):
        file.write_text(FILE.format(bucket=bucket, endpoint=s3_server.endpoint, folder=tmp_path))
        return open_blobs(read_settings(work_dir=tmp_path / "var", url_secret="x" * 32, buckets=file))

    return make


def test_a_dataset_lies_under_the_operator_s_prefix_and_links_are_signed_with_the_bucket_s_key(opened, s3):
    blobs = opened()
    blobs.write(KEY, b"tar", exclusive=True, **TAR)
    at = "faces/raw/acme/half/train-000000.tar"
    assert s3.get_object(Bucket="acme-training", Key=at)["Body"].read() == b"tar"
    assert blobs.read(KEY) == b"".join(blobs.stream(KEY)) == b"tar"
    assert blobs.size(KEY) == 3 and blobs.exists(KEY)
    url, _ = blobs.url(KEY, filename="train.tar", media_type="application/x-tar", ttl_s=60)
    assert f"acme-training/{at}?" in url and "of-acme" in url
    with urlopen(url) as answer:
        assert answer.read() == b"tar"


def test_nothing_of_a_tenant_is_removed_and_all_else_is_the_service_s(opened):
    blobs, ours = opened(), "t/acme/s/other/train-000000.tar"
    for key in (KEY, ours):
        blobs.write(key, b"tar", **TAR)
    assert list(blobs.list("t/acme/s/other/")) == [ours]
    blobs.delete([KEY, ours])
    assert blobs.exists(KEY) and not blobs.exists(ours)


def test_a_bucket_is_for_the_tenants_that_the_file_names(opened):
    blobs = opened()
    for name, tenant in (("acme", "thief"), ("acmee", "acme")):
        with pytest.raises(UnknownBucket):
            blobs.write(dataset_prefix(tenant, "half", name) + "x.tar", b"tar", **TAR)


def test_a_bucket_that_is_not_there_fails_the_job_and_says_so(opened):
    with pytest.raises(JobFailed, match="'acme' cannot be written") as failure:
        opened(bucket="nobodys").write(KEY, b"tar", **TAR)
    assert failure.value.code == "bucket_refused"


def test_an_unknown_name_is_refused_with_the_nearest_of_the_tenant_s_own(opened, tmp_path):
    opened()
    buckets = read_buckets(tmp_path / "buckets.toml")
    assert names_of(buckets, "sister") == ["acme"] and names_of(buckets, "thief") == []
    with pytest.raises(UnknownBucket, match=r"'acne'\. Did you mean 'acme'\?"):
        refuse_unknown(buckets, "sister", "acne")
    with pytest.raises(UnknownBucket, match=r"You have no bucket 'acme'\. GET"):
        refuse_unknown(buckets, "thief", "acme")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[acme]\nbucket = 'acme'", "tenants"),
        ("[acme]\nbucket = 'acme'\ntenants = []", "tenants"),
        ("[acme]\nbucket = 'acme'\ntenants = ['a']\nsecret = 'x'", "secret"),
        ("[acme]\nbucket = 'acme'\ntenants = ['a']\naccess_key_file = '/x'", "neither"),
        ("[acme]\nbucket = 'acme'\ntenants = ['a']\nprefix = '../up'", "prefix"),
        ("[acme", "buckets.toml"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_not_right_is_refused_at_the_start(tmp_path, text, told):
    if text is not None:
        (tmp_path / "buckets.toml").write_text(text)
    with pytest.raises(ValueError, match=told):
        read_buckets(tmp_path / "buckets.toml")


def test_a_key_that_cannot_be_read_is_told_at_the_start(opened, tmp_path):
    opened()
    (tmp_path / "secret").unlink()
    with pytest.raises(ValueError, match="a key of the bucket"):
        open_blobs(read_settings(work_dir=tmp_path, url_secret="x" * 32, buckets=tmp_path / "buckets.toml"))
