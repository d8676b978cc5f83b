"""The same model, served by ganserve and by others, one after the other on this machine.

    pip install litserve bentoml 'ray[serve]'
    python -m bench.peers [NAME ...]

One picture of 64 px for each request, as a PNG file, over kept-alive connections. Servers batch in their own
way; threads wait and do not spin, for all. Before each server the bare generator loop is measured: rates are
also told as a share of it, since a shared machine is not always as fast. What is not installed is left out.
"""

import argparse
import asyncio
import base64
import contextlib
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import httpx2 as httpx
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from bench.service import Ask, Race, ask, bare_rate, race
from client.embedded_redis import command as redis_command
from client.embedded_redis import find_binary
from client.up import ROOT, is_free

READY_WITHIN_S, POLL_S = 120.0, 0.01
ALIKE = 1  # levels that pictures of one seed may differ by: a batch adds up in another order


async def _plain(http: httpx.AsyncClient, seed: int) -> bytes:
    return (await http.post("/generate", json={"seed": seed})).raise_for_status().content


async def _bentoml(http: httpx.AsyncClient, seed: int) -> bytes:
    reply = await http.post("/generate", json={"seeds": [seed]})
    return base64.b64decode(reply.raise_for_status().json()[0])


async def _celery(http: httpx.AsyncClient, seed: int) -> bytes:
    task = (await http.post("/generate", json={"seed": seed})).raise_for_status().json()["id"]
    while True:
        found = (await http.get(f"/result/{task}")).raise_for_status().json()
        if found["ready"]:
            return base64.b64decode(found["png"])
        await asyncio.sleep(POLL_S)


@dataclass(frozen=True)
class Server:
    """How it is started on a port, in a folder of its own, and asked. `needs`: a module."""

    commands: Callable[[int, Path], list[list[str]]]
    ask: Ask
    needs: str = "client"


def _module(*words: str) -> list[str]:
    return [sys.executable, "-m", *words]


def _celery_commands(port: int, folder: Path) -> list[list[str]]:
    worker = _module("celery", "-A", "bench.peers.with_celery:app", "worker", "-P", "solo", "-l", "WARNING")
    web = _module("uvicorn", "bench.peers.with_celery:web", "--port", str(port), "--log-level", "warning")
    return [redis_command(find_binary(), folder, folder / "redis.sock"), worker, web]


SERVERS = {
    "ganserve": Server(
        lambda port, folder: [_module("client.cli", "up", "--var", str(folder), "--port", str(port))],
        ask,
    ),
    "LitServe": Server(lambda port, _: [_module("bench.peers.with_litserve", str(port))], _plain, "litserve"),
    "BentoML": Server(
        lambda port, _: [_module("bentoml", "serve", "bench.peers.with_bentoml:Portraits", f"--port={port}")],
        _bentoml,
        "bentoml",
    ),
    "Ray Serve": Server(lambda port, _: [_module("bench.peers.with_ray", str(port))], _plain, "ray.serve"),
    "Celery + Redis": Server(_celery_commands, _celery),
}


@dataclass(frozen=True)
class Found:
    bare: float  # pictures a second of the loop without a server
    race: Race
    memory_bytes: int  # of all its processes, shared pages divided


@contextlib.contextmanager
def running(server: Server, folder: Path) -> Iterator[tuple[str, list[psutil.Process]]]:
    """Its address, once it answers, and its processes."""
    port = next(p for p in range(8700, 8800) if is_free("127.0.0.1", p))
    socket = f"{folder / 'redis.sock'}"
    environment = os.environ | {
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONPATH": str(ROOT),
        "PEER_REDIS": f"redis+socket://{socket}",
        "PEER_BACKEND": f"redis+socket://{socket}",
    }
    with (folder / "log").open("wb") as log:
        started = [
            subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
            for command in server.commands(port, folder)
        ]
    try:
        url = f"http://127.0.0.1:{port}"
        asyncio.run(_answers(server.ask, url, folder / "log"))
        roots = [psutil.Process(process.pid) for process in started]
        yield url, [p for root in roots for p in (root, *root.children(recursive=True))]
    finally:
        roots = [psutil.Process(process.pid) for process in reversed(started)]
        stop([p for root in roots for p in (root, *root.children(recursive=True))])
        for process in started:
            process.wait()


def stop(processes: list[psutil.Process]) -> None:
    """All of them, whatever they do with a signal: some servers leave children behind."""
    for end in ("terminate", "kill"):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                getattr(process, end)()
        _, processes = psutil.wait_procs(processes, timeout=30)


async def _answers(asking: Ask, url: str, log: Path) -> None:
    end = time.monotonic() + READY_WITHIN_S
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        while True:
            try:
                await asking(http, 0)
                return
            except (httpx.HTTPError, ValueError, KeyError, TypeError):
                if time.monotonic() > end:
                    raise SystemExit(
                        f"no answer after {READY_WITHIN_S:g} s:\n{log.read_text()[-3000:]}"
                    ) from None
                await asyncio.sleep(0.3)


def measure(server: Server, seconds: float, truth: list[np.ndarray]) -> Found:
    bare = bare_rate()
    with tempfile.TemporaryDirectory(prefix="ganserve-peers-") as folder:
        with running(server, Path(folder)) as (url, processes):
            asyncio.run(_check(server.ask, url, truth))
            found = asyncio.run(race(server.ask, url, seconds))
            memory = sum(p.memory_full_info().pss for p in processes if p.is_running())
    return Found(bare, found, memory)


async def _check(asking: Ask, url: str, truth: list[np.ndarray]) -> None:
    """They do serve the same pictures."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        for seed, expected in enumerate(truth):
            file = np.frombuffer(await asking(http, seed), np.uint8)
            seen = cv2.imdecode(file, cv2.IMREAD_COLOR_RGB)
            assert np.abs(seen.astype(int) - expected).max() <= ALIKE, f"another picture of seed {seed}"


def report(found: dict[str, Found]) -> Table:
    table = Table(box=None)
    for head in ("", "pictures/s", "of the bare loop", "p50 alone", "p50 of 16", "p95 of 16", "memory"):
        table.add_column(head, justify="right" if head else "left")
    for name, f in found.items():
        cuts = statistics.quantiles(f.race.together_s, n=20)
        times = (statistics.median(f.race.alone_s), cuts[9], cuts[18])
        shown = [f"{seconds * 1e3:.1f} ms" for seconds in times]
        table.add_row(
            name,
            f"{f.race.rate:.0f}",
            f"{f.race.rate / f.bare:.2f}",
            *shown,
            f"{f.memory_bytes / 2**20:.0f} MiB",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(SERVERS), metavar="NAME", help=", ".join(SERVERS))
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    from bench.peers.painter import Painter

    console = Console(width=110)
    truth = list(Painter().pixels(range(4)).numpy())
    found = {}
    for name in arguments.names:
        server = SERVERS[name]
        package = server.needs.partition(".")[0]
        if importlib.util.find_spec(package) is None:
            console.print(f"{name} is left out: {package} is not installed")
            continue
        found[name] = measure(server, arguments.seconds, truth)
        console.print(f"{name}: {found[name].race.rate:.0f} a second; bare {found[name].bare:.0f}")
    console.print(report(found))


if __name__ == "__main__":
    main()
