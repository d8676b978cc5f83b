from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from jobs.blobs.directory import DirectoryBlobStore
from jobs.blobs.memory import MemoryBlobStore

from .conftest import BASE, Worker, submit
from .test_bad_input import assert_problem

CONTENT = bytes(range(256)) * 4


@pytest.fixture
def link(client: TestClient, worker: Worker) -> str:
    job_id = submit(client)["id"]
    worker.succeed(job_id, {"a.png": CONTENT})
    return client.get(f"/v1/jobs/{job_id}").json()["outputs"][0]["url"]


def changed(link: str, **changes: str) -> str:
    parts = urlsplit(link)
    return f"{parts.path}?{urlencode(dict(parse_qsl(parts.query)) | changes)}"


def test_a_link_downloads_the_file_and_never_opens_as_a_page(client: TestClient, link: str) -> None:
    reply = client.get(link)
    assert (reply.status_code, reply.content) == (200, CONTENT)
    assert reply.headers["content-type"] == "image/png"
    assert reply.headers["content-disposition"] == 'attachment; filename="a.png"'
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert "immutable" in reply.headers["cache-control"]


@pytest.mark.parametrize(
    "change", [{"expires": "9999999999"}, {"filename": "b.html"}, {"type": "text/html"}, {"signature": "é"}]
)
def test_a_link_that_was_changed_is_refused(client: TestClient, link: str, change: dict[str, str]) -> None:
    assert_problem(client.get(changed(link, **change)), 403, "bad_signature")


def test_a_link_for_one_key_opens_no_other(client: TestClient, link: str) -> None:
    assert_problem(client.get(link.replace("a.png?", "b.png?")), 403, "bad_signature")


def test_a_link_that_has_ended_is_refused(client: TestClient, blobs: DirectoryBlobStore) -> None:
    blobs.write("t/default/i/a.png", CONTENT, media_type="image/png")
    old, _ = blobs.url("t/default/i/a.png", filename="a.png", media_type="image/png", ttl_s=-1)
    assert_problem(client.get(old), 403, "link_expired")


def test_6_6_12_a_file_that_was_removed_is_gone(
    client: TestClient, link: str, blobs: DirectoryBlobStore
) -> None:
    blobs.delete(list(blobs.list("t/default")))
    assert_problem(client.get(link), 410, "gone")


def test_a_type_that_could_run_is_sent_as_bytes(client: TestClient, blobs: DirectoryBlobStore) -> None:
    blobs.write("t/default/i/a.html", b"<script>", media_type="text/html")
    url, _ = blobs.url("t/default/i/a.html", filename="a.html", media_type="text/html", ttl_s=60)
    assert client.get(url).headers["content-type"] == "application/octet-stream"


def test_a_range_is_served(client: TestClient, link: str) -> None:
    reply = client.get(link, headers={"Range": "bytes=10-19"})
    assert (reply.status_code, reply.content) == (206, CONTENT[10:20])


def test_an_etag_saves_the_second_download(client: TestClient, link: str) -> None:
    tag = client.get(link).headers["etag"]
    reply = client.get(link, headers={"If-None-Match": tag})
    assert (reply.status_code, reply.content) == (304, b"")


def test_head_tells_the_size(client: TestClient, link: str) -> None:
    reply = client.head(link)
    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["content-length"] == str(len(CONTENT))


def test_with_another_storage_the_gateway_serves_no_files(make_app: Callable[..., FastAPI]) -> None:
    app = make_app()
    app.state.blobs = MemoryBlobStore()
    with TestClient(app, base_url=BASE) as client:
        reply = client.get("/v1/blobs/a?expires=1&filename=a&type=b&signature=c")
        assert_problem(reply, 404, "not_found")
