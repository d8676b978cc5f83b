"""What a worker does with a job: claim, heartbeat, release, finish. All but the first need the fence."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Row,
    and_,
    bindparam,
    case,
    insert,
    literal,
    null,
    or_,
    select,
    true,
    update,
)

from jobs.blobs import BUCKETS
from jobs.schemas import JobError, Kind, Progress, Status
from jobs.store.change import FIRST_SEND_S, QUEUED, RUNNING, Change, change, changing, send_in, transition
from jobs.store.database import now
from jobs.store.directions import put_directions
from jobs.store.library import put_model
from jobs.store.quota import stored
from jobs.store.rows import Beat, Claim, DirectionSetRow, ModelRow, OutputRow, job_row
from jobs.store.tables import jobs, outputs

Reason = Literal["drain", "lost", "retry"]
KEPT_S = 100 * 365 * 86400.0
PICTURES = ("image", "reconstruction")  # roles of outputs that count as pictures made


@dataclass(frozen=True)
class Limits:
    """How long a worker may be silent, and how often a job may be tried. Durations in seconds."""

    lease_s: float = 30
    stall_s: float = 120
    max_attempts: int = 3
    max_losses: int = 10
    artifact_ttl_s: float = 7 * 86400
    leftovers_s: float = 86400


def claim(
    connection: Connection, job_id: str, worker: str, *, payload_version: int, limits: Limits
) -> Claim | None:
    """Take the job, with a new fence; None when it is not to be had. A lapsed lease counts as a loss."""
    given = {"job": job_id, "by": worker, "version": payload_version}
    rows = transition(connection, _claiming(limits), given)
    if not rows:
        return None
    row = job_row(rows[0])
    return Claim(row, fence=row.fence, worker=worker, checkpoint_key=row.checkpoint_key)


@lru_cache(maxsize=16)
def _claiming(limits: Limits) -> Change:
    waiting = and_(QUEUED, fresh(limits))
    lapsed = and_(RUNNING, jobs.c.lease_until < now(), jobs.c.losses + 1 < limits.max_losses)
    return changing(
        jobs.c.id == bindparam("job"),
        jobs.c.payload_version <= bindparam("version"),
        ~jobs.c.cancel_requested,
        or_(waiting, lapsed),
        status=Status.RUNNING,
        fence=jobs.c.fence + 1,
        attempts=case((RUNNING, jobs.c.attempts), else_=jobs.c.attempts + 1),
        losses=case((RUNNING, jobs.c.losses + 1), else_=jobs.c.losses),
        worker=bindparam("by"),
        lease_until=now() + limits.lease_s,
        progress_at=now(),
        started_at=case((jobs.c.started_at.is_(None), now()), else_=jobs.c.started_at),
    )


def fresh(limits: Limits) -> ColumnElement[bool]:
    """A queued job may still be tried. A deadline is about the first claim only."""
    in_time = or_(jobs.c.deadline_at.is_(None), jobs.c.deadline_at > now(), jobs.c.started_at.is_not(None))
    return and_(jobs.c.attempts < limits.max_attempts, in_time)


def held(claim: Claim) -> ColumnElement[bool]:
    """The row is still this claim's."""
    return _held(claim.job_id, claim.fence)


def _held(job_id: Any, fence: Any) -> ColumnElement[bool]:
    """Both: values or parameters."""
    return and_(jobs.c.id == job_id, jobs.c.fence == fence, RUNNING)


def heartbeat(
    connection: Connection,
    claim: Claim,
    *,
    progress: Progress | None,
    checkpoint_key: str | None,
    advanced: bool,
    limits: Limits,
) -> Beat:
    """Renew the lease. `advanced` says that the work has moved since the last beat."""
    values: dict[str, Any] = {"lease_until": now() + limits.lease_s}
    if advanced:
        values["progress_at"] = now()
    if checkpoint_key is not None:
        values["checkpoint_key"] = checkpoint_key
    if progress is not None:
        values |= {"progress": progress.model_dump(exclude_none=True), "seq": jobs.c.seq + 1}
    alive = true() if advanced else jobs.c.progress_at > now() - limits.stall_s
    statement = update(jobs).where(held(claim), ~jobs.c.cancel_requested, alive).values(values)
    if connection.execute(statement).rowcount:
        return Beat.OK
    flagged = select(jobs.c.id).where(held(claim), jobs.c.cancel_requested)
    return Beat.CANCEL if connection.execute(flagged).first() else Beat.LOST


def release(
    connection: Connection, claim: Claim, *, reason: Reason, error: JobError | None, limits: Limits
) -> Status | None:
    """Give the job up; returns what it became, or None when it was no longer this claim's.

    `retry`: by a fault that may pass; the attempt counts. `drain`, `lost`: by the worker's end; the attempt
    is given back and a loss counts. A job that may not be tried again has failed, with `error`.
    """
    if reason == "retry":
        spent = jobs.c.attempts >= limits.max_attempts
        error = error or JobError(code="job_failed", detail="the job was tried too often")
        # 3 s, 6 s … before the next attempt
        pause: float | ColumnElement[float] = FIRST_SEND_S * case((jobs.c.attempts > 1, 2.0), else_=1.0)
        rows = put_back(connection, [held(claim)], spent=spent, error=error, pause=pause)
    else:
        rows = lose(connection, [held(claim)], limits=limits)
    return Status(rows[0].status) if rows else None


def lose(
    connection: Connection, where: Sequence[ColumnElement[bool]], *, limits: Limits
) -> Sequence[Row[Any]]:
    """Running jobs whose worker has gone: queued again, the attempt given back, unless lost too often."""
    error = JobError(
        code="worker_lost", detail=f"{limits.max_losses} workers ended while they worked on the job"
    )
    spent = jobs.c.losses + 1 >= limits.max_losses
    count = {"attempts": jobs.c.attempts - 1, "losses": jobs.c.losses + 1}
    return put_back(connection, where, spent=spent, error=error, pause=0.0, **count)


def put_back(
    connection: Connection,
    where: Sequence[ColumnElement[bool]],
    *,
    spent: ColumnElement[bool],
    error: JobError,
    pause: float | ColumnElement[float],
    **count: Any,
) -> Sequence[Row[Any]]:
    """running -> canceled where that was asked for, else failed where `spent`, else queued."""
    flag = jobs.c.cancel_requested
    failed = and_(~flag, spent)
    return change(
        connection,
        *where,
        status=case((flag, Status.CANCELED), (failed, Status.FAILED), else_=Status.QUEUED),
        error=case((failed, literal(error.model_dump(), jobs.c.error.type)), else_=null()),
        finished_at=case((or_(flag, failed), now()), else_=null()),
        queued_at=now() + pause,  # before that only a message of its own brings it up
        worker=None,
        lease_until=None,
        **send_in(pause),
        **count,
    )


def ended(status: Status, error: JobError | None = None) -> dict[str, Any]:
    """Values of a job that is over."""
    return _end(status, error) | _OVER


def _end(status: Status, error: JobError | None) -> dict[str, Any]:
    return {"status": status, "error": error and error.model_dump()}


_OVER: dict[str, Any] = {"finished_at": now(), "lease_until": None}


def finish(
    connection: Connection,
    claim: Claim,
    status: Status,
    *,
    published: Sequence[OutputRow],
    result: dict[str, Any] | None,
    error: JobError | None,
    metrics: dict[str, float] | None,
    progress: Progress | None,
    model: ModelRow | None,
    found: DirectionSetRow | None,
    limits: Limits,
) -> bool:
    """End the job and make its outputs visible; False, and nothing is, when it is no longer this claim's."""
    values = _end(status, error) | {"result": result, "metrics": metrics}
    if status == Status.SUCCEEDED and progress is None:
        progress = Progress(value=1)
    if progress is not None:
        values["progress"] = progress.model_dump(exclude_none=True)
    given = {f"new_{name}": value for name, value in values.items()}
    given |= {"job": claim.job_id, "held": claim.fence}
    kept = {"kept_s": _kept_s(claim, limits)}
    made = sum(output.role in PICTURES for output in published)
    statement = _ending(frozenset(values), expires=bool(published))
    given |= kept if published else {}
    names = [output.name for output in published]
    if not transition(connection, statement, given, made=made, outputs=names):
        return False
    if published:
        rows = [_output(claim, place, output) | kept for place, output in enumerate(published)]
        connection.execute(_PUBLISH, rows)
        ours = [output for output in published if not (output.key or "").startswith(BUCKETS)]
        stored(connection, {claim.row.tenant: sum(output.size_bytes for output in ours)})
    if model is not None:
        put_model(connection, claim.row.tenant, model)
    if found is not None:
        put_directions(connection, claim.row.tenant, found)
    return True


_EXPIRES = now() + bindparam("kept_s", type_=Double)
_PUBLISH = insert(outputs).values(expires_at=_EXPIRES)


@cache
def _ending(filled: frozenset[str], *, expires: bool) -> Change:
    values: dict[str, Any] = {name: bindparam(f"new_{name}", type_=jobs.c[name].type) for name in filled}
    if expires:
        values["expires_at"] = _EXPIRES
    return changing(_held(bindparam("job"), bindparam("held")), **_OVER, **values)


def _output(claim: Claim, place: int, output: OutputRow) -> dict[str, Any]:
    return vars(output) | {"tenant": claim.row.tenant, "job_id": claim.job_id, "position": place}


def _kept_s(claim: Claim, limits: Limits) -> float:
    """A dataset is kept until it is deleted."""
    return KEPT_S if claim.row.kind in (Kind.SHARD, Kind.SUMMARY) else limits.artifact_ttl_s
