"""`python -m tests.chaos.soak`: 10,000 tiny jobs on the real stack, and whether its memory stays flat.

Every tenth job has a webhook, so the dispatcher works, too. The resident memory of each process and Redis's
own figure are sampled by jobs done. The first part warms caches and pools up and is left out; over the rest
the slope (Theil and Sen: the median of the slopes between samples) is what 10,000 jobs more would add. An
object of 1 kB that each job leaves behind is 10 MB. Redis keeps the last event of each job for two minutes,
so it grows for so long.

`python -m tests.chaos.soak --backends prepared onnx`: as many pictures in place of jobs, painted on each of
these backends by an engine of its own (tests/chaos/painter.py), and the same question.
"""

import argparse
import http.server
import itertools
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx2 as httpx
import psutil
import redis

from jobs.blobs import open_blobs
from jobs.store import JobStore, open_store
from tests.chaos import painter
from tests.chaos.invariants import Record, violations
from tests.chaos.rig import MODEL, Ground, Rig, rig
from tests.servers import Unavailable, wait_until

JOBS = 10_000
WARM = 0.3  # part of the jobs that is not looked at
LIMIT_MB = 8.0  # a slope above it, in MB for 10,000 jobs, is a leak
IN_FLIGHT = 300
CALLERS = 4
SAMPLE_S = 0.5
PLOT = Path(__file__).parents[2] / "docs" / "images" / "soak.png"
MB = 1024 * 1024


@dataclass(frozen=True)
class Sample:
    done: int
    at_s: float
    mb: dict[str, float]  # by process


class Load:
    """Callers that keep some hundred jobs in flight until `count` are accepted."""

    def __init__(self, built: Rig, store: JobStore, count: int, ends_s: float, receiver: str) -> None:
        self.url, self.store, self.count, self.receiver = built.url, store, count, receiver
        self.ends_at = time.monotonic() + ends_s
        self.numbers = itertools.count()
        self.accepted = 0
        self.waiting = 0  # by the last look
        self._turn = threading.Lock()

    def run(self) -> None:
        with ThreadPoolExecutor(CALLERS) as pool:
            for caller in [pool.submit(self._call) for _ in range(CALLERS)]:
                caller.result()

    def _call(self) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as http:
            while time.monotonic() < self.ends_at:
                if self.waiting > IN_FLIGHT:
                    time.sleep(0.02)
                    continue
                with self._turn:
                    number = next(self.numbers)
                if number >= self.count:
                    return
                http.post("/v1/jobs", json=self._body(number)).raise_for_status()
                with self._turn:
                    self.accepted += 1
                    self.waiting += 1

    def _body(self, number: int) -> dict[str, object]:
        body = {"kind": "generate", "model": MODEL, "input": {"source": {"seeds": [number % 1000]}}}
        return body | (
            {"webhook": {"url": self.receiver, "events": ["finished"]}} if number % 10 == 0 else {}
        )

    def look(self) -> int:
        """How many have ended."""
        open_ = sum(self.store.depths().values()) + self.store.running()
        with self._turn:
            self.waiting = open_
            return max(0, self.accepted - open_)


@contextmanager
def receiver() -> Iterator[str]:
    """A place for webhooks to go."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook"
    finally:
        server.shutdown()
        server.server_close()


def soak(count: int, ends_s: float) -> tuple[list[Sample], dict[str, list[str]]]:
    """What was sampled, and what breaks the invariants at the end."""
    with receiver() as address, rig(Ground(), GANSERVE_WEBHOOK_LOOPBACK="true") as built:
        built.spawn("dispatcher")
        with closing(open_store(built.settings())) as store:
            load = Load(built, store, count, ends_s, address)
            asking = threading.Thread(target=load.run)
            asking.start()
            samples = list(_sample(built, load, asking))
            wait_until(lambda: load.look() >= load.accepted, "the last jobs", 120)
            built.drain()
            return samples, violations(Record(store.database, open_blobs(built.settings())))


def _sample(built: Rig, load: Load, asking: threading.Thread) -> Iterator[Sample]:
    began = time.monotonic()
    watched = {name: psutil.Process(process.pid) for name, process in built.processes.items()}
    with redis.Redis.from_url(built.redis.redis_url) as connection:
        while asking.is_alive():
            done = load.look()
            used = {name: process.memory_info().rss / MB for name, process in watched.items()}
            used["redis"] = connection.info("memory")["used_memory"] / MB
            yield Sample(done, time.monotonic() - began, used)
            time.sleep(SAMPLE_S)


def painting(backend: str, count: int, repository: Path) -> list[Sample]:
    """What was sampled in an engine that painted `count` pictures. Raises CalledProcessError."""
    command = [sys.executable, "-m", painter.__name__, backend, str(count), str(repository)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = (line.split() for line in told.splitlines())
    return [Sample(int(done), float(at_s), {backend: float(mb)}) for done, at_s, mb in rows]


def paint_on(backends: Sequence[str], count: int) -> int:
    """Print the memory of each backend's engine on the way; 1 if one of them grows."""
    marks = [count // 10, count // 2, count]
    after = " | ".join(f"MB after {n:,}" for n in marks)
    print(f"| backend | {after} | MB for 10,000 more | seconds |")
    print("| --- " * (len(marks) + 3) + "|")
    slopes = []
    with tempfile.TemporaryDirectory() as folder:
        painter.lend(Path(folder), with_onnx="onnx" in backends)
        for backend in backends:
            samples = painting(backend, count, Path(folder))
            used = [next(s.mb[backend] for s in samples if s.done >= n) for n in marks]
            slopes.append(slope_mb(samples, backend))
            cells = [*(f"{mb:.0f}" for mb in used), f"{slopes[-1]:+.1f}", f"{samples[-1].at_s:.0f}"]
            print(f"| `{backend}` | {' | '.join(cells)} |", flush=True)
    return int(max(slopes) > LIMIT_MB)


def slope_mb(samples: Sequence[Sample], name: str) -> float:
    """MB for 10,000 jobs or pictures, from the samples after the warm-up."""
    last = samples[-1].done
    kept = [sample for sample in samples if sample.done >= WARM * last]
    step = max(1, len(kept) // 150)
    pairs = itertools.combinations(kept[::step], 2)
    slopes = [(b.mb[name] - a.mb[name]) / (b.done - a.done) for a, b in pairs if b.done > a.done]
    return 10_000 * median(slopes)


def plot(samples: Sequence[Sample], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.4), layout="constrained")
    done = [sample.done for sample in samples]
    warm = next(sample for sample in samples if sample.done >= WARM * done[-1])
    for name in samples[0].mb:
        label = f"{name} ({warm.mb[name]:.0f} MB): {slope_mb(samples, name):+.1f} MB in 10,000 jobs"
        axes.plot(done, [sample.mb[name] - warm.mb[name] for sample in samples], label=label)
    axes.axvspan(0, WARM * done[-1], color="0.93", label="warming up")
    axes.set(xlabel="jobs done", ylabel="MB more than after\nthe warm-up", ylim=(-3 * LIMIT_MB, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(0, -0.15), ncols=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--seconds", type=float, default=600, help="no jobs are sent after that")
    parser.add_argument("--plot", type=Path, default=PLOT)
    parser.add_argument("--backends", nargs="+", help="paint as many pictures on these instead")
    given = parser.parse_args()
    if given.backends:
        return paint_on(given.backends, given.jobs)
    try:
        samples, broken = soak(given.jobs, given.seconds)
    except Unavailable as reason:
        print(reason)
        return 0
    last = samples[-1]
    rate = last.done / last.at_s
    print(f"{last.done} jobs in {last.at_s:.0f} s, {rate:.0f} a second; invariants: {broken or 'hold'}")
    print("| process | MB at the end | MB for 10,000 jobs more |\n| --- | --- | --- |")
    slopes = {name: slope_mb(samples, name) for name in last.mb}
    for name, slope in slopes.items():
        print(f"| {name} | {last.mb[name]:.0f} | {slope:+.1f} |")
    plot(samples, given.plot)
    return 1 if broken or max(slopes.values()) > LIMIT_MB else 0


if __name__ == "__main__":
    sys.exit(main())
