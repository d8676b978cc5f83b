"""One stack for most tests: each test finds it whole, with one worker, whatever the last one did to it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest

from client import Client
from jobs.schemas import JobView
from tests.servers import PrivatePostgres, PrivateS3

from .models import write_tiny_model
from .stack import ROOT, Stack

MODEL = "tiny"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(
                pytest.mark.timeout(400)
            )  # what takes 20 s on two quiet cores took 150 on busy ones


@contextmanager
def running(stack: Stack) -> Iterator[Stack]:
    """With one worker; closed in any case."""
    try:
        stack.start()
        stack.add_worker()
        yield stack
    finally:
        stack.close()


@contextmanager
def on_postgres_and_s3(
    folders: pytest.TempPathFactory,
    model_repo: Path,
    postgres: PrivatePostgres,
    s3: PrivateS3,
    name: str,
    given: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Stack]:
    """A stack with a database and objects as in production. `given`: further settings."""
    environment = {
        "GANSERVE_DATABASE_URL": postgres.create(name),
        "GANSERVE_BLOB_URL": s3.blob_url,
        "GANSERVE_S3_ENDPOINT": s3.endpoint,
        "GANSERVE_S3_ACCESS_KEY": s3.access_key,
        "GANSERVE_S3_SECRET_KEY": s3.secret_key,
        **given,
    }
    with running(Stack(folders.mktemp(name), model_repo, environment)) as stack:
        yield stack


@pytest.fixture(scope="session")
def model_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model, and those that ship."""
    folder = tmp_path_factory.mktemp("model_repo")
    write_tiny_model(folder / MODEL)
    for shipped in (ROOT / "model_repo").glob("*/card.json"):
        (folder / shipped.parent.name).symlink_to(shipped.parent)
    return folder


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, model_repo: Path) -> Iterator[Stack]:
    with running(Stack(tmp_path_factory.mktemp("stack"), model_repo)) as stack:
        yield stack


@pytest.fixture
def stack(service: Stack) -> Iterator[Stack]:
    """The stack with exactly one worker."""
    service.make_whole()
    yield service


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with stack.client() as client:
        yield client


@pytest.fixture
def picture(client: Client, tmp_path: Path) -> Path:
    """A picture that the model can make."""
    return make_picture(client, tmp_path)


def make_picture(client: Client, folder: Path, model: str = MODEL) -> Path:
    job = client.submit({"kind": "generate", "model": model, "input": {"source": {"seeds": [5]}}}, wait_s=60)
    [path] = client.download(finished(client, job), folder)
    return path


def finished(client: Client, job: JobView) -> JobView:
    """The job when it has succeeded."""
    return client.wait(job.id, timeout_s=120)


def inversion(image_id: str, *, steps: int, model: str = MODEL, **options: object) -> dict[str, object]:
    losses = {"pixel": 1.0, "perceptual": 0.0}  # the tiny model has no perceptual network
    inputs = {"images": [image_id], "steps": steps, "preview_every": 0, "losses": losses, **options}
    return {"kind": "invert", "model": model, "input": inputs}
