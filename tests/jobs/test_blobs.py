"""Files by key: the same promises in memory, in a directory and in S3."""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl, urlsplit
from urllib.request import urlopen

import pytest

from jobs.blobs import BlobStore, check_key, fetch, model_prefix, open_blobs, output_key
from jobs.blobs.directory import DirectoryBlobStore
from jobs.blobs.memory import MemoryBlobStore
from jobs.blobs.s3 import S3BlobStore
from jobs.errors import BadRequest, BlobsUnavailable, Conflict, Forbidden, NotFound
from jobs.settings import Settings, read_settings
from tests.servers import PrivateS3

SECRET = b"0123456789abcdef0123456789abcdef"
KEY = "t/default/j/job_1/a/1/image_0000.png"
PNG = {"media_type": "image/png"}


def s3_settings(server: PrivateS3, **given) -> Settings:
    return read_settings(
        blob_url=server.blob_url,
        s3_endpoint=server.endpoint,
        s3_access_key=server.access_key,
        s3_secret_key=server.secret_key,
        **given,
    )


@pytest.fixture(scope="module")
def s3_store(s3_server: PrivateS3) -> Iterator[S3BlobStore]:
    store = open_blobs(s3_settings(s3_server))
    assert isinstance(store, S3BlobStore)
    yield store
    store.close()


@pytest.fixture
def s3(s3_store: S3BlobStore) -> S3BlobStore:
    """Empty."""
    s3_store.delete(list(s3_store.list("t/default")))
    return s3_store


@pytest.fixture
def directory(tmp_path) -> DirectoryBlobStore:
    return DirectoryBlobStore(tmp_path / "blobs", "http://127.0.0.1:8000", SECRET)


@pytest.fixture(params=["memory", "directory", "s3"])
def blobs(request) -> BlobStore:
    return MemoryBlobStore() if request.param == "memory" else request.getfixturevalue(request.param)


def test_what_was_written_is_read(blobs, tmp_path):
    assert blobs.write(KEY, b"picture", **PNG) == hashlib.sha256(b"picture").hexdigest()

    assert blobs.read(KEY) == b"".join(blobs.stream(KEY)) == b"picture"
    assert blobs.exists(KEY) and blobs.size(KEY) == 7
    fetch(blobs, KEY, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"picture"


def test_files_are_written_from_disk_too(blobs, tmp_path):
    content = bytes(range(256)) * 10_000  # more than one piece
    (tmp_path / "weights").write_bytes(content)

    assert blobs.write(KEY, tmp_path / "weights", **PNG) == hashlib.sha256(content).hexdigest()
    assert b"".join(blobs.stream(KEY)) == content


def test_what_is_not_there_is_not_found(blobs):
    for call in (blobs.read, blobs.size, lambda key: list(blobs.stream(key))):
        with pytest.raises(NotFound):
            call(KEY)
    assert not blobs.exists(KEY)
    assert list(blobs.list("t/default/j/job_1/")) == []
    blobs.delete([KEY])


def test_a_list_holds_what_is_under_the_prefix(blobs):
    keys = {"t/default/j/job_1/a/1/a.png", "t/default/j/job_1/ckpt/1-5.safetensors"}
    for key in keys | {"t/default/j/job_10/a/1/a.png"}:
        blobs.write(key, b"x", **PNG)

    assert set(blobs.list("t/default/j/job_1/")) == keys
    blobs.delete(list(blobs.list("t/default/j/job_1/")))
    assert list(blobs.list("t/default/j/job_1/")) == []
    assert blobs.exists("t/default/j/job_10/a/1/a.png")


def test_an_exclusive_write_never_replaces(blobs):
    blobs.write(KEY, b"first", exclusive=True, **PNG)

    with pytest.raises(Conflict) as refused:
        blobs.write(KEY, b"second", exclusive=True, **PNG)

    assert refused.value.code == "blob_exists" and blobs.read(KEY) == b"first"


def test_an_exclusive_write_may_be_tried_again(blobs):
    """The first try may have succeeded although its answer was lost."""
    assert blobs.write(KEY, b"same", exclusive=True, **PNG) == blobs.write(
        KEY, b"same", exclusive=True, **PNG
    )


def test_of_many_exclusive_writers_one_wins(blobs):
    gate = threading.Barrier(10)

    def race(i: int) -> bool:
        gate.wait()
        try:
            blobs.write(KEY, f"writer {i}".encode(), exclusive=True, **PNG)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(10) as pool:
        won = list(pool.map(race, range(10)))

    assert sum(won) == 1
    assert blobs.read(KEY) == f"writer {won.index(True)}".encode()


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../secret",
        "t/../../secret",
        "t/default/./x",
        "t//x",
        "t/default/",
        "t/default/.hidden",
        "t\\default",
        "t/default/a b",
        "t/default/\x00",
        "t/default/%2e%2e/x",
        "t/default/ü",
        "t/x\n",
        "x" * 513,
    ],
)
def test_keys_that_could_lead_elsewhere_are_refused(blobs, key):
    for call in (blobs.read, blobs.exists, lambda key: blobs.write(key, b"", **PNG)):
        with pytest.raises(BadRequest):
            call(key)
    with pytest.raises(BadRequest):
        blobs.delete([key])


def test_made_keys_are_checked():
    assert output_key("default", "job_1", 3, "a.png") == "t/default/j/job_1/a/3/a.png"
    assert model_prefix("default", "faces", "ab") == "t/default/m/faces/ab/"
    with pytest.raises(BadRequest):
        output_key("default", "job_1", 3, "../../x")
    assert check_key(KEY) == KEY


# --- the directory ---------------------------------------------------------------------------------------


def link(directory: DirectoryBlobStore, ttl_s: int = 60) -> tuple[str, dict]:
    """The key and the signed parts of a link, as the gateway receives them."""
    url, expires_at = directory.url(KEY, filename="smile.png", media_type="image/png", ttl_s=ttl_s)
    parts, query = urlsplit(url), dict(parse_qsl(urlsplit(url).query))
    assert parts.path == f"/v1/blobs/{KEY}" and int(query["expires"]) == expires_at
    query["media_type"] = query.pop("type")
    return KEY, query | {"expires": int(query["expires"])}


def test_a_link_of_ours_is_valid(directory):
    key, query = link(directory)

    directory.verify(key, **query)


@pytest.mark.parametrize(
    "change",
    [
        {"expires": 4102444800},
        {"filename": "evil.html"},
        {"media_type": "text/html"},
        {"signature": "0" * 64},
        {"signature": ""},
        {"signature": "ü"},
    ],
)
def test_an_altered_link_is_refused(directory, change):
    key, query = link(directory)

    with pytest.raises(Forbidden) as refused:
        directory.verify(key, **query | change)
    assert refused.value.code == "bad_signature"


def test_a_link_opens_no_other_key_and_no_other_installation(directory, tmp_path):
    key, query = link(directory)

    with pytest.raises(Forbidden):
        directory.verify(KEY.replace("0000", "0001"), **query)
    with pytest.raises(Forbidden):
        DirectoryBlobStore(tmp_path, "http://other", b"y" * 32).verify(key, **query)


def test_fields_of_a_link_cannot_be_shifted_into_one_another(directory):
    _, query = link(directory)

    with pytest.raises(Forbidden):
        directory.verify(KEY, **query | {"filename": "smile.pngi", "media_type": "mage/png"})


def test_a_link_ends(directory):
    key, query = link(directory, ttl_s=-1)

    with pytest.raises(Forbidden) as refused:
        directory.verify(key, **query)
    assert refused.value.code == "link_expired"


def test_a_write_that_fails_leaves_nothing(directory, tmp_path):
    with pytest.raises(BlobsUnavailable):
        directory.write(KEY, tmp_path / "not there", **PNG)

    assert [path for path in directory.root.rglob("*") if path.is_file()] == []


def test_empty_folders_do_not_pile_up(directory):
    directory.write(KEY, b"x", **PNG)
    directory.delete([KEY])

    assert list(directory.root.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(BlobsUnavailable):
        DirectoryBlobStore(tmp_path / "file", "http://x", SECRET).ping()


# --- S3 --------------------------------------------------------------------------------------------------


def test_a_signed_link_downloads_the_object_under_its_name(s3):
    s3.write(KEY, b"picture", **PNG)
    url, _ = s3.url(KEY, filename="smile.png", media_type="image/png", ttl_s=60)

    with urlopen(url) as answer:
        assert answer.read() == b"picture"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="smile.png"'
        assert answer.headers["Content-Type"] == "image/png"


def test_links_are_signed_for_the_public_address_and_the_time_given(s3_server):
    """Stand-in servers do not check what is signed, so what we sign is checked."""
    store = open_blobs(s3_settings(s3_server, s3_public_endpoint="https://files.example.org"))
    url, _ = store.url(KEY, filename="smile.png", media_type="image/png", ttl_s=77)

    parts, query = urlsplit(url), dict(parse_qsl(urlsplit(url).query))
    assert parts.scheme == "https" and parts.netloc == "files.example.org"
    assert parts.path == f"/{s3_server.bucket}/objects/{KEY}"
    assert query["X-Amz-Expires"] == "77" and query["X-Amz-SignedHeaders"] == "host"
    assert query["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"


def test_requests_carry_no_checksum_that_other_makers_refuse(s3):
    sent = []
    s3._s3.meta.events.register("before-send.s3.PutObject", lambda request, **_: sent.append(request.headers))

    s3.write(KEY, b"picture", **PNG)

    assert not [name for name in sent[0] if "checksum" in name.lower() or "trailer" in name.lower()]


def test_a_store_that_honours_conditions_is_recognised(s3):
    assert s3.refuses_overwrite()
    assert list(s3.list("probe")) == []


def test_a_store_that_does_not_answer_is_unavailable():
    gone = read_settings(
        blob_url="s3://ganserve", s3_endpoint="http://127.0.0.1:9", s3_access_key="a", s3_secret_key="b"
    )
    store = open_blobs(gone)

    for call in (store.ping, lambda: store.read(KEY), lambda: store.write(KEY, b"", **PNG)):
        with pytest.raises(BlobsUnavailable):
            call()


def test_a_bucket_that_is_not_there_is_noticed(s3_server):
    settings = s3_settings(s3_server).model_copy(update={"blob_url": "s3://nobody"})

    with pytest.raises(NotFound):
        open_blobs(settings).ping()


def test_other_kinds_of_storage_are_refused():
    with pytest.raises(ValueError, match="blob_url"):
        open_blobs(read_settings(blob_url="ftp://host/x"))
