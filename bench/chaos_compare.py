"""The same faults against plain Celery + Redis as tutorials write it, and against ganserve: what is done.

`python -m bench.chaos_compare`: one seed, five designs, a table, and docs/images/chaos.png. Faults are drawn
as in `tests/chaos`, of the kinds that both have: workers killed, stopped and frozen; Redis killed, emptied,
frozen and its connections reset. A job of plain Celery is 1 s of waiting in ten steps; ganserve's are small
pictures and inversions with checkpoints. Callers repeat a submit until it is taken. When all faults are over
everything runs again, and a job that is not done after 30 s without any progress counts as not done:
messages that Celery holds back come again after its visibility timeout, which is an hour.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from celery import Celery

from tests.chaos.rig import Ground, Rig
from tests.chaos.schedule import draw, length_s
from tests.chaos.storm import ASKING, rage, storm

ROOT = Path(__file__).parents[1]
PLOT = ROOT / "docs" / "images" / "chaos.png"
KINDS = (
    "worker_kill",
    "worker_stop",
    "worker_freeze",
    "redis_kill",
    "redis_freeze",
    "redis_flush",
    "redis_reset",
)
MIX = {"generate": 60, "invert": 40}
QUIET_S = 30.0  # without a job's end after the last fault
CALLERS = 6


@dataclass(frozen=True)
class Outcome:
    """Of `jobs` accepted ones: how many were done once, more than once, and not at all."""

    design: str
    jobs: int
    faults: int
    once: int
    twice: int
    never: int
    seconds: float


class Plain(Rig):
    """Workers of the tutorial's app, and Redis. A worker is killed or frozen with its pool, as a pod is."""

    def __init__(self, folder: Path, *, late: bool, append_only: bool) -> None:
        super().__init__(folder, Ground(append_only=append_only), None, None, None)
        self.record = folder / "record.txt"
        self.record.touch()
        redis_url = f"redis+socket://{self.redis.socket}"
        self.environment |= {
            "PLAIN_BROKER": redis_url,
            "PLAIN_BACKEND": redis_url,
            "PLAIN_RECORD": str(self.record),
            "PLAIN_LATE": "1" if late else "",
        }

    def begin(self) -> None:
        self.redis.start()
        for name in [self.spawn_worker(), self.spawn_worker()]:
            self._await(name, lambda name=name: b" ready." in self.log_path(name).read_bytes(), 90)

    def spawn_worker(self, app: str = "bench.plain.app") -> str:
        self._made += 1
        name = f"worker{self._made}"
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            app,
            "worker",
            "-c",
            "2",
            "-n",
            f"{name}@%h",
            "-l",
            "INFO",
        ]
        with self.log_path(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                env=self.environment,
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return name

    def spawn(self, name: str) -> None:
        """There is nothing but workers."""

    def strike(self, process: subprocess.Popen[bytes], number: int) -> None:
        if process.poll() is None:
            os.killpg(process.pid, number)
        if number == signal.SIGKILL:
            process.wait()

    def close(self) -> None:
        for process in [*self.leaving, *self.processes.values()]:
            self.strike(process, signal.SIGKILL)
        self.processes.clear()
        super().close()

    def counted(self, what: str) -> Counter[str]:
        """By job: how often it started or ended."""
        lines = (line.split() for line in self.record.read_text().splitlines())
        return Counter(job for kind, job in lines if kind == what)


def plain(design: str, seed: int, jobs: int, faults: int, *, late: bool, append_only: bool) -> Outcome:
    began = time.monotonic()
    drawn = draw(seed, KINDS, faults)
    folder = Path(tempfile.mkdtemp(prefix="plain-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        rig = Plain(folder, late=late, append_only=append_only)
        stack.callback(rig.close)
        rig.begin()
        names = [f"job{n}" for n in range(jobs)]
        asking = threading.Thread(target=_ask, args=(rig, names, seed, ASKING * length_s(drawn)))
        asking.start()
        happened = rage(rig, drawn, random.Random(seed))
        asking.join()
        _settle(rig, jobs)
        ends = rig.counted("end")
    once = sum(ends[name] == 1 for name in names)
    never = sum(ends[name] == 0 for name in names)
    seconds = time.monotonic() - began
    return Outcome(design, jobs, happened.total(), once, jobs - once - never, never, seconds)


def _ask(rig: Plain, names: Sequence[str], seed: int, within_s: float) -> None:
    """Send each at its time, again and again until Celery says that it took it."""
    sender = Celery("plain", broker=rig.environment["PLAIN_BROKER"], set_as_current=False)
    sender.conf.broker_transport_options = {"socket_timeout": 2, "socket_connect_timeout": 2}
    rng, began = random.Random(seed), time.monotonic()
    times = sorted(rng.uniform(0, within_s) for _ in names)

    def send(name: str) -> None:
        while True:
            try:
                sender.send_task("plain.work", args=[name], retry=False)
                return
            except Exception:  # whatever it is, the job is not accepted yet
                time.sleep(0.3)

    with ThreadPoolExecutor(CALLERS) as pool:
        for name, at_s in zip(names, times, strict=True):
            time.sleep(max(0.0, began + at_s - time.monotonic()))
            pool.submit(send, name)


def _settle(rig: Plain, jobs: int) -> None:
    """Until every job has ended, or nothing has for a while."""
    done, since = -1, time.monotonic()
    while len(rig.counted("end")) < jobs and time.monotonic() - since < QUIET_S:
        rig.mend()
        now = rig.counted("end").total()
        if now != done:
            done, since = now, time.monotonic()
        time.sleep(0.3)


def ganserve(design: str, seed: int, jobs: int, faults: int, ground: Ground) -> Outcome:
    report = storm(seed, ground, jobs=jobs, faults=faults, kinds=KINDS, mix=MIX)
    once = report.ended["succeeded"] - report.doubled
    never = report.jobs - report.ended["succeeded"] + report.lost
    return Outcome(design, report.jobs, report.faults.total(), once, report.doubled, never, report.seconds)


def compare(seed: int, jobs: int, faults: int) -> list[Outcome]:
    outcomes = []
    for late, append_only, design in (
        (False, False, "Celery, defaults"),
        (True, False, "Celery, late ack"),
        (True, True, "Celery, late ack, AOF"),
    ):
        outcomes.append(plain(design, seed, jobs, faults, late=late, append_only=append_only))
        print(row(outcomes[-1]), flush=True)
    for append_only, design in ((False, "ganserve"), (True, "ganserve, AOF")):
        outcomes.append(ganserve(design, seed, jobs, faults, Ground(append_only=append_only)))
        print(row(outcomes[-1]), flush=True)
    return outcomes


COLUMNS = ("design", "jobs", "faults", "done once", "done twice or more", "not done", "seconds")


def row(outcome: Outcome) -> str:
    cells = [*vars(outcome).values()]
    return f"| {' | '.join(str(round(cell) if isinstance(cell, float) else cell) for cell in cells)} |"


def table(outcomes: Sequence[Outcome]) -> str:
    head = [f"| {' | '.join(COLUMNS)} |", f"| {' | '.join(['---'] * len(COLUMNS))} |"]
    return "\n".join([*head, *map(row, outcomes)])


def plot(outcomes: Sequence[Outcome], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3.2), layout="constrained")
    names = [outcome.design for outcome in outcomes][::-1]
    left = [0] * len(outcomes)
    for field, label, colour in (
        ("once", "done once", "#3a7d44"),
        ("twice", "done more than once", "#e0a100"),
        ("never", "not done", "#b3261e"),
    ):
        widths = [getattr(outcome, field) for outcome in outcomes][::-1]
        bars = axes.barh(names, widths, left=left, label=label, color=colour)
        shown = [str(width) if width else "" for width in widths]
        axes.bar_label(bars, shown, label_type="center", color="white", fontweight="bold")
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_xlabel(f"jobs, of {outcomes[0].jobs} accepted, under the same {outcomes[0].faults} faults")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--faults", type=int, default=14)
    parser.add_argument("--plot", type=Path, default=PLOT)
    given = parser.parse_args()
    outcomes = compare(given.seed, given.jobs, given.faults)
    print(f"\n{table(outcomes)}")
    plot(outcomes, given.plot)
    mine = [outcome for outcome in outcomes if outcome.design.startswith("ganserve")]
    return 1 if any(outcome.once < outcome.jobs for outcome in mine) else 0


if __name__ == "__main__":
    raise SystemExit(main())
