"""A worker in this process, without a broker: what benchmarks of single jobs run on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from generative.devices import pick
from jobs.blobs import open_blobs
from jobs.live import MemoryLive
from jobs.migrate import migrate
from jobs.settings import read_settings
from jobs.store import open_store
from workers.context import Context
from workers.engine import Engine
from workers.losses import LossNetworks
from workers.models import Models


@contextmanager
def worker(folder: Path, repo: Path, **given: Any) -> Iterator[Context]:
    """All that it keeps lies in the folder; `given`: further settings."""
    settings = read_settings(work_dir=folder, model_repo=repo, url_secret="x" * 32, **given)
    migrate(settings.database_url)
    store, blobs, device = open_store(settings), open_blobs(settings), pick(settings.device)
    with Engine(device, max_batch=settings.max_batch) as engine:
        losses = LossNetworks(settings.loss_weights, device)
        models = Models(settings, store, blobs, device)
        yield Context(settings, store, blobs, MemoryLive(), models, engine, losses)
    store.close()
