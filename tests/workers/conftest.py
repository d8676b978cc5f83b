"""A worker process without a broker: a real store, blobs, engine and a tiny random StyleGAN2."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generative.cards import About
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.store import save_model
from jobs.blobs import image_key, open_blobs
from jobs.ids import image_id
from jobs.live import MemoryLive
from jobs.migrate import migrate
from jobs.schemas import request_adapter
from jobs.settings import DEFAULT_TENANT, Settings, read_settings
from jobs.store import ImageRow, JobRow, open_store
from tests import elsewhere
from workers.context import Context
from workers.encode import png
from workers.engine import Engine
from workers.losses import LossNetworks
from workers.models import Models

SIDE = 16


class Recorder(MemoryLive):
    """Keeps every event."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def publish(self, job_id: str, event: dict[str, Any]) -> None:
        self.events.append(event)
        super().publish(job_id, event)


@pytest.fixture(scope="session")
def model_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds `tiny`: 16 pixels, random weights, noise that shows, SeFa directions."""
    repo = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    config = StyleGAN2Config(
        img_resolution=SIDE, z_dim=16, w_dim=16, mapping_layers=2, channel_base=256, channel_max=16
    )
    generator = Generator(config).eval()
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.2)
    save_model(repo / "tiny", generator, About(name="tiny"))
    return repo


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("database") / "ganserve.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def configured(tmp_path: Path, model_repo: Path, empty_database: Path) -> Settings:
    shutil.copy(empty_database, tmp_path / "ganserve.db")
    return read_settings(
        work_dir=tmp_path,
        model_repo=model_repo,
        url_secret="x" * 32,
        lease_s=90.0,
        heartbeat_s=0.1,
        checkpoint_s=0.2,
        device="cpu",
    )


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with Engine("cpu", crew=2) as engine:
        yield engine


@pytest.fixture
def context(configured: Settings, engine: Engine) -> Iterator[Context]:
    store, blobs = open_store(configured), open_blobs(configured)
    made = Context(
        settings=configured,
        store=store,
        blobs=blobs,
        live=Recorder(),
        models=Models(configured, store, blobs),
        engine=engine,
        losses=LossNetworks(configured.loss_weights, "cpu"),
        leave=lambda reason: pytest.fail(f"the worker left: {reason}"),
    )
    yield made
    made.pool.shutdown()
    store.close()


@pytest.fixture(scope="session")
def away_engine() -> Iterator[Engine]:
    with Engine(elsewhere.NAME, max_batch=8) as engine:
        yield engine


@pytest.fixture
def away(context: Context, away_engine: Engine) -> Context:
    """The same worker, with a device that is not the CPU."""
    models = Models(context.settings, context.store, context.blobs, elsewhere.NAME)
    losses = LossNetworks(context.settings.loss_weights, elsewhere.NAME)
    return replace(context, engine=away_engine, models=models, losses=losses)


@pytest.fixture
def submit(context: Context) -> Callable[..., JobRow]:
    """Accept a job of the model `tiny`."""

    def accept(kind: str = "generate", **given: Any) -> JobRow:
        body = json.dumps({"kind": kind, "model": "tiny"} | given)
        return context.store.submit(DEFAULT_TENANT, request_adapter.validate_json(body))[0]

    return accept


@pytest.fixture
def finished(context: Context) -> Callable[[JobRow], JobRow]:
    """The row as it is now."""
    return lambda row: context.store.get(DEFAULT_TENANT, row.id)


@pytest.fixture
def upload(context: Context) -> Callable[[np.ndarray], str]:
    """Put a picture (H, W, 3) where the gateway puts them, and return its id."""

    def put(pixels: np.ndarray) -> str:
        body = png(pixels, "{}")
        sha256 = context.blobs.write("t/default/i/draft.png", body, media_type="image/png")
        key = image_key(DEFAULT_TENANT, sha256)
        context.blobs.write(key, body, media_type="image/png")
        height, width = pixels.shape[:2]
        row = ImageRow(image_id(sha256), key, width, height, "image/png", len(body), sha256)
        return context.store.put_image(DEFAULT_TENANT, row)[0].id

    return put


@pytest.fixture
def read(context: Context) -> Callable[[JobRow, str], bytes]:
    """The bytes of an output."""

    def bytes_of(row: JobRow, name: str) -> bytes:
        [output] = [output for output in row.outputs if output.name == name]
        assert output.key is not None
        return context.blobs.read(output.key)

    return bytes_of
