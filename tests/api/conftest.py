"""A gateway on a real SQLite database and a real directory; only the broker and live events are in memory."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import structlog
from fastapi import FastAPI
from limits.aio.storage import MemoryStorage
from PIL import Image
from pydantic import SecretStr
from starlette.testclient import TestClient

from api.app import create_app
from api.body import Pace
from jobs.access import Key
from jobs.blobs.directory import DirectoryBlobStore
from jobs.catalog import Catalog
from jobs.live import MemoryLive
from jobs.migrate import migrate
from jobs.queue import MemoryJobQueue
from jobs.schemas import PAYLOAD_VERSION, JobError, Status
from jobs.settings import Settings
from jobs.store import Claim, JobStore, OutputRow, open_store
from jobs.store.access import Access

BASE = "http://127.0.0.1:8000"
PEPPER = "a pepper of the tests, long enough to be one"
SECRET = "a secret of the tests, long enough to be taken"
CARD = {
    "name": "faces",
    "family": "stylegan2",
    "resolution": 32,
    "channels": 3,
    "z_dim": 8,
    "w_dim": 8,
    "num_ws": 6,
    "classes": 0,
    "spaces": ["z", "w", "w+"],
    "features": [{"name": "b8.conv0", "channels": 8, "height": 8, "width": 8}],
    "sha256": "ab" * 32,
    "licence": "Apache-2.0",
    "source": "made for the tests",
}
DIRECTIONS = {
    "set": "sefa",
    "method": "sefa",
    "directions": [{"name": "smile", "space": "w", "layers": "2-4", "unit": "sigma", "range": [-3, 3]}],
}


@pytest.fixture(autouse=True, scope="session")
def no_log_lines() -> Iterator[None]:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A migrated SQLite file, made once: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    migrate(f"sqlite:///{path}")
    return path.read_bytes()


@pytest.fixture
def settings(tmp_path: Path, empty_database: bytes) -> Settings:
    (tmp_path / "jobs.db").write_bytes(empty_database)
    for name, classes in (("faces", 0), ("digits", 10)):
        model = tmp_path / "model_repo" / name
        (model / "directions").mkdir(parents=True)
        (model / "card.json").write_text(json.dumps(CARD | {"name": name, "classes": classes}))
        (model / "directions" / "sefa.json").write_text(json.dumps(DIRECTIONS))
        (model / "samples.png").write_bytes(png())
        (model / "weights.safetensors").write_bytes(b"weights of " + name.encode())
    return Settings(
        work_dir=tmp_path / "var",
        database_url=f"sqlite:///{tmp_path}/jobs.db",
        model_repo=tmp_path / "model_repo",
        url_secret=SECRET,
        max_queued=20,
        max_upload_bytes=1024 * 1024,
        max_checkpoint_bytes=1024 * 1024,
        max_body_bytes=256 * 1024,
    )


@pytest.fixture
def store(settings: Settings) -> Iterator[JobStore]:
    store = open_store(settings)
    yield store
    store.close()


@pytest.fixture
def queue() -> MemoryJobQueue:
    return MemoryJobQueue()


@pytest.fixture
def live() -> MemoryLive:
    return MemoryLive()


@pytest.fixture
def blobs(settings: Settings) -> DirectoryBlobStore:
    return DirectoryBlobStore(settings.work_dir / "blobs", settings.public_url, settings.secret())


@pytest.fixture
def make_app(
    store: JobStore, queue: MemoryJobQueue, blobs: DirectoryBlobStore, live: MemoryLive, settings: Settings
) -> Callable[..., FastAPI]:
    def make(**options: Any) -> FastAPI:
        options.setdefault("pace", Pace(grace_s=5))
        catalog = Catalog(settings.model_repo, store)
        return create_app(store, queue, blobs, live, catalog, settings, **options)

    return make


@pytest.fixture
def access(store: JobStore) -> Access:
    return Access(store.database, PEPPER.encode())


@pytest.fixture
def make_guarded(
    store: JobStore, queue: MemoryJobQueue, blobs: DirectoryBlobStore, live: MemoryLive, settings: Settings
) -> Callable[..., FastAPI]:
    """A gateway that asks for keys and counts in memory. Takes settings, and options of `create_app`."""

    def make(changes: Mapping[str, Any] = MappingProxyType({}), **options: Any) -> FastAPI:
        closed = settings.model_copy(update={"auth": "keys", "key_pepper": SecretStr(PEPPER), **changes})
        catalog = Catalog(closed.model_repo, store)
        options = {"pace": Pace(grace_s=5), "rates": MemoryStorage()} | options
        return create_app(store, queue, blobs, live, catalog, closed, **options)

    return make


@pytest.fixture
def guarded(make_guarded: Callable[..., FastAPI]) -> Iterator[TestClient]:
    with TestClient(make_guarded(), base_url=BASE) as client:
        yield client


def bearer(key: Key | str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key if isinstance(key, str) else key.text}"}


@pytest.fixture
def client(make_app: Callable[..., FastAPI]) -> Iterator[TestClient]:
    with TestClient(make_app(), base_url=BASE) as client:
        yield client


class Worker:
    """What a worker does to the database and the blobs, without the work."""

    def __init__(self, store: JobStore, blobs: DirectoryBlobStore) -> None:
        self.store, self.blobs = store, blobs

    def claim(self, job_id: str) -> Claim:
        claim = self.store.claim(job_id, "test", payload_version=PAYLOAD_VERSION)
        assert claim is not None
        return claim

    def succeed(self, job_id: str, files: dict[str, bytes] | None = None, claim: Claim | None = None) -> None:
        claim = claim or self.claim(job_id)
        outputs = []
        for index, (name, data) in enumerate((files or {}).items()):
            key = f"t/default/j/{job_id}/a/{claim.fence}/{name}"
            sha256 = self.blobs.write(key, data, media_type="image/png")
            outputs.append(
                OutputRow(name, "image", key, "image/png", len(data), sha256, index, {"seed": index})
            )
        assert self.store.finish(claim, Status.SUCCEEDED, outputs=outputs, metrics={"run_ms": 5.0})

    def fail(self, job_id: str) -> None:
        error = JobError(code="diverged", detail="The loss is not a number.")
        assert self.store.finish(self.claim(job_id), Status.FAILED, error=error)


@pytest.fixture
def worker(store: JobStore, blobs: DirectoryBlobStore) -> Worker:
    return Worker(store, blobs)


def generate(**changes: Any) -> dict[str, Any]:
    """The smallest job."""
    return {"kind": "generate", "model": "faces"} | changes


def submit(client: TestClient, **changes: Any) -> dict[str, Any]:
    reply = client.post("/v1/jobs", json=generate(**changes))
    assert reply.status_code == 202, reply.text
    return reply.json()


def until(happened: Callable[[], object]) -> None:
    """Wait for what happens beside the answer."""
    for _ in range(2000):
        if happened():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


@contextmanager
def meanwhile(client: TestClient, work: Callable[[], object]) -> Iterator[None]:
    """`work` is done in a thread as soon as a caller waits for a job, or follows it."""

    def when_open() -> None:
        until(lambda: client.app.state.streams.open)
        work()

    thread = threading.Thread(target=when_open)
    thread.start()
    yield
    thread.join()


def sent(queue: MemoryJobQueue, count: int) -> list[tuple[str, str, str]]:
    """The messages, once there are `count`."""
    until(lambda: len(queue.sent) >= count)
    return queue.sent


def png(width: int = 32, height: int = 32, mode: str = "RGB", **options: Any) -> bytes:
    return encoded(Image.new(mode, (width, height)), "PNG", **options)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()
