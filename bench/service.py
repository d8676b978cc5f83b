"""What the service adds to the generator, all in one run: the time of a submit, the time to one picture, and
pictures a second against a loop around the bare generator, to all PNGs in storage.

    python -m bench.service [--submit | --workers 1,2,4]

Limits: submit p50 <= 5 ms; one picture at most 15 ms after a bare one; at least 0.95 of the loop with 16 jobs
of one picture in flight, and 0.98 with jobs of 256. Machines are shared and noisy, so what is compared is
measured by turns, and the medians are told.
"""

import argparse
import asyncio
import base64
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2 as httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from client import Client
from client.demo import service, wait_until_ready
from client.up import ROOT, environment_for
from jobs.schemas import JobView, Status

MODELS, MODEL = Path(os.environ.get("GANSERVE_MODEL_REPO", ROOT / "model_repo")), "portraits"
POSTS = 300
BLOCK = 5
BATCH = 16
METRICS_PORT, WORKER = 8790, 3  # the gateway's; how far from it the worker's is
IN_FLIGHT, ALONE = 16, 60  # requests together; requests one by one

Ask = Callable[[httpx.AsyncClient, int], Awaitable[bytes]]  # a seed -> the PNG file of its picture


def generation(count: int, first: int = 0) -> dict[str, object]:
    return {
        "kind": "generate",
        "model": MODEL,
        "input": {"source": {"seeds": f"{first}-{first + count - 1}"}},
    }


@contextlib.contextmanager
def frozen_worker() -> Iterator[None]:
    """Nobody takes jobs meanwhile, so that a submit is measured alone."""
    workers = [
        process
        for process in psutil.Process().children(recursive=True)
        if "workers.app" in " ".join(process.cmdline())
    ]
    for process in workers:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in workers:
            process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def guarded_gateway(var: Path) -> Iterator[tuple[str, str]]:
    """A second gateway on the same database and broker that asks for keys and counts calls: (url, key)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = environment_for(var, "127.0.0.1", port) | {
        "GANSERVE_AUTH": "keys",
        "GANSERVE_MAX_REQUESTS_PER_MINUTE": "1000000",
        "GANSERVE_MAX_IMAGES_PER_DAY": "100000000",
        "GANSERVE_METRICS_PORT": "0",  # the first gateway has it
    }
    make = [sys.executable, "-m", "jobs.admin", "keys", "create"]
    key = subprocess.run(make, env=environment, check=True, capture_output=True, text=True).stdout.strip()
    with (var / "logs" / "guarded.log").open("wb") as log:
        gateway = subprocess.Popen([sys.executable, "-m", "api.main"], env=environment, stdout=log)
    try:
        wait_until_ready(gateway, url)
        yield url, key
    finally:
        gateway.terminate()
        gateway.wait()


def submit_times(url: str, name: str, *, posts: int = POSTS, key: str | None = None) -> list[float]:
    """Seconds of each submit on one connection. No two calls with the same `name` and place are one job."""
    times = []
    auth = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=url, headers=auth) as http:
        for n in range(posts):
            start = time.perf_counter()
            headers = {"Idempotency-Key": f"{name}-{n}"}
            reply = http.post("/v1/jobs", json=generation(1, n), headers=headers)
            times.append(time.perf_counter() - start)
            reply.raise_for_status()
    return times


@dataclass
class Submits:
    """Seconds of each submit, and what they cost the gateway's processor, which no other program distorts."""

    times: list[float] = field(default_factory=list)
    cpu_s: float = 0.0

    def add(self, url: str, name: str, gateway: psutil.Process, key: str | None = None) -> None:
        before = sum(gateway.cpu_times()[:2])
        self.times += submit_times(url, name, posts=BLOCK, key=key)
        self.cpu_s += sum(gateway.cpu_times()[:2]) - before


def submit_by_turns(url: str, var: Path) -> dict[str, Submits]:
    """Submits without and with keys, in blocks by turns, for the machine is not always as busy."""
    found = {"": Submits(), ", with a key, rate limit and quota": Submits()}
    plain, keyed = found.values()
    [first] = (p for p in psutil.Process().children(recursive=True) if "api.main" in " ".join(p.cmdline()))
    with guarded_gateway(var) as (guarded, key):
        [second] = (p for p in psutil.Process().children() if "api.main" in " ".join(p.cmdline()))
        for block in range(POSTS // BLOCK):
            plain.add(url, f"open-{block}", first)
            keyed.add(guarded, f"keyed-{block}", second, key)
    return found


def drain(client: Client) -> float:
    """Seconds until nothing waits or runs."""
    start = time.perf_counter()
    while client.jobs(limit=1, status=["queued", "running"]):
        time.sleep(0.02)
    return time.perf_counter() - start


def http_rate(client: Client, pictures: int, each: int) -> float:
    """Pictures a second of jobs of `each` pictures, from the first submit to the last finish."""
    start = time.perf_counter()
    jobs = [client.submit(generation(each, n)) for n in range(0, pictures, each)]
    ended: list[JobView] = [client.wait(job.id) for job in jobs]
    assert all(job.status == Status.SUCCEEDED for job in ended)
    return pictures / (time.perf_counter() - start)


async def ask(http: httpx.AsyncClient, seed: int) -> bytes:
    """One picture, in the answer to the submit."""
    body = generation(1, seed) | {"output": {"inline": True}}
    reply = await http.post("/v1/jobs", json=body, headers={"Prefer": "wait=30"})
    [output] = reply.raise_for_status().json()["outputs"]
    return base64.b64decode(output["base64"])


@dataclass(frozen=True)
class Race:
    rate: float  # pictures a second with `IN_FLIGHT` requests, one picture each
    alone_s: list[float]  # of requests one by one
    together_s: list[float]


async def race(asking: Ask, url: str, seconds: float) -> Race:
    """Ask for pictures, warm: first one after the other, then together."""
    alone: list[float] = []
    together: list[float] = []
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:

        async def timed(seed: int, times: list[float]) -> None:
            began = time.perf_counter()
            await asking(http, seed)
            times.append(time.perf_counter() - began)

        async def in_turn(first: int, until: float) -> None:
            seed = first
            while time.perf_counter() < until:
                await timed(seed, together)
                seed += IN_FLIGHT

        await asyncio.gather(*(in_turn(i, time.perf_counter() + 2) for i in range(IN_FLIGHT)))
        for seed in range(ALONE):
            await timed(seed, alone)
        together.clear()
        began = time.perf_counter()
        await asyncio.gather(*(in_turn(1000 + i, began + seconds) for i in range(IN_FLIGHT)))
        return Race(len(together) / (time.perf_counter() - began), alone, together)


def bare_rate(batch: int = BATCH) -> float:
    """Pictures a second of the generator alone, to uint8 pixels in memory, in a process of its own.

    Its threads wait as those of the service do: spinning ones would slow it on a machine that others use.
    """
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "bench.service", "--bare", str(batch)]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


def bare_loop(folder: Path, batch: int, seconds: float = 5.0) -> float:
    """Pictures a second of the loop that a notebook would have: seeds to pixels, batch by batch."""
    import torch

    from generative.generator import sample_z
    from generative.pixels import to_uint8
    from generative.spaces import broadcast, truncate
    from generative.store import load_model

    generator, _ = load_model(folder)

    def paint(first: int) -> torch.Tensor:
        w = generator.map(sample_z(range(first, first + batch), generator))
        w = truncate(w, generator.mapping.w_avg, 0.7)
        return to_uint8(generator.synthesize(broadcast(w, generator.num_ws)))

    with torch.inference_mode():
        paint(0)
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            paint(done)
            done += batch
    return done / (time.perf_counter() - start)


def batches(port: int) -> dict[str, float]:
    """How many units of forward work had at most so many rows, as the worker tells it."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    found = {}
    for family in text_string_to_metric_families(text):
        if family.name == "ganserve_engine_batch_rows":
            for sample in family.samples:
                if sample.name.endswith("_bucket") and sample.labels["work"] == "forward":
                    found[sample.labels["le"]] = sample.value
    return found


@contextlib.contextmanager
def more_workers(count: int, var: Path, url: str) -> Iterator[None]:
    """So many beside the one that runs."""
    port = int(url.rsplit(":", 1)[1])
    environment = environment_for(var, "127.0.0.1", port) | {"GANSERVE_METRICS_PORT": "0"}
    command = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-P", "threads", "-c", "16"]
    with (var / "logs" / "more.log").open("ab") as log:
        names = [f"--hostname=more{i}@%h" for i in range(count)]
        workers = [
            subprocess.Popen(
                [*command, "--without-gossip", "--without-mingle", name],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            for name in names
        ]
    try:
        time.sleep(15 if count else 0)  # torch is imported and the model is loaded
        yield
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=8.0, help="of 16 requests in flight")
    parser.add_argument("--bare", type=int, metavar="BATCH", help="only the bare loop")
    parser.add_argument("--submit", action="store_true", help="only the submits")
    parser.add_argument("--workers", default="1", help="such as 1,2,4: rates with so many")
    arguments = parser.parse_args()
    if arguments.bare:
        print(bare_loop(MODELS / MODEL, arguments.bare))
        return
    console = Console(width=110)
    os.environ["GANSERVE_METRICS_PORT"] = str(METRICS_PORT)
    with (
        tempfile.TemporaryDirectory(prefix="ganserve-bench-") as var,
        service(Path(var), console) as url,
        Client(url) as client,
    ):
        client.wait(client.submit(generation(1)).id)  # the model is loaded now
        with frozen_worker():
            submits = submit_by_turns(url, Path(var))
        table = latencies(submits)
        if not arguments.submit:
            table.add_row("tiny jobs (one picture)", f"{2 * POSTS / drain(client):.0f} a second", "")
            for count in map(int, arguments.workers.split(",")):
                with more_workers(count - 1, Path(var), url):
                    _rates(table, client, url, arguments, count)
    console.print(table)


def _rates(table: Table, client: Client, url: str, arguments: argparse.Namespace, workers: int) -> None:
    """Rows for one number of workers."""
    bare, alone, many, races = [], [], [], []
    before = batches(METRICS_PORT + WORKER)
    for _ in range(arguments.rounds):
        bare.append(bare_rate())
        alone.append(1 / bare_rate(1))
        many.append(http_rate(client, arguments.pictures, 256))
        races.append(asyncio.run(race(ask, url, arguments.seconds)))
    after = batches(METRICS_PORT + WORKER)
    middle = statistics.median
    said = f", {workers} workers" if workers > 1 else ""
    loop, one = middle(bare), middle(alone) * 1e3
    first = middle(s for r in races for s in r.alone_s) * 1e3
    company, jobs = middle(r.rate for r in races), middle(many)
    table.add_row(f"bare loop of {BATCH}{said}", f"{loop:.0f} pictures a second", "")
    table.add_row(f"16 jobs of one in flight{said}", f"{company:.0f} pictures a second", "")
    table.add_row("  of the bare loop", f"{company / loop:.2f}", "0.95")
    table.add_row(f"jobs of 256{said}", f"{jobs:.0f} pictures a second", "")
    table.add_row("  of the bare loop", f"{jobs / loop:.2f}", "0.98")
    table.add_row(f"one picture, bare{said}", f"{one:.1f} ms", "")
    table.add_row("  submit to its file", f"{first:.1f} ms", f"{one + 15:.1f} ms")
    counts = {le: int(after[le] - before.get(le, 0)) for le in after}
    steps = zip(counts, [0, *counts.values()], strict=False)
    told = ", ".join(f"≤{le}: {counts[le] - below}" for le, below in steps if counts[le] > below)
    table.add_row("  rows in a unit of work", told, "")


def latencies(submits: dict[str, Submits]) -> Table:
    table = Table("measure", "value", "limit", box=None)
    for name, found in submits.items():
        cuts = statistics.quantiles(found.times, n=100)
        table.add_row(f"submit p50{name}", f"{cuts[49] * 1e3:.1f} ms", "5 ms")
        table.add_row(f"submit p99{name}", f"{cuts[98] * 1e3:.1f} ms", "")
        table.add_row(f"gateway's CPU{name}", f"{found.cpu_s / len(found.times) * 1e3:.2f} ms", "")
    return table


if __name__ == "__main__":
    main()
