"""Following one job: durable transitions from the database, live events between them.

The database is the truth and is asked at least every `poll_s`; live events (progress, previews, and the hint
that something durable changed) only make it sooner, and may be missing altogether.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.problems import HttpProblem
from jobs.errors import NotFound, Transient
from jobs.live import LiveEvents
from jobs.schemas import Status
from jobs.store import EventRow, JobRow, JobStore

POLL_S = 0.5
CANCEL_S = 0.05
EPHEMERAL = ("progress", "preview")

logger = logging.getLogger(__name__)


class Streams:
    """How many callers may follow jobs at a time in this process: `limit`, and `share` of one tenant."""

    def __init__(self, limit: int, share: int) -> None:
        self.limit, self.share = limit, share
        self._open: Counter[str] = Counter()

    @property
    def open(self) -> int:
        return self._open.total()

    def full(self, tenant: str) -> bool:
        return self.open >= self.limit or self._open[tenant] >= self.share

    @contextlib.contextmanager
    def slot(self, tenant: str) -> Any:
        """Raises 429 `too_many_streams` when there is none for the tenant."""
        if self.full(tenant):
            detail = f"{min(self.share, self.open)} streams are open already."
            raise HttpProblem("too_many_streams", detail, headers={"Retry-After": "5"})
        self._open[tenant] += 1
        try:
            yield
        finally:
            self._open[tenant] -= 1
            self._open += Counter()  # forgets those who have none


class Mailbox:
    """The latest live event of each sort; a reader that is slow skips the ones between."""

    def __init__(self) -> None:
        self._latest: dict[tuple[Any, Any], dict[str, Any]] = {}
        self._filled = asyncio.Event()

    def put(self, event: dict[str, Any]) -> None:
        self._latest[event.get("type"), event.get("index")] = event
        self._filled.set()

    async def take(self, seconds: float) -> list[dict[str, Any]]:
        """What has come, waiting at most `seconds` for something."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0)):
                await self._filled.wait()
        events = list(self._latest.values())
        self._latest.clear()
        self._filled.clear()
        return events


@contextlib.asynccontextmanager
async def mailbox(live: LiveEvents, job: JobRow) -> AsyncIterator[Mailbox]:
    """A mailbox that is filled while the block runs; it stays empty for a job that has ended."""
    box = Mailbox()
    if job.terminal:
        yield box
        return

    async def fill() -> None:
        async for event in live.subscribe(job.id):
            box.put(event)

    task = asyncio.create_task(fill())
    try:
        yield box
    finally:
        await _stop(task)


async def _stop(task: asyncio.Task[None]) -> None:
    """Cancel until it ends: redis-py loses a cancellation that comes while it connects."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_S)
    if not task.cancelled() and (error := task.exception()):
        logger.warning("live events ended early: %s", error)


async def until_changed(request: Request, row: JobRow, *, after_seq: int | None, wait_s: float) -> JobRow:
    """The job of `row` as soon as its `seq` exceeds `after_seq` (None: as soon as it is terminal), or after
    `wait_s`.

    A terminal job returns at once; so does a job whose caller has hung up. Raises NotFound.
    """
    store: JobStore = request.app.state.store
    live: LiveEvents = request.app.state.live
    asked_at = time.monotonic()
    deadline = asked_at + wait_s
    async with mailbox(live, row) as box:
        while not (row.terminal or (after_seq is not None and row.seq > after_seq)):
            left = deadline - time.monotonic()
            if left <= 0 or await request.is_disconnected():
                break
            news = await box.take(min(left, POLL_S))
            moves = news and all(event.get("type") in EPHEMERAL for event in news)
            if after_seq is None and moves and time.monotonic() - asked_at < POLL_S:
                continue  # that is no end
            asked_at = time.monotonic()
            with contextlib.suppress(Transient):
                row = await run_in_threadpool(_latest, store, row)
    return row


def _latest(store: JobStore, row: JobRow) -> JobRow:
    """Its number is asked for first: that costs a fraction."""
    unchanged = store.seq(row.tenant, row.id) == row.seq
    return row if unchanged else store.get(row.tenant, row.id)


async def follow(
    store: JobStore, live: LiveEvents, tenant: str, job_id: str, *, after_seq: int
) -> AsyncIterator[EventRow | dict[str, Any]]:
    """Every transition after `after_seq` in order, and live events as they come; ends after a terminal one.

    Ends as well when the job is deleted. While the database is out of reach it waits.
    """
    row = await run_in_threadpool(store.get, tenant, job_id)
    async with mailbox(live, row) as box:
        status, seq, asked_at = row.status, after_seq, 0.0
        pending: list[dict[str, Any]] = []
        while True:
            if not pending or status is not Status.RUNNING or time.monotonic() - asked_at > POLL_S:
                asked_at, answered = time.monotonic(), True
                try:
                    news = await run_in_threadpool(store.events, tenant, job_id, seq)
                except Transient:
                    news, answered = [], False
                except NotFound:
                    return
                for event in news:
                    yield event
                    seq, status = event.seq, Status(event.body["status"])
                if status.terminal and answered:
                    return
            for live_event in pending:
                yield live_event
            pending = [e for e in await box.take(POLL_S) if e.get("type") in EPHEMERAL]
