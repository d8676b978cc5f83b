"""The one callback that work talks through: progress out, and reasons to stop in.

Every call may raise one of the `Stop` errors; work lets them pass, and the runner knows what each means.
"""

import base64
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import TypeVar

from torch import Tensor

from jobs.errors import Transient
from jobs.live import LiveEvents
from jobs.schemas import Progress
from jobs.store import Beat
from workers.heartbeat import Heartbeat
from workers.metrics import CHECKPOINT_SECONDS

logger = logging.getLogger(__name__)

T = TypeVar("T")

LIVE_S = 0.25  # the shortest time between two progress events
LOOK_S = 0.1  # how often a wait looks up


class Stop(Exception):
    """The work must end now."""


class Canceled(Stop):
    """The caller no longer wants it."""


class LeaseLost(Stop):
    """Another worker may have it by now: publish nothing."""


class Draining(Stop):
    """The process is asked to end: another worker will go on."""


class TimedOut(Stop):
    """It ran for longer than the request allows."""


class Reporter:
    """What one running job reports to. Belongs to the job's thread."""

    def __init__(
        self,
        job_id: str,
        heartbeat: Heartbeat,
        live: LiveEvents,
        *,
        save: Callable[[int, Mapping[str, Tensor]], str],
        timeout_s: float,
        checkpoint_s: float,
        drain: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job_id, self._heartbeat, self._live, self._save = job_id, heartbeat, live, save
        self._drain, self._clock = drain, clock
        self._ends_at = clock() + timeout_s
        self._checkpoint_s, self._saved_at = checkpoint_s, clock()
        self._first: tuple[float, float] | None = None  # time and value of the first progress
        self._told_at = -LIVE_S

    def check(self) -> None:
        """Raises a `Stop` if the work must end."""
        verdict = self._heartbeat.verdict
        if verdict is Beat.LOST:
            raise LeaseLost
        if verdict is Beat.CANCEL:
            raise Canceled
        if self._clock() > self._ends_at:
            raise TimedOut
        if self._drain.is_set():
            raise Draining

    def report(
        self, value: float, step: int | None = None, steps: int | None = None, message: str | None = None
    ) -> None:
        """The work moved to `value`, 0 to 1. Raises a `Stop` if it must end."""
        now, whole = self._clock(), self._first is None and value >= 1  # which the end will tell
        progress = Progress(
            value=value, step=step, steps=steps, message=message, eta_s=self._eta_s(value, now)
        )
        self._heartbeat.advance(progress)
        if (now - self._told_at >= LIVE_S or value >= 1) and not whole:
            self._told_at = now
            self._live.publish(self._job_id, {"type": "progress", "progress": progress.model_dump()})
        self.check()

    def alive(self) -> None:
        """The work moves in a way that no number shows. Raises a `Stop` if it must end."""
        self._heartbeat.advance()
        self.check()

    def preview(self, index: int, jpeg: bytes) -> None:
        """Show how picture `index` looks so far; may be dropped on the way."""
        data = base64.b64encode(jpeg).decode()
        event = {"type": "preview", "index": index, "media_type": "image/jpeg", "data": data}
        self._live.publish(self._job_id, event)

    @property
    def checkpoint_due(self) -> bool:
        """Time for `checkpoint`: the period is over, or a drain will end the work at the next report."""
        return self._drain.is_set() or self._clock() - self._saved_at >= self._checkpoint_s

    def checkpoint(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Keep the state of the work after `step` steps, for whoever goes on with it. Storage may be away."""
        began, outcome = self._clock(), "stored"
        try:
            self._heartbeat.checkpoint(self._save(step, tensors))
        except Transient:
            outcome = "failed"
            logger.warning("job %s: no checkpoint at step %d", self._job_id, step, exc_info=True)
        self._saved_at = self._clock()
        CHECKPOINT_SECONDS.labels(outcome).observe(self._saved_at - began)

    def wait(self, future: Future[T]) -> T:
        """The result of `future`, or a `Stop` while it is waited for."""
        while True:
            try:
                return future.result(timeout=LOOK_S)
            except NotYet:
                if future.done():  # the work itself timed out
                    raise
            try:
                self.check()
            except Stop:
                future.cancel()
                raise

    def _eta_s(self, value: float, now: float) -> float | None:
        if self._first is None:
            self._first = (now, value)
        since, start = self._first
        if value <= start:
            return None
        return round((now - since) * (1 - value) / (value - start), 1)
