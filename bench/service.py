"""What the service adds to the generator: submit latency, jobs a second, pictures a second against a loop.

Limits: submit p50 <= 5 ms; pictures a second through HTTP (submit to all PNGs in storage) at least 0.9 of a
loop around the generator on the same machine in the same run. Machines are shared and noisy, so the two are
measured by turns and their medians compared.
"""

import argparse
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2 as httpx
import psutil
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


def http_rate(client: Client, pictures: int) -> float:
    """Pictures a second of jobs of 64 each, from the first submit to the last finish."""
    start = time.perf_counter()
    jobs = [client.submit(generation(64, n)) for n in range(0, pictures, 64)]
    ended: list[JobView] = [client.wait(job.id) for job in jobs]
    assert all(job.status == Status.SUCCEEDED for job in ended)
    return pictures / (time.perf_counter() - start)


def bare_rate() -> float:
    """Pictures a second of the generator alone, to uint8 pixels in memory, in a process of its own.

    Its threads wait as those of the service do: spinning ones would slow it on a machine that others use.
    """
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "bench.service", "--bare"]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


def bare_loop(folder: Path, seconds: float = 5.0) -> float:
    """Pictures a second of the loop that a notebook would have: seeds to pixels, batch by batch."""
    import torch

    from generative.generator import sample_z
    from generative.pixels import to_uint8
    from generative.spaces import broadcast, truncate
    from generative.store import load_model

    generator, _ = load_model(folder)

    def paint(first: int) -> torch.Tensor:
        w = generator.map(sample_z(range(first, first + BATCH), generator))
        w = truncate(w, generator.mapping.w_avg, 0.7)
        return to_uint8(generator.synthesize(broadcast(w, generator.num_ws)))

    with torch.inference_mode():
        paint(0)
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            paint(done)
            done += BATCH
    return done / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--bare", action="store_true", help="only the bare loop")
    parser.add_argument("--submit", action="store_true", help="only the submits")
    arguments = parser.parse_args()
    if arguments.bare:
        print(bare_loop(MODELS / MODEL))
        return
    console = Console()
    with (
        tempfile.TemporaryDirectory(prefix="ganserve-bench-") as var,
        service(Path(var), console) as url,
        Client(url) as client,
    ):
        client.wait(client.submit(generation(1)).id)  # the model is loaded now
        with frozen_worker():
            submits = submit_by_turns(url, Path(var))
        if arguments.submit:
            console.print(latencies(submits))
            return
        tiny_s = drain(client)
        rates = []
        for _ in range(arguments.rounds):
            rates.append((bare_rate(), http_rate(client, arguments.pictures)))
    console.print(report(submits, tiny_s, rates))


def latencies(submits: dict[str, Submits]) -> Table:
    table = Table("measure", "value", "limit", box=None)
    for name, found in submits.items():
        cuts = statistics.quantiles(found.times, n=100)
        table.add_row(f"submit p50{name}", f"{cuts[49] * 1e3:.1f} ms", "5 ms")
        table.add_row(f"submit p99{name}", f"{cuts[98] * 1e3:.1f} ms", "")
        table.add_row(f"gateway's CPU{name}", f"{found.cpu_s / len(found.times) * 1e3:.2f} ms", "")
    return table


def report(submits: dict[str, Submits], tiny_s: float, rates: list[tuple[float, float]]) -> Table:
    bare, http = (statistics.median(column) for column in zip(*rates, strict=True))
    table = latencies(submits)
    table.add_row("tiny jobs (one picture)", f"{2 * POSTS / tiny_s:.0f} a second", "")
    table.add_row("bare generator loop", f"{bare:.0f} pictures a second", "")
    table.add_row("through HTTP, PNG in storage", f"{http:.0f} pictures a second", "")
    table.add_row("HTTP / bare", f"{http / bare:.2f}", "0.9")
    return table


if __name__ == "__main__":
    main()
