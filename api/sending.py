"""Telling the workers of a recorded job, beside the answer to the caller and never in its way.

A message is only a hint. When the broker is slow or gone it is dropped here, and the reaper sends the job.
"""

import asyncio
import logging

import anyio
from anyio import to_thread

from jobs import tracing
from jobs.metrics import SENDS
from jobs.queue import JobQueue
from jobs.store import JobRow

AT_ONCE = 8  # threads that may wait for the broker, apart from those that serve requests
MAX_WAITING = 256
LAST_SENDS_S = 2.0

logger = logging.getLogger(__name__)


class Sender:
    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = anyio.CapacityLimiter(AT_ONCE)

    def send(self, row: JobRow) -> None:
        """Start sending; returns at once. Call it on the event loop."""
        if len(self._tasks) >= MAX_WAITING:
            logger.warning("job %s is left to the reaper: the broker is slow", row.id)
            SENDS.labels("skipped").inc()
            return
        task = asyncio.create_task(self._send(row))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give sends that are under way a last moment."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST_SENDS_S)

    async def _send(self, row: JobRow) -> None:
        with tracing.span("send", kind="producer", lane=row.lane) as span:
            taken = await to_thread.run_sync(
                self._queue.send, row.id, row.kind, row.lane, limiter=self._threads
            )
            if not taken:
                span.fail("not sent")
