"""`python -m jobs.reaper`: brings back jobs that have gone silent, and removes files that nobody wants.

It may run in any number of replicas. It is what makes a lost message, a dead worker and an emptied broker
harmless: the database says what is waiting, and this loop keeps saying it to the broker.
"""

import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import structlog
from prometheus_client import Counter, Histogram

from jobs.blobs import BlobStore, open_blobs
from jobs.errors import Transient
from jobs.liveness import Liveness, Loop
from jobs.logs import set_up_logs
from jobs.metrics import LONG_S, REGISTRY
from jobs.operations import Operations, serve
from jobs.queue import JobQueue, open_queue
from jobs.settings import Settings, settings
from jobs.store import Due, JobStore, open_store

PAGE = 500  # jobs that are sent before they are marked as sent

log = structlog.get_logger(__name__)

ACTIONS = Counter("ganserve_reaper_actions", "What was done.", ("action",), registry=REGISTRY)
FAILURES = Counter(
    "ganserve_reaper_failures", "Parts of a round that failed.", ("action",), registry=REGISTRY
)
TICK_SECONDS = Histogram("ganserve_reaper_tick_seconds", "One round.", buckets=LONG_S, registry=REGISTRY)


@dataclass(frozen=True)
class Reaper:
    store: JobStore
    queue: JobQueue
    blobs: BlobStore
    loop: Loop = field(default_factory=Loop)
    webhook_log_s: float = 30 * 86400

    def tick(self) -> dict[str, int]:
        """Everything once; returns what was done, by name. A part that fails does not keep the others."""
        parts: dict[str, Callable[[], int]] = {
            "expired": self.store.expire_deadlines,
            "canceled": self.store.cancel_orphans,
            "requeued": self.store.reap_leases,
            "exhausted": self.store.fail_exhausted,
            "tended": self.tend_parents,
            "sent": self.send_due,
            "artifacts_removed": self.remove_artifacts,
            "prefixes_removed": self.remove_prefixes,
            "jobs_swept": self.sweep_leftovers,
            "keys_forgotten": self.store.forget_idempotency,
            "deliveries_forgotten": lambda: self.store.webhooks.forget(self.webhook_log_s),
        }
        with TICK_SECONDS.time():
            done = {name: self._attempt(name, part) for name, part in parts.items()}
        if any(done.values()):
            log.info("reaped", **{name: count for name, count in done.items() if count})
        return done

    def _attempt(self, name: str, part: Callable[[], int]) -> int:
        self.loop.tick()
        try:
            count = part()
        except Exception as error:  # the edge of the loop
            FAILURES.labels(name).inc()
            if isinstance(error, Transient):
                log.warning("failed, next time again", action=name, error=str(error))
            else:
                log.exception("failed", action=name)
            return 0
        ACTIONS.labels(name).inc(count)
        return count

    def tend_parents(self) -> int:
        """Datasets and batches: their parts made and counted, their ends written."""
        return sum(self.store.tend(*parent) for parent in self.store.parents())

    def send_due(self) -> int:
        """Send waiting jobs (again); stops at the first that the broker does not take."""
        count = 0
        while due := self._due():
            sent = list(takewhile(lambda each: self.queue.send(*each), due))
            if sent:
                self.store.mark_sent(*(each.id for each in sent))
            count += len(sent)
            if len(sent) < PAGE:
                break
            self.loop.tick()
        return count

    def _due(self) -> Sequence[Due]:
        depths, waiting = self.queue.depths(), self.store.depths()
        empty = [lane for lane, depth in depths.items() if depth == 0]
        told = [lane for lane, depth in depths.items() if depth >= waiting.get(lane, 0) > 0]
        return self.store.due_for_send(PAGE, empty_lanes=empty, told_lanes=told)

    def remove_artifacts(self) -> int:
        """Remove outputs past their retention; their rows stay, marked gone."""
        keys = self.store.sweep_artifacts()
        if keys:
            self.blobs.delete(keys)
            self.store.forget_keys(keys)
        return len(keys)

    def remove_prefixes(self) -> int:
        """Remove all that deleted jobs ever wrote."""
        removals = self.store.prefixes_to_remove()
        for tenant, prefix in removals:
            self.blobs.delete(list(self.blobs.list(prefix)))
            self.store.forget_prefix(tenant, prefix)
        return len(removals)

    def sweep_leftovers(self) -> int:
        """Remove what ended jobs leave: checkpoints, files of a lost lease, imported uploads."""
        jobs = self.store.leftovers()
        for job in jobs:
            unwanted = [key for key in self.blobs.list(job.prefix) if key not in job.keep]
            self.blobs.delete([*unwanted, *([job.upload] if job.upload else [])])
            self.store.mark_swept(job.job_id)
        return len(jobs)

    def run(self, every_s: float, stop: threading.Event) -> None:
        """Tick until `stop` is set."""
        while not stop.is_set():
            self.tick()
            stop.wait(every_s)


def open_reaper(settings: Settings, loop: Loop) -> Reaper:
    parts = open_store(settings), open_queue(settings), open_blobs(settings)
    return Reaper(*parts, loop, settings.webhook_log_s)


def main() -> None:
    given = settings()
    set_up_logs(given, "reaper")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    liveness = Liveness(given.liveness_s)
    reaper = open_reaper(given, liveness.loop("reaper"))
    serve(Operations("reaper", liveness), given)
    reaper.run(given.reaper_s, stop)


if __name__ == "__main__":
    main()
