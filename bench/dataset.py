"""Pictures a second into shards, beside the same engine without files and the usual loop; parts by workers.

The usual loop is that of published scripts: one seed at a time, one PNG file each, written by Pillow. Aims:
shards at no less than 0.95 of the engine alone at 64 pixels, and at 3 times the usual loop at 256.

`--workers` simulates workers as threads on a real database, with a generator that only sleeps: what is left
is what claims, heartbeats, ends and the parent cost.
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.local import worker
from generative.cards import About
from generative.generator import sample_z
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.pixels import to_uint8
from generative.store import save_model
from jobs.lanes import LANES
from jobs.migrate import migrate
from jobs.schemas import PAYLOAD_VERSION, Kind, Progress, Status, request_adapter
from jobs.settings import Settings, read_settings
from jobs.store import JobRow, JobStore, open_store
from workers.context import Context
from workers.models import LoadedModel
from workers.runner import run_job
from workers.work.painting import Paint, map_z
from workers.work.shard import shard
from workers.work.sources import Truncation, from_seeds, mapping_inputs

TENANT, CHUNK = "default", 128


def repository(folder: Path) -> Path:
    """The portraits that ship, and a random generator of 256 pixels that is light for its size."""
    config = StyleGAN2Config(
        img_resolution=256, z_dim=64, w_dim=64, mapping_layers=2, channel_base=512, channel_max=8
    )
    torch.manual_seed(0)
    save_model(folder / "light256", Generator(config).eval(), About(name="light256"))
    shipped = Path(__file__).parents[1] / "model_repo" / "portraits"
    (folder / "portraits").symlink_to(shipped)
    return folder


def bare(context: Context, model: LoadedModel, count: int) -> float:
    """Pictures a second of the engine alone, two requests at a time."""
    began, waiting = time.perf_counter(), []
    for first in range(0, count, CHUNK):
        latents = from_seeds(range(first, min(first + CHUNK, count)), model.generator)
        inputs = mapping_inputs(model, latents, Truncation(0.7))
        ws = context.engine.forward(model, map_z, inputs).result()
        waiting.append(context.engine.forward(model, Paint("const"), {"ws": ws}))
        if len(waiting) > 1:
            waiting.pop(0).result()
    for answer in waiting:
        answer.result()
    return count / (time.perf_counter() - began)


def order(
    store: JobStore, model: str, count: int, size: int, format: str = "png", sha256: str = "0" * 64
) -> JobRow:
    body = {
        "kind": "dataset",
        "model": model,
        "input": {"count": count, "shard_size": size, "model_sha256": sha256},
        "output": {"format": format},
    }
    return store.submit(TENANT, request_adapter.validate_json(json.dumps(body)))[0]


def sharded(context: Context, model: LoadedModel, count: int, format: str) -> float:
    """Pictures a second of one shard, from the claim to its end in the database."""
    row = order(context.store, model.name, count, count, format, model.sha256)
    [part] = context.store.parts(TENANT, row.id)
    began = time.perf_counter()
    assert run_job(part.id, shard, context) == "succeeded"
    return count / (time.perf_counter() - began)


@torch.no_grad()
def usual(model: LoadedModel, count: int, folder: Path) -> float:
    """Pictures a second of one seed at a time into PNG files."""
    generator = model.generator
    device = next(generator.parameters()).device
    began = time.perf_counter()
    for seed in range(count):
        images = generator(sample_z([seed], generator).to(device), None, 0.7)
        Image.fromarray(to_uint8(images)[0].cpu().numpy()).save(folder / f"seed{seed:04d}.png")
    return count / (time.perf_counter() - began)


def speed(count: int, repeats: int) -> None:
    table = Table(title=f"{count} pictures in one shard; medians of {repeats} rounds, pictures a second")
    for column in ("model", "format", "engine alone", "usual loop", "shards", "of engine", "of usual"):
        table.add_column(column, justify="left" if column in ("model", "format") else "right")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "models").mkdir()
        with worker(folder / "var", repository(folder / "models")) as context:
            for name in ("portraits", "light256"):
                model, many = context.models.get(TENANT, name), count if name == "portraits" else count // 4
                bare(context, model, CHUNK), sharded(context, model, CHUNK, "png")
                for format in ("jpeg", "png"):
                    table.add_row(name, format, *_round(context, model, many, format, folder, repeats))
    Console(width=110).print(table)


def _round(
    context: Context, model: LoadedModel, count: int, format: str, folder: Path, repeats: int
) -> Iterator[str]:
    rounds = [
        (
            bare(context, model, count),
            usual(model, count // 8, folder),
            sharded(context, model, count, format),
        )
        for _ in range(repeats)
    ]
    alone, loop, shards = (sorted(values)[repeats // 2] for values in zip(*rounds, strict=True))
    ratios = sorted(s / a for a, _, s in rounds), sorted(s / u for _, u, s in rounds)
    yield from (f"{alone:.0f}", f"{loop:.0f}", f"{shards:.0f}")
    yield from (f"{values[repeats // 2]:.2f}" for values in ratios)


# --- scaling ---------------------------------------------------------------------------------------------


def scaling(workers: list[int], shard_s: float, database_url: str | None) -> None:
    """Threads as workers, each making one shard after the other by sleeping."""
    table = Table(
        title=f"Shards of {shard_s:g} s that only sleep, {'PostgreSQL' if database_url else 'SQLite'}"
    )
    for column in (
        "workers",
        "shards",
        "seconds",
        "ideal",
        "utilised",
        "claim ms",
        "beat ms",
        "end ms",
        "tend ms",
    ):
        table.add_column(column, justify="right")
    for count in workers:
        table.add_row(*_simulated(count, shard_s, database_url))
    Console(width=110).print(table)


def _simulated(count: int, shard_s: float, database_url: str | None) -> list[str]:
    with tempfile.TemporaryDirectory() as place:
        given = {"database_url": database_url} if database_url else {}
        settings: Settings = read_settings(work_dir=Path(place), url_secret="x" * 32, **given)
        migrate(settings.database_url)
        store, shards = open_store(settings), 4 * count
        row = order(store, "portraits", shards, 1)
        spent: dict[str, list[float]] = {name: [] for name in ("claim", "beat", "end", "tend")}
        began = time.perf_counter()
        threads = [threading.Thread(target=_sleeper, args=(store, row, shard_s, spent)) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - began
        store.close()
    ideal = 4 * shard_s
    medians = [f"{1000 * sorted(values)[len(values) // 2]:.1f}" for values in spent.values()]
    return [str(count), str(shards), f"{took:.1f}", f"{ideal:.1f}", f"{ideal / took:.2f}", *medians]


def _sleeper(store: JobStore, row: JobRow, shard_s: float, spent: dict[str, list[float]]) -> None:
    def timed(name: str, call: object, *args: object, **given: object) -> object:
        began = time.perf_counter()
        result = call(*args, **given)  # type: ignore[operator]
        spent[name].append(time.perf_counter() - began)
        return result

    kinds = [Kind.SHARD.value]
    how = {"payload_version": PAYLOAD_VERSION, "kinds": kinds, "lanes": LANES}
    while claim := timed("claim", store.claim_fairest, "", threading.current_thread().name, **how):
        end = time.perf_counter() + shard_s
        while (left := end - time.perf_counter()) > 0:
            time.sleep(min(1.0, left))
            timed("beat", store.heartbeat, claim, Progress(value=0.5))
        timed("end", store.finish, claim, Status.SUCCEEDED, result={"first": 0, "count": 1})
        timed("tend", store.tend, TENANT, row.id)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2048, help="pictures of a shard")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 16, 64])
    parser.add_argument("--shard-s", type=float, default=4.0)
    parser.add_argument("--database-url", help="of an empty PostgreSQL database, for the scaling")
    options = parser.parse_args()
    if options.count:
        speed(options.count, options.repeats)
    if options.workers:
        scaling(options.workers, options.shard_s, options.database_url)


if __name__ == "__main__":
    main()
