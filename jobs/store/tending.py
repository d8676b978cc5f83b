"""What a job that is done in parts needs while it runs; the reaper asks for it again and again.

Its parts are made, as many at a time as are wanted; what has ended is counted; the last part tells of the
others; and the parent ends in the transaction that counted them once more. It rests while its tenant has used
up what it may.
"""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, select, update

from jobs.schemas import PARENTS, JobError, Kind, Progress, Status
from jobs.store import parts, quota
from jobs.store.change import QUEUED, RUNNING, change
from jobs.store.database import now
from jobs.store.parts import AT_ONCE, Count, family_of, of
from jobs.store.quota import Quotas
from jobs.store.tables import families, jobs

WINDOW = 256  # parts that wait at a time, or twice as many as run, or what ends in
AHEAD_S = 15.0  # some rounds of the reaper: between two of them workers must not run out of lines
RECENT_S = 300.0  # what the rate is measured over
HANDING_IN_S = 600.0  # a batch whose lines have not all come by then was broken off


def parents(connection: Connection) -> list[tuple[str, str]]:
    """(tenant, id) of those that are not over."""
    wanted = select(jobs.c.tenant, jobs.c.id).where(RUNNING, jobs.c.kind.in_(PARENTS))
    return [(tenant, job_id) for tenant, job_id in connection.execute(wanted)]


def tend(connection: Connection, tenant: str, job_id: str, defaults: Quotas) -> bool:
    """Do what the parent needs now; whether that was anything. Whoever else tends it is not waited for."""
    row = connection.execute(select(jobs).where(jobs.c.tenant == tenant, jobs.c.id == job_id)).one_or_none()
    if row is None or row.status != Status.RUNNING or row.kind not in PARENTS:
        return False
    mine = select(families).where(family_of(row))
    family = connection.execute(mine.with_for_update(skip_locked=True)).one_or_none()
    if family is None:
        return False
    done = _move(connection, row, family, defaults)
    family, count = connection.execute(mine).one(), Count(connection, row)
    complete = family.made >= family.parts or row.cancel_requested or _broken_off(connection, row)
    if complete and not count.open:
        return _close(connection, row, family, count) or done
    return _tell(connection, row, family, count) or done


def _move(connection: Connection, row: Row[Any], family: Row[Any], defaults: Quotas) -> bool:
    if row.cancel_requested or (family.made < family.parts and _broken_off(connection, row)):
        return _cancel_parts(connection, row)
    family = _heed_quota(connection, row, family, defaults)
    if family.paused:
        return parts.hold_back(connection, row) > 0
    return _have_enough_wait(connection, row, family)


def _cancel_parts(connection: Connection, row: Row[Any]) -> bool:
    """Queued parts are canceled, running ones flagged."""
    some = select(jobs.c.id).where(of(row), QUEUED).limit(10 * AT_ONCE)
    ids = list(connection.scalars(some))
    ended: dict[str, Any] = {"status": Status.CANCELED, "finished_at": now(), "cancel_requested": True}
    canceled = change(connection, jobs.c.id.in_(ids), QUEUED, **ended) if ids else ()
    flagged = change(connection, of(row), RUNNING, ~jobs.c.cancel_requested, cancel_requested=True)
    return bool(canceled or flagged)


def _heed_quota(connection: Connection, row: Row[Any], family: Row[Any], defaults: Quotas) -> Row[Any]:
    if family.paused == "caller":
        return family
    spent = quota.spent(quota.used(connection, row.tenant, defaults))
    wanted = "quota" if spent else None
    return family if wanted == family.paused else parts.set_paused(connection, row, wanted)


def _have_enough_wait(connection: Connection, row: Row[Any], family: Row[Any]) -> bool:
    """Those that were held first, then new ones."""
    if row.kind == Kind.BATCH and family.made < family.parts:
        return False
    count = Count(connection, row)
    ending = int(AHEAD_S * _rate(connection, row, func.count()))
    wanted = max(WINDOW, 2 * count.parts[Status.RUNNING], ending) - count.waiting
    if wanted <= 0:
        return False
    freed = parts.let_go(connection, row, wanted) if count.held else 0
    made = 0
    if row.kind == Kind.DATASET and freed < wanted:
        made = parts.make_shards(connection, row, family, wanted - freed)
    return freed + made > 0


def _broken_off(connection: Connection, row: Row[Any]) -> bool:
    """Whether the lines of a batch will not all come: its gateway ended while it took them."""
    old = row.kind == Kind.BATCH and connection.scalar(select(now() - row.created_at > HANDING_IN_S))
    return bool(old)


# --- progress --------------------------------------------------------------------------------------------


def _tell(connection: Connection, row: Row[Any], family: Row[Any], count: Count) -> bool:
    """Write how far it is, where that has changed."""
    progress = _progress(connection, row, family, count).model_dump(exclude_none=True)
    if progress == row.progress:
        return False
    mine = and_(jobs.c.tenant == row.tenant, jobs.c.id == row.id, RUNNING)
    changed = update(jobs).where(mine).values(progress=progress, seq=jobs.c.seq + 1)
    return connection.execute(changed).rowcount > 0


def _progress(connection: Connection, row: Row[Any], family: Row[Any], count: Count) -> Progress:
    """In pictures for a dataset, in lines for a batch."""
    dataset = row.kind == Kind.DATASET
    ended = count.parts[Status.SUCCEEDED] + count.unsuccessful
    total, made = family.parts, float(ended)
    if dataset:
        given = parts.dataset_of(row).input
        total = given.samples * given.pictures_each
        made = count.pictures[Status.SUCCEEDED] + _under_way(connection, row)
    rate = _rate(connection, row, func.sum(jobs.c.size) if dataset else func.count())
    words = [f"{ended} of {family.parts} {'shards' if dataset else 'lines'}"]
    words += [f"{rate:.3g} {'pictures' if dataset else 'lines'}/s"] if rate else []
    words += [f"{count.unsuccessful} failed"] if count.unsuccessful else []
    words += {"caller": ["paused"], "quota": ["paused: the quota is used up"]}.get(family.paused, [])
    return Progress(
        value=round(min(1.0, made / total), 4),
        step=int(made),
        steps=total,
        message=", ".join(words),
        eta_s=round((total - made) / rate, 1) if rate and not family.paused else None,
    )


def _under_way(connection: Connection, row: Row[Any]) -> float:
    """Pictures that running shards have made so far."""
    running = select(jobs.c.size, jobs.c.progress).where(of(row), RUNNING)
    return sum(size * (progress or {}).get("value", 0.0) for size, progress in connection.execute(running))


def _rate(connection: Connection, row: Row[Any], made: ColumnElement[int]) -> float:
    """What succeeded a second, over the last minutes, or since the first of it began where that is less."""
    recent = and_(of(row), jobs.c.status == Status.SUCCEEDED, jobs.c.finished_at > now() - RECENT_S)
    asked = select(made, func.min(jobs.c.started_at), now()).where(recent)
    amount, first, at = connection.execute(asked).one()
    return float(amount) / max(at - max(first, at - RECENT_S), 1.0) if amount else 0.0


# --- the end ---------------------------------------------------------------------------------------------


def _close(connection: Connection, row: Row[Any], family: Row[Any], count: Count) -> bool:
    """Have the summary written, and end the parent after it."""
    summary = parts.summary_of(connection, row)
    if summary is None and (count.parts[Status.SUCCEEDED] or row.kind == Kind.BATCH):
        parts.make_summary(connection, row)
        return True
    if summary is not None and not Status(summary.status).terminal:
        return False
    status, error = _verdict(row, family, count, summary)
    done = change(
        connection,
        and_(jobs.c.tenant == row.tenant, jobs.c.id == row.id, RUNNING),
        status=status,
        error=error and error.model_dump(),
        finished_at=now(),
        progress=_progress(connection, row, family, count).model_dump(exclude_none=True, exclude={"eta_s"}),
        result=summary.result if summary is not None else None,
        metrics=_metrics(connection, row),
    )
    return bool(done)


def _verdict(
    row: Row[Any], family: Row[Any], count: Count, summary: Row[Any] | None
) -> tuple[Status, JobError | None]:
    """A dataset has succeeded when all of it is there; a batch when its lines have ended, however each."""
    if row.cancel_requested and count.parts[Status.SUCCEEDED] < family.parts:
        return Status.CANCELED, None
    if family.made < family.parts:
        return Status.FAILED, JobError(code="internal_error", detail="The lines did not all come.")
    if row.kind == Kind.DATASET and count.unsuccessful:
        detail = (
            f"{count.unsuccessful} of {family.parts} shards did not succeed. GET /v1/jobs?parent={row.id}"
            "&status=failed says why; POST …/retry makes them again, and only them."
        )
        return Status.FAILED, JobError(code="parts_failed", detail=detail)
    if summary is not None and summary.status != Status.SUCCEEDED:
        known = summary.error or {"code": "internal_error", "detail": "The summary was not written."}
        return Status.FAILED, JobError(**known)
    return Status.SUCCEEDED, None


def _metrics(connection: Connection, row: Row[Any]) -> dict[str, float]:
    """Device time is the sum over the parts."""
    measured = select(jobs.c.metrics).where(of(row), jobs.c.metrics.is_not(None))
    device_ms = sum(metrics.get("device_ms", 0) for metrics in connection.scalars(measured))
    run_s = connection.scalar(select(now() - row.started_at)) or 0.0
    return {"run_ms": round(1000 * run_s), "device_ms": round(device_ms)}
