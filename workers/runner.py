"""Carry one job from its message to a terminal status, whatever the work does: claim, work, publish.

The database decides who may run a job and who may publish it; a message is only a hint. What ends an attempt:

| what happened                               | the row becomes                          |
|---------------------------------------------|------------------------------------------|
| the work returned                           | succeeded                                |
| the caller canceled                         | canceled, with the files stored so far   |
| BadRequest, JobFailed, over its time limit  | failed, with their code                  |
| Transient, attempts left                    | queued; the attempt counts               |
| the process drains, or its device broke     | queued, checkpoint kept; counts as a loss|
| the lease was lost                          | untouched: someone else has it           |
| its request cannot be read by this version  | failed, internal_error: nowhere better   |
| anything else                               | failed, internal_error; the log knows    |
"""

import errno
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, Literal

import structlog
import torch
from pydantic import ValidationError
from safetensors.torch import save as safetensors_bytes
from structlog.contextvars import bound_contextvars
from torch import Tensor

from jobs import tracing
from jobs.blobs import checkpoint_key, output_key
from jobs.errors import BadRequest, Conflict, JobFailed, StoreUnavailable, Transient
from jobs.lanes import is_bulk
from jobs.schemas import PAYLOAD_VERSION, JobError, Kind, Status
from jobs.store import Beat, Claim, OutputRow
from workers.context import Context
from workers.encode import MEDIA_TYPES
from workers.heartbeat import Heartbeat
from workers.job import Result, RunningJob, Work
from workers.metrics import (
    CLAIMS,
    DEVICE_SECONDS,
    JOB_SECONDS,
    JOBS_RUNNING,
    LEASES_LOST,
    LOSSES,
    QUEUE_SECONDS,
    RESUMED,
)
from workers.outbox import Outbox
from workers.reporter import Canceled, Draining, LeaseLost, Reporter, TimedOut

logger = logging.getLogger(__name__)
log = structlog.get_logger(__name__)

FINISH_PAUSE_S = 0.5  # between tries to publish while the database does not answer


class Outcome(StrEnum):
    """How an attempt ended."""

    SKIPPED = "skipped"  # nothing to claim: finished, held by another, unknown; or this process is ending
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    RELEASED = "released"  # queued again: a drain, or a fault that may pass
    LOST = "lost"  # another has it, or will


def run_job(job_id: str, work: Work, context: Context) -> Outcome:
    """Run `work` for the job if it can be claimed, and record how it ended."""
    claim = _claim(
        lambda: context.store.claim(job_id, context.worker, payload_version=PAYLOAD_VERSION), context
    )
    return Outcome.SKIPPED if claim is None else _carry(claim, work, context)


def run_next(hint: str, works: Mapping[Kind, Work], lanes: Collection[str], context: Context) -> Outcome:
    """Run the job whose turn it is in `lanes`; the message named `hint`, and means that something waits.

    Shards follow each other without a message: whoever has made one looks for the next job himself, until
    nothing waits.
    """
    outcome, shards = Outcome.SKIPPED, False
    while True:
        with context.shard_places.place() as place:
            wanted = lanes if place.taken else [lane for lane in lanes if not is_bulk(lane)]
            claim = _claim(partial(_fairest, hint, works, wanted, context), context)
            if claim is None:
                return outcome
            bulk = is_bulk(claim.row.lane)
            if not bulk:
                place.leave()
            outcome = _carry(claim, works[Kind(claim.row.kind)], context)
        shards |= bulk
        if not shards:
            return outcome


def _fairest(hint: str, works: Mapping[Kind, Work], lanes: Collection[str], context: Context) -> Claim | None:
    return context.store.claim_fairest(
        hint, context.worker, payload_version=PAYLOAD_VERSION, kinds=list(works), lanes=lanes
    )


def _carry(claim: Claim, work: Work, context: Context) -> Outcome:
    row = claim.row
    about: dict[str, Any] = {"job": row.id, "attempt": row.attempts, "worker": context.worker}
    parent = tracing.read(row.traceparent)
    with (
        bound_contextvars(tenant=row.tenant, kind=row.kind, **about),
        tracing.span(f"run {row.kind}", kind="consumer", parent=parent, model=row.model, **about) as span,
    ):
        return _run(claim, work, context, span) if _readable(claim) else _give_up(claim, context)


def _readable(claim: Claim) -> bool:
    try:
        return claim.row.request is not None
    except ValidationError as error:
        logger.error("the request of a job cannot be read: %d errors", error.error_count())
        return False


def _give_up(claim: Claim, context: Context) -> Outcome:
    """End a job that every worker would trip over; its lease would only run out, time and again."""
    error = JobError(code="internal_error", detail="This version of the service cannot read the job.")
    ended = context.store.finish(claim, Status.FAILED, error=error)
    return Outcome.FAILED if ended else Outcome.LOST


def _run(claim: Claim, work: Work, context: Context, span: tracing.Span) -> Outcome:
    row, settings = claim.row, context.settings
    claimed_at = (row.lease_until or 0.0) - context.store.limits.lease_s  # by the database's clock
    queue_s = max(0.0, claimed_at - row.queued_at)
    QUEUE_SECONDS.labels(row.kind).observe(queue_s)
    tracing.past("queue", time.time() - queue_s, time.time(), lane=row.lane)
    began = time.monotonic()
    heartbeat = Heartbeat(
        context.store,
        claim,
        lease_s=settings.lease_s,
        period_s=settings.heartbeat_s,
        stall_s=settings.stall_s,
    )
    with JOBS_RUNNING.labels(row.kind).track_inprogress(), heartbeat:
        attempt = Attempt(claim, context, heartbeat, began, queue_s)
        outcome = attempt.run(work)
        attempt.job.forwards.trace()
    span.set(outcome=outcome.value, device_s=attempt.job.device_s, losses=row.losses, fence=claim.fence)
    if outcome is Outcome.FAILED:
        span.fail("failed")
    DEVICE_SECONDS.labels(row.kind).inc(attempt.job.device_s)
    run_s = time.monotonic() - began
    JOB_SECONDS.labels(row.kind, outcome).observe(run_s)
    log.info("attempt", outcome=outcome.value, run_s=round(run_s, 3), device_s=round(attempt.job.device_s, 3))
    return outcome


def _claim(take: Callable[[], Claim | None], context: Context) -> Claim | None:
    if context.drain.is_set():  # the row stays queued, and the reaper sends it to another worker
        CLAIMS.labels("draining").inc()
        return None
    try:
        claim = take()
    except StoreUnavailable:
        CLAIMS.labels("failed").inc()
        raise
    if claim is None:
        CLAIMS.labels("none").inc()
        return None
    CLAIMS.labels("claimed").inc()
    if claim.row.losses:
        LOSSES.labels(claim.row.kind).inc()
    if claim.checkpoint_key is not None:
        RESUMED.labels(claim.row.kind).inc()
    return claim


@dataclass
class Attempt:
    """One claim's way to an outcome."""

    claim: Claim
    context: Context
    heartbeat: Heartbeat
    began: float  # monotonic seconds
    queue_s: float
    saved: list[str] = field(default_factory=list)  # keys of checkpoints, oldest first

    def __post_init__(self) -> None:
        row, context = self.claim.row, self.context
        request = row.request
        reporter = Reporter(
            row.id,
            self.heartbeat,
            context.live,
            save=self._save_checkpoint,
            timeout_s=request.timeout_s,
            checkpoint_s=context.settings.checkpoint_s,
            drain=context.drain,
        )
        key = partial(output_key, row.tenant, row.id, self.claim.fence)
        outbox = Outbox(context.pool, context.blobs, key, check=reporter.check)
        self.job: RunningJob[Any] = RunningJob(self.claim, request, context, reporter, outbox)

    def run(self, work: Work) -> Outcome:
        reporter, outbox = self.job.reporter, self.job.outbox
        try:
            reporter.check()
            with self.context.company.join(self.claim.alone, reporter.alive):
                result = work(self.job)
                outputs = outbox.flush()
            return self._finish(Status.SUCCEEDED, outputs, result=result)
        except Exception as error:  # the edge of a job
            return self._end(error, outbox.close())

    def _end(self, error: Exception, stored: Sequence[OutputRow]) -> Outcome:
        """The error policy. `stored`: files that got through before."""
        match error:
            case LeaseLost():
                return self._lost()
            case Draining():
                return self._release("drain")
            case Canceled():
                return self._finish(Status.CANCELED, stored)
            case TimedOut():
                limit = self.claim.row.request.timeout_s
                return self._fail("timeout", f"It ran for longer than its limit of {limit:g} s.", stored)
            case Transient():
                logger.warning("attempt failed", exc_info=error)
                return self._release("retry", JobError(code=error.code, detail=str(error)))
            case BadRequest() | JobFailed() | Conflict():
                return self._fail(error.code, str(error), stored)
            case torch.OutOfMemoryError():
                return self._fail("out_of_memory", "The device has too little memory for this job.", stored)
            case torch.AcceleratorError():
                return self._abandon(error)
            case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT):
                logger.error("no space left", exc_info=error)
                return self._fail("storage", "The worker's disk is full.", stored)
        logger.error("job failed", exc_info=error)
        return self._fail("internal_error", "Something went wrong on our side.", stored)

    def _fail(self, code: str, detail: str, stored: Sequence[OutputRow]) -> Outcome:
        return self._finish(Status.FAILED, stored, error=JobError(code=code, detail=detail))

    def _finish(
        self,
        status: Status,
        outputs: Sequence[OutputRow],
        *,
        result: Result = None,
        error: JobError | None = None,
    ) -> Outcome:
        """Publish, in one update that a stale fence cannot make; while the lease is held, keep trying."""
        while True:
            try:
                with tracing.span("publish", status=status.value, outputs=len(outputs)):
                    published = self.context.store.finish(
                        self.claim,
                        status,
                        outputs=outputs,
                        result=result,
                        error=error,
                        metrics=self._metrics(),
                        model=self.job.imported if status is Status.SUCCEEDED else None,
                        found=self.job.found if status is Status.SUCCEEDED else None,
                    )
                break
            except StoreUnavailable:
                if self.heartbeat.verdict is Beat.LOST:
                    return self._lost()
                time.sleep(FINISH_PAUSE_S)
        if not published:
            return self._lost()
        self._tell(status)
        self._tend_parent()
        return Outcome(status.value)

    def _tend_parent(self) -> None:
        """What waits for this part need not wait for the reaper; lines of a batch are too many for that."""
        row = self.claim.row
        if row.parent is not None and row.kind in (Kind.SHARD, Kind.SUMMARY):
            with suppress(StoreUnavailable):
                self.context.store.tend(row.tenant, row.parent)

    def _release(self, reason: Literal["drain", "retry", "lost"], error: JobError | None = None) -> Outcome:
        """Give the job back. If the database does not answer, the lease runs out instead."""
        try:
            status = self.context.store.release(self.claim, reason=reason, error=error)
        except StoreUnavailable:
            logger.warning("could not be released", exc_info=True)
            return Outcome.LOST
        if status is None:
            return self._lost()
        self._tell(status)
        return Outcome.RELEASED if status is Status.QUEUED else Outcome(status.value)

    def _abandon(self, error: Exception) -> Outcome:
        """The device is unusable for this process: give the job back at no charge, and end."""
        logger.critical("device error", exc_info=error)
        outcome = self._release("lost")
        self.context.leave("the device does not answer any more")
        return outcome

    def _lost(self) -> Outcome:
        LEASES_LOST.inc()
        return Outcome.LOST

    def _tell(self, status: Status) -> None:
        """A hint to those who watch; the record is in the database."""
        self.context.live.publish(self.claim.job_id, {"type": "state", "status": status.value})

    def _metrics(self) -> dict[str, float]:
        return {
            "queue_ms": round(1000 * self.queue_s),
            "run_ms": round(1000 * (time.monotonic() - self.began)),
            "device_ms": round(1000 * self.job.device_s),
        }

    def _save_checkpoint(self, step: int, tensors: Mapping[str, Tensor]) -> str:
        """Write the state, and return its key. The row may still name the one before, so that one stays."""
        key = checkpoint_key(self.claim.row.tenant, self.claim.job_id, self.claim.fence, step)
        body = safetensors_bytes({name: tensor.contiguous() for name, tensor in tensors.items()})
        self.context.blobs.write(key, body, media_type=MEDIA_TYPES["safetensors"])
        self.saved.append(key)
        if len(self.saved) > 2:
            self.context.blobs.delete([self.saved.pop(0)])
        return key
