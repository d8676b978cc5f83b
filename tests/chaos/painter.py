"""`python -m tests.chaos.painter BACKEND PICTURES REPOSITORY`: portraits, painted by an engine of its own.

Prints a line for every `EVERY` pictures: how many there are, after how many seconds, and this process's
resident memory in MB. Requests have 1 to 16 rows, so that blocks of every size take turns.
"""

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil

from generative.export.__main__ import export
from generative.export.graphs import Options
from jobs.blobs import open_blobs
from jobs.migrate import migrate
from jobs.settings import DEFAULT_TENANT, read_settings
from jobs.store import open_store
from workers.engine import Engine
from workers.models import LoadedModel, Models, placed
from workers.work.painting import Paint, map_z
from workers.work.sources import Truncation, from_seeds, mapping_inputs

SHIPPED, MODEL = Path(__file__).parents[2] / "model_repo", "portraits"
EVERY = 100
ROWS = 16
MB = 1024 * 1024


def lend(repository: Path, *, with_onnx: bool) -> None:
    """The shipped model in a repository of its own, where an export does not stay."""
    (repository / MODEL).mkdir()
    for path in (SHIPPED / MODEL).iterdir():
        if path.name != "onnx":
            (repository / MODEL / path.name).symlink_to(path)
    if with_onnx:
        export(repository / MODEL, "onnx", Options(), repository)


def model_of(backend: str, folder: Path, repository: Path) -> LoadedModel:
    """As a worker loads it. Raises RuntimeError if torch would paint in place of the backend."""
    settings = read_settings(work_dir=folder, model_repo=repository, backend=backend, url_secret="x" * 32)
    migrate(settings.database_url)
    with closing(open_store(settings)) as store:
        model = Models(settings, store, open_blobs(settings)).get(DEFAULT_TENANT, MODEL)
    if backend != "torch" and model.runtime is None:
        raise RuntimeError(f"{MODEL} has no backend {backend}")
    return model


def painted(engine: Engine, model: LoadedModel, count: int) -> Iterator[int]:
    """Paint `count` pictures; after each request, how many there are."""
    rng, done = random.Random(0), 0
    while done < count:
        seeds = range(done, min(done + rng.randint(1, ROWS), count))
        codes = mapping_inputs(model, from_seeds(seeds, model.generator), Truncation())
        ws = engine.forward(*placed(model, map_z), codes).result()
        assert not isinstance(ws, dict)
        engine.forward(*placed(model, Paint("const")), {"ws": ws}).result()
        done = seeds.stop
        yield done


def main(backend: str, count: int, repository: Path) -> None:
    process, began = psutil.Process(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Engine("cpu") as engine:
        for done in painted(engine, model_of(backend, Path(folder), repository), count):
            if done % EVERY < ROWS or done == count:
                print(done, time.monotonic() - began, process.memory_info().rss / MB, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
