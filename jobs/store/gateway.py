"""What the gateway does with jobs: submit, read, list, cancel, retry, delete."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Row,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
)

from jobs.errors import Conflict, IdempotencyKeyReused, NotFound
from jobs.estimates import Asked
from jobs.fit import pictures
from jobs.ids import new_job_id
from jobs.lanes import HELD
from jobs.schemas import PARENTS, DirectionsRequest, JobRequest, Status
from jobs.store import parts, steering
from jobs.store.change import (
    FIRST_SEND_S,
    QUEUED,
    RUNNING,
    WORKED_ON,
    change,
    new_row,
    new_times,
    record,
    send_in,
)
from jobs.store.database import INSERTS, now
from jobs.store.directions import refuse_name
from jobs.store.endpoints import ensure_of_jobs
from jobs.store.history import measured
from jobs.store.parts import UNSUCCESSFUL
from jobs.store.quota import Quotas, admit, hold, stored
from jobs.store.rows import EventRow, JobRow, OutputRow, job_prefix, job_row, output_row
from jobs.store.tables import events, idempotency, jobs, outputs, removals

IDEMPOTENCY_S = 24 * 3600


# --- submit ----------------------------------------------------------------------------------------------


def submit(
    connection: Connection,
    tenant: str,
    request: JobRequest,
    *,
    idempotency_key: str | None,
    body_hash: str | None,
    max_queued: int | None,
    quotas: Quotas,
    traceparent: str | None,
    asked: Asked | None,
) -> tuple[Row[Any], bool]:
    """The new job and True, or the job that `idempotency_key` made before and False."""
    body = request.model_dump_json(by_alias=True)
    job_id = new_job_id()
    if idempotency_key is not None:
        body_hash = body_hash or hashlib.sha256(body.encode()).hexdigest()
        earlier = _hold_key(connection, tenant, idempotency_key, body_hash, job_id)
        if earlier is not None:
            return one(connection, tenant, earlier), False
    if isinstance(request, DirectionsRequest):
        refuse_name(connection, tenant, request.model, request.input.name)
    needs = admit(
        connection,
        tenant,
        pictures(request),
        defaults=quotas,
        max_queued=max_queued,
        asked=asked and partial(asked, partial(measured, connection, tenant)),
    )
    if request.webhook is not None:
        ensure_of_jobs(connection, tenant)
    values = new_row(tenant, job_id, request, body) | {"traceparent": traceparent}
    statement = _SUBMIT
    if request.kind in PARENTS:  # it never waits itself: its parts do
        values |= {"status": Status.RUNNING}
        statement = statement.values(started_at=now())
    row = connection.execute(statement, values | {"deadline_s": request.deadline_s}).one()
    hold(connection, tenant, job_id, needs)
    record(connection, [row])
    if request.kind in PARENTS:
        parts.found(connection, row)
    return row, True


# What is asked for each job is built once: that takes several times as long as asking.
_SUBMIT = insert(jobs).values(new_times(now(), bindparam("deadline_s", type_=Double))).returning(jobs)


def _hold_key(connection: Connection, tenant: str, key: str, body_hash: str, job_id: str) -> str | None:
    """Take the key for `job_id`, or return the job that has it. A parallel holder is waited for."""
    values = {"tenant": tenant, "key": key, "body_hash": body_hash, "job_id": job_id}
    if connection.execute(_taking(connection.dialect.name), values).first():
        return None
    mine = (idempotency.c.tenant == tenant) & (idempotency.c.key == key)
    earlier = connection.execute(select(idempotency).where(mine)).one_or_none()
    if earlier is None:  # its job was deleted between the two statements
        raise Conflict("the job of that Idempotency-Key is being deleted", code="in_progress")
    if earlier.body_hash != body_hash:
        raise IdempotencyKeyReused
    return earlier.job_id


@cache
def _taking(dialect: str) -> Any:
    """Writes the key's row, over one that is too old to count."""
    statement = INSERTS[dialect](idempotency).values(created_at=now())
    return statement.on_conflict_do_update(
        index_elements=[idempotency.c.tenant, idempotency.c.key],
        set_={name: statement.excluded[name] for name in ("body_hash", "job_id", "created_at")},
        where=idempotency.c.created_at < now() - IDEMPOTENCY_S,
    ).returning(idempotency.c.job_id)


# --- read ------------------------------------------------------------------------------------------------


def _is(tenant: str, job_id: str) -> ColumnElement[bool]:
    return and_(jobs.c.tenant == tenant, jobs.c.id == job_id)


_ONE = select(jobs).where(jobs.c.tenant == bindparam("of"), jobs.c.id == bindparam("job"))
_SEQ = _ONE.with_only_columns(jobs.c.seq)
_OUTPUTS = (
    select(outputs)
    .where(
        outputs.c.tenant.in_(bindparam("of", expanding=True)),
        outputs.c.job_id.in_(bindparam("jobs", expanding=True)),
    )
    .order_by(outputs.c.position)
)


def one(connection: Connection, tenant: str, job_id: str) -> Row[Any]:
    row = connection.execute(_ONE, {"of": tenant, "job": job_id}).one_or_none()
    if row is None:
        raise NotFound(f"there is no job {job_id!r}")
    return row


def seq_of(connection: Connection, tenant: str, job_id: str) -> int:
    seq = connection.scalar(_SEQ, {"of": tenant, "job": job_id})
    if seq is None:
        raise NotFound(f"there is no job {job_id!r}")
    return seq


def with_outputs(connection: Connection, rows: Sequence[Row[Any]]) -> list[JobRow]:
    """The records of `rows`, each with its published files in the order in which they were given."""
    found: dict[str, list[OutputRow]] = {row.id: [] for row in rows}
    summaries = parts.summaries(connection, rows)  # those of a parent are its summary's
    if rows:
        wanted = {"of": list({row.tenant for row in rows}), "jobs": [*found, *summaries]}
        for row in connection.execute(_OUTPUTS, wanted):
            for job_id in {row.job_id, summaries.get(row.job_id)} & found.keys():
                found[job_id].append(output_row(row))
    return [job_row(row, tuple(found[row.id]), parts.counts(connection, row)) for row in rows]


def page(
    connection: Connection,
    tenant: str,
    *,
    status: Sequence[Status],
    kind: str | None,
    model: str | None,
    created_after: float | None,
    created_before: float | None,
    metadata: Mapping[str, str],
    parent: str | None,
    after: tuple[float, str] | None,
    limit: int,
) -> Sequence[Row[Any]]:
    """Newest first. `after` is the last row's (created_at, id); rows that come later stay out of the way."""
    wanted = [jobs.c.tenant == tenant, jobs.c.parent.is_not_distinct_from(parent)]
    if status:
        wanted.append(jobs.c.status.in_(status))
    if kind is not None:
        wanted.append(jobs.c.kind == kind)
    if model is not None:
        wanted.append(jobs.c.model == model)
    if created_after is not None:
        wanted.append(jobs.c.created_at > created_after)
    if created_before is not None:
        wanted.append(jobs.c.created_at < created_before)
    wanted += [jobs.c.metadata[name].as_string() == value for name, value in metadata.items()]
    if after is not None:
        at, job_id = after
        older = or_(jobs.c.created_at < at, and_(jobs.c.created_at == at, jobs.c.id < job_id))
        wanted += [jobs.c.created_at <= at, older]  # the first alone bounds the walk of the index
    order = (jobs.c.created_at.desc(), jobs.c.id.desc())
    return connection.execute(select(jobs).where(*wanted).order_by(*order).limit(limit)).all()


def events_after(connection: Connection, tenant: str, job_id: str, after_seq: int) -> list[EventRow]:
    seq_of(connection, tenant, job_id)
    wanted = (events.c.tenant == tenant) & (events.c.job_id == job_id) & (events.c.seq > after_seq)
    rows = connection.execute(select(events).where(wanted).order_by(events.c.seq))
    return [EventRow(row.seq, row.type, row.body, row.at) for row in rows]


# --- change ----------------------------------------------------------------------------------------------


def cancel(connection: Connection, tenant: str, job_id: str) -> Row[Any]:
    """Queued: canceled at once. Running: the flag is set, once. Terminal: Conflict `already_finished`."""
    parts.refuse_part(one(connection, tenant, job_id))
    rows = change(
        connection,
        _is(tenant, job_id),
        or_(QUEUED, and_(RUNNING, ~jobs.c.cancel_requested)),
        status=case((QUEUED, Status.CANCELED), else_=jobs.c.status),
        finished_at=case((QUEUED, now()), else_=jobs.c.finished_at),
        cancel_requested=True,
    )
    row = rows[0] if rows else one(connection, tenant, job_id)
    if row.status in (Status.RUNNING, Status.CANCELED):
        return row
    raise Conflict(f"the job has {row.status} already", code="already_finished")


def retry(
    connection: Connection, tenant: str, job_id: str, *, quotas: Quotas, traceparent: str | None
) -> Row[Any]:
    """A new series of attempts of a failed, canceled or expired job, from its start."""
    before = one(connection, tenant, job_id)
    parts.refuse_part(before)
    if before.kind in PARENTS:
        return _retry_parts(connection, before, quotas)
    if before.status not in UNSUCCESSFUL:
        raise _not_to_retry(before.status)
    request = job_row(before).request
    needs = admit(connection, tenant, pictures(request), defaults=quotas, max_queued=None)
    names = "progress result error metrics worker checkpoint_key started_at finished_at expires_at"
    fresh: dict[str, Any] = dict.fromkeys(names.split())
    rows = change(
        connection,
        _is(tenant, job_id),
        jobs.c.status.in_(UNSUCCESSFUL),
        status=Status.QUEUED,
        cancel_requested=False,
        attempts=0,
        losses=0,
        queued_at=now(),
        deadline_at=None if request.deadline_s is None else now() + request.deadline_s,
        swept=False,
        traceparent=traceparent,
        **fresh,
        **send_in(FIRST_SEND_S),
    )
    if not rows:
        raise _not_to_retry(one(connection, tenant, job_id).status)
    hold(connection, tenant, job_id, needs)
    # Their objects are swept with the other leftovers when the job has ended again.
    _forget_outputs(connection, tenant, job_id)
    return rows[0]


def _retry_parts(connection: Connection, before: Row[Any], quotas: Quotas) -> Row[Any]:
    """The unsuccessful parts again; those that succeeded stay."""
    if before.status not in UNSUCCESSFUL and not parts.any_unsuccessful(connection, before):
        raise _not_to_retry(before.status)
    steering.retry(connection, before, defaults=quotas)
    return one(connection, before.tenant, before.id)


def _not_to_retry(status: str) -> Conflict:
    code = "already_finished" if status == Status.SUCCEEDED else "not_finished"
    return Conflict(f"the job is {status}: only a failed, canceled or expired one can be retried", code=code)


def _forget_outputs(connection: Connection, tenant: str, job_id: str) -> list[str]:
    """Remove the rows of a job's published files; returns the keys of those that are still there."""
    mine = delete(outputs).where(outputs.c.tenant == tenant, outputs.c.job_id == job_id)
    rows = connection.execute(mine.returning(outputs.c.key, outputs.c.size_bytes, outputs.c.gone)).all()
    stored(connection, {tenant: -sum(row.size_bytes for row in rows if not row.gone)})
    return [row.key for row in rows if row.key is not None]


def delete_job(connection: Connection, tenant: str, job_id: str) -> list[str]:
    """Remove a terminal job; returns the keys of its published files. The reaper removes all it wrote."""
    row = connection.execute(select(jobs).where(_is(tenant, job_id)).with_for_update()).one_or_none()
    if row is None:
        raise NotFound(f"there is no job {job_id!r}")
    parts.refuse_part(row)
    if not Status(row.status).terminal:
        raise Conflict(f"the job is {row.status}: cancel it first", code="not_finished")
    if row.kind in PARENTS:
        parts.forget_all(connection, row)
    keys = _forget_outputs(connection, tenant, job_id)
    connection.execute(delete(jobs).where(_is(tenant, job_id)))
    held = (idempotency.c.tenant == tenant) & (idempotency.c.job_id == job_id)
    connection.execute(delete(idempotency).where(held))
    prefix = job_prefix(tenant, job_id)
    connection.execute(insert(removals).values(tenant=tenant, prefix=prefix, created_at=now()))
    return keys


# --- measures --------------------------------------------------------------------------------------------


def depths(connection: Connection) -> dict[str, int]:
    """Without the parts that are held back: they wait for others, not for a worker."""
    waits = QUEUED & ~jobs.c.lane.startswith(HELD, autoescape=True)
    counted = select(jobs.c.lane, func.count()).where(waits).group_by(jobs.c.lane)
    return {lane: count for lane, count in connection.execute(counted)}


def running(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(jobs).where(WORKED_ON)) or 0


def oldest_queued_s(connection: Connection) -> float:
    """Parts of datasets and batches wait for hours by design, and are left out."""
    alone = QUEUED & jobs.c.parent.is_(None)
    return connection.scalar(select(now() - func.min(jobs.c.queued_at)).where(alone)) or 0.0
