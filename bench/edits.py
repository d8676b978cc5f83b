"""What edits cost and how local they are, on the shipped portraits.

    python -m bench.edits [--pictures 64] [--only preview]

Cost: processor seconds of the engine's thread in a job, for each picture that it puts out (the ones before
count), over those of a `generate` job of the same latents, in one run. Aim: at most 1.1, but for regions,
which paint the picture once for each code. `measured`: the same with the factors of all pictures read.
Locality: mean change outside of the mask over that inside. Aim: at most 0.1.
Preview: one picture with `Prefer: wait`, through the whole service. Aim: p50 below 150 ms on two free cores.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import psutil
import torch
from rich.console import Console
from rich.table import Table

from bench.local import worker
from client.demo import service as running
from jobs.schemas import request_adapter
from jobs.settings import DEFAULT_TENANT
from jobs.store import JobRow
from workers.context import Context
from workers.job import Work
from workers.runner import run_job
from workers.work.edit import edit
from workers.work.generate import generate

ROOT = Path(__file__).parents[1]
WORKS: dict[str, Work] = {"generate": generate, "edit": edit}
REPEATS = 3
WARM, PREVIEWS = 5, 40
SKIN = {"op": "direction", "name": "skin_tone", "strength": 3}
HAIR = {"op": "direction", "name": "curl", "strength": 3}
SMILE = {"op": "direction", "name": "smile", "strength": 3}
FACE = {"parts": ["skin", "nose", "ears", "mouth", "left eye", "right eye", "brows"]}
LEFT = {"box": {"left": 0, "top": 0, "width": 0.5, "height": 1}}
OTHER = {"op": "mix", "with": {"seeds": [1000]}, "layers": "0-9"}
CORNER = {"box": {"left": 0, "top": 0, "width": 0.25, "height": 0.25}}
UNITS = {"op": "units", "layer": "b16.conv1", "units": list(range(128))}

COST = {
    "direction": SMILE,
    "mix": {"op": "mix", "with": {"seeds": [1000]}, "layers": "0-3"},
    "transfer": {"op": "transfer", "from": {"seeds": [1000]}, "to": {"seeds": [1001]}},
    "average": {"op": "average", "with": {"seeds": "1000-1003"}},
    "units": UNITS,
    "swap_layers": {"op": "swap_layers", "model": "portraits", "layers": "5-9"},
    "region": {"op": "region", "mask": LEFT, "operations": [SMILE]},
}
LOCAL = {
    "skin tone of the face, features": ("features", FACE, SKIN),
    "skin tone of the face, styles": ("styles", FACE, SKIN),
    "curls of the hair, features": ("features", {"parts": ["hair"], "grow": 2}, HAIR),
    "curls of the hair, styles": ("styles", {"parts": ["hair"], "grow": 2}, HAIR),
    "another's left half, features": ("features", LEFT, OTHER),
    "another's left half, styles": ("styles", LEFT, OTHER),
}


class Service:
    """Jobs run here and now, by a worker without a broker."""

    def __init__(self, context: Context) -> None:
        [self._thread] = (t.native_id for t in threading.enumerate() if t.name == "engine")
        self._context = context

    def run(self, kind: str, **given: Any) -> JobRow:
        body = json.dumps({"kind": kind, "model": "portraits", "input": given, "output": {"latents": "w+"}})
        if kind == "edit":
            body = json.dumps({"kind": kind, "model": "portraits", "input": given})
        store = self._context.store
        row = store.submit(DEFAULT_TENANT, request_adapter.validate_json(body))[0]
        run_job(row.id, WORKS[kind], self._context)
        ended = store.get(DEFAULT_TENANT, row.id)
        if ended.error is not None:
            raise RuntimeError(ended.error.detail)
        return ended

    def engine_s(self, kind: str, **given: Any) -> float:
        """The least of some runs, after one that tries new blocks out."""
        self.run(kind, **given)
        return min(self._engine_s(kind, given) for _ in range(REPEATS))

    def _engine_s(self, kind: str, given: dict[str, Any]) -> float:
        before = self._spent_s()
        self.run(kind, **given)
        return self._spent_s() - before

    def _spent_s(self) -> float:
        """Processor time does not count what other programs on the machine take."""
        [times] = (t for t in psutil.Process().threads() if t.id == self._thread)
        return float(times.user_time + times.system_time)


@contextmanager
def service() -> Iterator[Service]:
    with (
        tempfile.TemporaryDirectory() as folder,
        worker(Path(folder), ROOT / "model_repo", device="cpu") as context,
    ):
        yield Service(context)


def cost(bench: Service, pictures: int) -> Table:
    made = bench.run("generate", source={"seeds": f"0-{pictures - 1}"})
    known = {"artifact": {"job": made.id, "name": "latents.safetensors"}}
    forward = bench.engine_s("generate", source=known) / pictures
    table = Table(title=f"An edit of {pictures} known latents: work of the engine by picture, in forwards")
    for column in ("operation", "cost", "measured"):
        table.add_column(column, justify="left" if column == "operation" else "right")
    for name, operation in COST.items():
        asked = {"source": known, "operations": [operation], "show": ["before"]}
        plain, full = (bench.engine_s("edit", **asked, measure=m) for m in (False, True))
        table.add_row(name, *(f"{s / (2 * pictures) / forward:.2f}" for s in (plain, full)))
    return table


def locality(bench: Service, pictures: int) -> Table:
    table = Table(title=f"Change outside of the mask over that inside, {pictures} portraits")
    for column in ("edit", "outside / inside"):
        table.add_column(column, justify="left" if column == "edit" else "right")
    rows = {
        name: {"op": "region", "blend": blend, "mask": mask, "operations": [operation]}
        for name, (blend, mask, operation) in LOCAL.items()
    }
    rows["units of b16.conv1 off in a corner"] = UNITS | {"mask": CORNER}
    for name, operation in rows.items():
        ended = bench.run("edit", source={"seeds": f"0-{pictures - 1}"}, operations=[operation], show=[])
        assert ended.result is not None
        table.add_row(name, f"{ended.result['changes'][0]['outside']:.3f}")
    return table


def preview(_: Service, __: int) -> Table:
    """Seconds from a request to its finished job, over HTTP, one picture at a time."""
    times: list[float] = []
    body = {"kind": "edit", "model": "portraits", "output": {"inline": True}}
    asked = {"source": {"seeds": [1]}, "show": [], "measure": False}
    quiet = Console(quiet=True)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), quiet) as url:
        with httpx.Client(base_url=url, timeout=120) as http:
            for n in range(WARM + PREVIEWS):
                operations = [SMILE | {"strength": n / 10 - 2}]
                start = time.perf_counter()
                job = body | {"input": asked | {"operations": operations}}
                reply = http.post("/v1/jobs", json=job, headers={"Prefer": "wait=60"})
                times.append(time.perf_counter() - start)
                reply.raise_for_status()
                assert reply.json()["status"] == "succeeded", reply.text
    p50, p90 = (f"{1000 * q:.0f}" for q in (np.quantile(times[WARM:], share) for share in (0.5, 0.9)))
    table = Table(title=f"Preview of an edit over HTTP, {PREVIEWS} requests, load {os.getloadavg()[0]:.1f}")
    for column in ("p50 ms", "p90 ms"):
        table.add_column(column, justify="right")
    table.add_row(p50, p90)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--only", choices=("locality", "cost", "preview"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with service() as bench:
        for measured in (locality, cost, preview):
            if options.only in (None, measured.__name__):
                Console().print(measured(bench, options.pictures))


if __name__ == "__main__":
    main()
