"""One large batch and one large dataset through the real stack, from the order to the last file: whether all
of it comes, once, and whether rate and memory stay what they were at the beginning.

    python -m bench.scale [--lines 50000 --pictures 100000]

Gateway, reaper, a worker and Redis on SQLite and a folder, as `ganserve up` starts them. The beginning and
the end are the first and the last fifth of the parts.
"""

import argparse
import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from client import Client
from jobs.schemas import JobView, Status
from tests.e2e.models import write_tiny_model
from tests.e2e.stack import ROOT, Stack

TINY = "tiny"
LOOK_S, PEEK_S = 1.0, 0.2
FIFTH, MB = 5, 1024 * 1024
USUAL = {"GANSERVE_LEASE_S": "30", "GANSERVE_HEARTBEAT_S": "10", "GANSERVE_REAPER_S": "5"}


@dataclass(frozen=True)
class Look:
    """At one moment: parts that have ended."""

    at_s: float
    done: int


class Memory(threading.Thread):
    """The resident memory of each process of a stack, in MB: at first, at most, at last."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self._processes = {name: psutil.Process(p.pid) for name, p in stack.processes.items()}
        self.first = self.most = self.last = self._look()
        self._end = threading.Event()

    def _look(self) -> dict[str, float]:
        return {name: process.memory_info().rss / MB for name, process in self._processes.items()}

    def run(self) -> None:
        while not self._end.wait(PEEK_S):
            self.last = self._look()
            self.most = {name: max(mb, self.last[name]) for name, mb in self.most.items()}

    def __enter__(self) -> "Memory":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()


@dataclass
class Course:
    """What was seen of one job from its order to its end."""

    what: str
    unit: int  # of a part: 1 for a line, its pictures for a shard
    order_s: float
    looks: list[Look]
    job: JobView
    memory: Memory

    @property
    def total(self) -> int:
        assert self.job.parts is not None
        return self.job.parts["total"]

    def rate(self, first: int, last: int) -> float:
        """Lines or pictures a second while parts `first` to `last` ended."""
        begin, end = (next(look for look in self.looks if look.done >= done) for done in (first, last))
        return self.unit * (end.done - begin.done) / max(end.at_s - begin.at_s, 1e-9)

    def rows(self) -> Iterator[tuple[str, str]]:
        fifth = max(1, self.total // FIFTH)
        begin, end = self.rate(0, fifth), self.rate(self.total - fifth, self.total)
        ended = self.looks[-1].at_s
        yield "the order", f"{self.order_s:.1f} s"
        yield "all of it", f"{ended:.0f} s"
        yield "a second, beginning", f"{begin:.1f}"
        yield "a second, end", f"{end:.1f} ({end / begin:.2f})"
        last = next(look.at_s for look in self.looks if look.done == self.total)
        yield "summary", f"{ended - last:.1f} s"
        for name, before in self.memory.first.items():
            most, after = self.memory.most[name], self.memory.last[name]
            yield f"{name}, MB", f"{before:.0f} before, {most:.0f} at most, {after:.0f} at the end"


Order = bytes | dict[str, Any]  # the lines of a batch, or a job


def watched(stack: Stack, client: Client, what: str, unit: int, ends_s: float, order: Order) -> Course:
    """Hand in, and look once a second until the end. Raises TimeoutError, having canceled it."""
    with Memory(stack) as memory:
        began = time.monotonic()
        job = client.submit(order) if isinstance(order, dict) else client.submit_batch(order)
        order_s, looks = time.monotonic() - began, [Look(0.0, 0)]
        while not job.terminal:
            if time.monotonic() - began > ends_s:
                client.cancel(job.id)
                raise TimeoutError(f"{what}: {job.progress.message} after {ends_s:g} s")
            time.sleep(LOOK_S)
            job = client.get(job.id)
            assert job.parts is not None
            done = job.parts["total"] - job.parts["queued"] - job.parts["running"]
            looks.append(Look(time.monotonic() - began, done))
    return Course(what, unit, order_s, looks, job, memory)


def batch(stack: Stack, client: Client, count: int, ends_s: float, folder: Path) -> Course:
    """Lines of one picture each, and a result for each of them, in order."""
    body = {"kind": "generate", "model": TINY}
    lines = [
        json.dumps({"custom_id": f"n{n}", "body": body | {"input": {"source": {"seeds": [n]}}}}).encode()
        for n in range(count)
    ]
    course = watched(stack, client, f"a batch of {count:,} lines", 1, ends_s, b"\n".join(lines))
    assert course.job.status is Status.SUCCEEDED, course.job.error
    [results] = client.download(course.job, folder, names=("results.jsonl",))
    with results.open() as file:
        told = [json.loads(line)["custom_id"] for line in file]
    assert told == [f"n{n}" for n in range(count)]
    return course


def dataset(
    stack: Stack, client: Client, count: int, size: int, model: str, ends_s: float, folder: Path
) -> Course:
    given = {"count": count, "shard_size": size}
    order: Order = {"kind": "dataset", "model": model, "input": given, "output": {"format": "jpeg"}}
    course = watched(stack, client, f"a dataset of {count:,} pictures of {model}", size, ends_s, order)
    assert course.job.status is Status.SUCCEEDED, course.job.error
    [path] = client.download(course.job, folder, names=("manifest.json",))
    told = json.loads(path.read_text())
    shards = Counter(file["name"] for file in told["files"] if file["role"] == "shard")
    assert told["counts"]["samples"] == count and set(shards.values()) == {1}
    return course


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=300)
    parser.add_argument("--pictures", type=int, default=3000)
    parser.add_argument("--shard-size", type=int, default=500)
    parser.add_argument("--model", default=TINY, help="of the dataset: `tiny` is random, of 16 pixels")
    parser.add_argument("--minutes", type=float, default=30, help="each of the two may take")
    options = parser.parse_args()
    ends_s = 60 * options.minutes
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "models").mkdir()
        write_tiny_model(folder / "models" / TINY)
        for shipped in (ROOT / "model_repo").glob("*/card.json"):
            (folder / "models" / shipped.parent.name).symlink_to(shipped.parent)
        stack = Stack(folder / "stack", folder / "models", USUAL)
        try:
            stack.start()
            stack.add_worker()
            with stack.client() as client:
                if options.lines:
                    show(batch(stack, client, options.lines, ends_s, folder))
                if options.pictures:
                    size, model = options.shard_size, options.model
                    show(dataset(stack, client, options.pictures, size, model, ends_s, folder))
        finally:
            stack.close()


def show(course: Course) -> None:
    table = Table(title=course.what, show_header=False)
    for row in course.rows():
        table.add_row(*row)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
