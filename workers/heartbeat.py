"""The side thread that keeps a job's lease, and learns from the database whether the job should go on.

A beat proves that the process lives. Progress proves that the work does: without any for `stall_s` the
lease is not renewed any more. A lease that could not be renewed for its whole length counts as lost,
whatever the reason: the database out of reach, or this process frozen and woken again. A worker that lost
its lease publishes nothing.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from types import TracebackType
from typing import Self

from jobs.schemas import Progress
from jobs.store import Beat, Claim, JobStore
from workers.metrics import LEASE_RENEWALS

logger = logging.getLogger(__name__)

TICK_S = 1.0  # while the work moves, its progress is written and a cancel is seen this often


class Heartbeat:
    """Renews one lease between `__enter__` and `__exit__`. Durations in seconds, by the monotonic clock."""

    def __init__(
        self,
        store: JobStore,
        claim: Claim,
        *,
        lease_s: float,
        period_s: float,
        stall_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._claim, self._clock = store, claim, clock
        self._lease_s, self._period_s, self._stall_s = lease_s, period_s, stall_s
        self._renewed_at = self._moved_at = clock()
        self._moved = False
        self._progress: Progress | None = None
        self._checkpoint_key = claim.checkpoint_key
        self._answer = Beat.OK
        self._turn = threading.Lock()  # one beat at a time: the side thread's or a checkpoint's
        self._over = threading.Event()
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name=f"heartbeat-{claim.job_id}", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    @property
    def verdict(self) -> Beat:
        """What the work should do, by the last answer and by the clock."""
        if self._answer is Beat.OK and self._clock() - self._renewed_at > self._lease_s:
            return Beat.LOST
        return self._answer

    def advance(self, progress: Progress | None = None) -> None:
        """The work moved; `progress` goes to the database with the next beat."""
        self._moved_at, self._moved = self._clock(), True
        self._progress = progress or self._progress

    def checkpoint(self, key: str) -> None:
        """Record, now, that the job can go on from the object `key`."""
        self._checkpoint_key = key
        self.advance()
        self.beat()

    def beat(self) -> None:
        """Renew the lease, unless it is lost, canceled or the work stands still."""
        with self._turn:
            asked_at = self._clock()
            if self.verdict is not Beat.OK or asked_at - self._moved_at > self._stall_s:
                return
            moved, self._moved = self._moved, False
            try:
                self._answer = self._store.heartbeat(
                    self._claim,
                    progress=self._progress if moved else None,
                    checkpoint_key=self._checkpoint_key,
                    advanced=moved,
                )
                self._renewed_at = asked_at
                LEASE_RENEWALS.labels(self._answer.value).inc()
            except Exception:  # the edge of this thread; the clock decides when it has gone on for too long
                logger.warning("heartbeat failed", exc_info=True)
                self._moved |= moved
                LEASE_RENEWALS.labels("failed").inc()

    def _run(self) -> None:
        tick_s = min(TICK_S, self._period_s)
        while not self._over.wait(tick_s):
            if self._moved or self._clock() - self._renewed_at >= self._period_s:
                self.beat()
