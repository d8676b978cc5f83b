"""One run: jobs are asked for while faults come, then everything is mended, and the record is judged."""

import heapq
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from jobs.blobs import open_blobs
from jobs.store import JobStore, open_store
from tests.chaos.faults import End, Faults
from tests.chaos.invariants import Record, doubled, lost, stale, violations
from tests.chaos.load import MIX, Callers, once_more, orders
from tests.chaos.rig import MODEL, Ground, Rig, rig
from tests.chaos.schedule import Fault, draw, length_s
from tests.servers import wait_until

LOOK_S = 0.2
IDLE_S = 240.0  # for all to end once the faults are over
ASKING = 0.85  # part of the storm in which jobs are asked for


@dataclass(frozen=True)
class Report:
    """What came of a run. `violations`: by rule, what breaks it."""

    seed: int
    ground: Ground
    faults: Counter[str]
    ended: Counter[str]
    parts: int  # of datasets, each of which was made once more when it was quiet again
    lost: int
    doubled: int
    stale: int
    refused: int  # attempts that were told that the job is no longer theirs
    losses: int  # attempts that ended with their worker
    attempts: int  # most of any job, by its own fault
    claims: int  # most of any job
    seconds: float
    refusals: Counter[str]
    died: tuple[str, ...]
    violations: dict[str, list[str]]
    failures: frozenset[str]  # codes with which jobs failed

    @property
    def jobs(self) -> int:
        return sum(self.ended.values())

    @property
    def crashes(self) -> int:
        """Answers 500 that callers got: faults of a part must be 503, or no answer at all."""
        return sum(count for what, count in self.refusals.items() if what.startswith("500"))


def storm(
    seed: int,
    ground: Ground,
    *,
    jobs: int,
    faults: int,
    kinds: Sequence[str] | None = None,
    mix: Mapping[str, int] = MIX,
) -> Report:
    """Raises Unavailable when the machine lacks what `ground` needs."""
    began = time.monotonic()
    drawn = draw(seed, kinds or ground.kinds, faults)
    with rig(ground) as built, closing(open_store(built.settings())) as store:
        callers = Callers(built.url)
        image = first_picture(built, callers)
        wanted = orders(seed, jobs - 1, ASKING * length_s(drawn), image, mix)
        asking = threading.Thread(target=callers.ask, args=(wanted,))
        asking.start()
        happened = rage(built, drawn, random.Random(seed))
        asking.join()
        wait_until(lambda: idle(built, store), "the end of all jobs", IDLE_S)
        callers.ask(once_more(wanted))
        wait_until(lambda: idle(built, store), "the end of the datasets in quiet", IDLE_S)
        built.drain()
        return _judge(built, store, callers, seed, ground, happened, time.monotonic() - began)


def _judge(
    built: Rig,
    store: JobStore,
    callers: Callers,
    seed: int,
    ground: Ground,
    happened: Counter[str],
    seconds: float,
) -> Report:
    record = Record(store.database, open_blobs(built.settings()), callers.accepted)
    rows = record.jobs.values()
    return Report(
        seed=seed,
        ground=ground,
        faults=happened,
        ended=Counter(str(row.status) for row in rows if row.parent is None),
        parts=sum(row.parent is not None for row in rows),
        lost=lost(record),
        doubled=doubled(record),
        stale=stale(record),
        refused=built.count_in_worker_logs('"outcome":"lost"'),
        losses=sum(row.losses for row in rows),
        attempts=max(row.attempts for row in rows),
        claims=max(row.fence for row in rows),
        seconds=seconds,
        refusals=callers.refusals,
        died=tuple(built.died),
        violations=violations(record),
        failures=frozenset(row.error["code"] for row in rows if row.error),
    )


def first_picture(built: Rig, callers: Callers) -> str:
    """A picture that the model made, for inversions: its id."""
    with built.client() as client:
        ask = {"kind": "generate", "model": MODEL, "input": {"source": {"seeds": [5]}}}
        job = client.submit(ask, wait_s=60)
        callers.accepted.append(job.id)
        [path] = client.download(client.wait(job.id, timeout_s=60), Path(built.folder / "picture"))
        return client.upload_image(path).id


def rage(built: Rig, faults: Sequence[Fault], rng: random.Random) -> Counter[str]:
    """Do the faults at their times, and end each; what died of itself is started again. What was done."""
    began, happened, numbers = time.monotonic(), Counter[str](), itertools.count()
    doing = Faults(built, rng)
    # Ends join as faults begin; the number keeps two of the same time apart.
    due: list[tuple[float, int, Fault | End]] = [(fault.at_s, next(numbers), fault) for fault in faults]
    heapq.heapify(due)
    while due:
        early_s = began + due[0][0] - time.monotonic()
        if early_s > 0:
            time.sleep(min(early_s, LOOK_S))
            built.mend()
            continue
        _, _, what = heapq.heappop(due)
        if not isinstance(what, Fault):
            what()
        elif end := doing.begin(what.kind):
            happened[what.kind] += 1
            heapq.heappush(due, (time.monotonic() - began + what.lasts_s, next(numbers), end))
    built.wake()
    return happened


def idle(built: Rig, store: JobStore) -> bool:
    built.mend()
    time.sleep(LOOK_S)
    return not store.running() and not sum(store.depths().values()) and not store.parents()


def sound(report: Report) -> bool:
    """Nothing lost, doubled or stale, no rule broken, and no job failed but for its own time limit; or, of a
    shard, because its worker's disk was full.
    """
    wrong = report.lost or report.doubled or report.stale or report.violations or report.crashes
    full = {"storage", "parts_failed"} if report.faults["disk_full"] else set()
    return not wrong and report.failures <= {"timeout"} | full
