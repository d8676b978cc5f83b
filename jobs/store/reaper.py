"""What the reaper does: bring back what has gone silent, end what is overdue, remove what is not wanted.

Any replica may run it, several at a time: rows that another reaper holds are passed over.
"""

import json
from collections import Counter
from collections.abc import Collection, Sequence

from sqlalchemy import Connection, and_, case, delete, literal_column, or_, select, update

from jobs.lanes import LANES, is_bulk
from jobs.schemas import JobError, Kind, Status
from jobs.store.change import FIRST_SEND_S, LONGEST_SEND_S, QUEUED, RUNNING, change, locked_ids
from jobs.store.database import now
from jobs.store.gateway import IDEMPOTENCY_S
from jobs.store.quota import stored
from jobs.store.rows import Due, Leftovers, job_prefix
from jobs.store.tables import idempotency, jobs, outputs, removals
from jobs.store.worker import Limits, ended, lose

_LAPSED = and_(RUNNING, jobs.c.lease_until < now())


def due_for_send(
    connection: Connection, limit: int, *, empty_lanes: Collection[str], told_lanes: Collection[str]
) -> list[Due]:
    """Queued jobs whose next send is due, longest waiting first.

    In a lane that is empty at the broker a waiting job's message has been lost, so there it is due even when
    its back-off says later. In one that has a message for each that waits, whose they ever are, none is due
    that was sent before: what is taken for a message is the job whose turn it is.
    """
    # Shards wait because workers have enough of them: they are told of at the times of their back-off only.
    lanes = [lane for lane in empty_lanes if not is_bulk(lane)]
    lost = and_(jobs.c.lane.in_(lanes), jobs.c.sent_at < now() - FIRST_SEND_S)
    again = and_(jobs.c.sends > 0, jobs.c.lane.in_(told_lanes))
    due = and_(or_(jobs.c.next_send_at <= now(), lost), jobs.c.lane.in_(LANES), ~again)
    wanted = select(jobs.c.id, jobs.c.kind, jobs.c.lane).where(QUEUED, due)
    return [Due(*row) for row in connection.execute(wanted.order_by(jobs.c.queued_at).limit(limit))]


def mark_sent(connection: Connection, job_ids: Sequence[str]) -> None:
    """The next sends of these jobs are 3 s, 6 s … 5 min away."""
    doubled = literal_column("1").bitwise_lshift(jobs.c.sends)
    wait = case((jobs.c.sends > 6, LONGEST_SEND_S), else_=doubled * FIRST_SEND_S)
    values = {"sends": jobs.c.sends + 1, "sent_at": now(), "next_send_at": now() + wait}
    connection.execute(update(jobs).where(jobs.c.id.in_(job_ids), QUEUED).values(values))


def expire_deadlines(connection: Connection, limit: int) -> int:
    """queued -> expired, where the deadline passed before any claim."""
    overdue = [QUEUED, jobs.c.deadline_at < now(), jobs.c.started_at.is_(None)]
    ids = locked_ids(connection, *overdue, limit=limit)
    return len(change(connection, jobs.c.id.in_(ids), *overdue, **ended(Status.EXPIRED)))


def reap_leases(connection: Connection, limit: int, limits: Limits) -> int:
    """Jobs whose worker fell silent: queued again, failed when that happened too often."""
    wanted = [_LAPSED, ~jobs.c.cancel_requested]
    ids = locked_ids(connection, *wanted, limit=limit)
    return len(lose(connection, [jobs.c.id.in_(ids), *wanted], limits=limits))


def cancel_orphans(connection: Connection, limit: int) -> int:
    """Jobs to be canceled whose worker will not do it any more."""
    wanted = [_LAPSED, jobs.c.cancel_requested]
    ids = locked_ids(connection, *wanted, limit=limit)
    return len(change(connection, jobs.c.id.in_(ids), *wanted, **ended(Status.CANCELED)))


def fail_exhausted(connection: Connection, limit: int, limits: Limits) -> int:
    """Queued jobs that no claim would take: the limits were lowered after they were put back."""
    wanted = [QUEUED, jobs.c.attempts >= limits.max_attempts]
    ids = locked_ids(connection, *wanted, limit=limit)
    error = JobError(code="job_failed", detail="the job was tried too often")
    return len(change(connection, jobs.c.id.in_(ids), *wanted, **ended(Status.FAILED, error)))


# --- objects ---------------------------------------------------------------------------------------------


def sweep_artifacts(connection: Connection, limit: int) -> list[str]:
    """Keys to remove because their retention has ended. From now on their rows say `gone`."""
    due = and_(~outputs.c.gone, outputs.c.expires_at < now())
    swept = update(outputs).where(due).values(gone=True)
    sizes: Counter[str] = Counter()
    for tenant, size in connection.execute(swept.returning(outputs.c.tenant, outputs.c.size_bytes)):
        sizes[tenant] -= size
    stored(connection, sizes)
    removed = select(outputs.c.key).where(outputs.c.gone, outputs.c.key.is_not(None)).limit(limit)
    return [key for key in connection.scalars(removed) if key is not None]


def forget_keys(connection: Connection, keys: Sequence[str]) -> None:
    """These objects are removed."""
    connection.execute(update(outputs).where(outputs.c.gone, outputs.c.key.in_(keys)).values(key=None))


def leftovers(connection: Connection, limit: int, limits: Limits) -> list[Leftovers]:
    """Jobs that ended a while ago and may have written objects that no row names."""
    wanted = [~jobs.c.swept, jobs.c.finished_at < now() - limits.leftovers_s]
    found = connection.execute(select(jobs.c.tenant, jobs.c.id).where(*wanted).limit(limit)).all()
    kept: dict[str, set[str]] = {row.id: set() for row in found}
    for row in connection.execute(select(outputs.c.job_id, outputs.c.key).where(outputs.c.job_id.in_(kept))):
        if row.key is not None:
            kept[row.job_id].add(row.key)
    uploads = _unshared_uploads(connection)
    return [Leftovers(t, i, job_prefix(t, i), frozenset(kept[i]), uploads.get(i)) for t, i in found]


def _unshared_uploads(connection: Connection) -> dict[str, str]:
    """By job: the upload of each import that is not swept, where no other such one reads the same file."""
    readers = jobs.c.kind.in_((Kind.IMPORT, Kind.DISCOVER))  # of the latter those that read a file
    rows = connection.execute(select(jobs.c.id, jobs.c.request).where(readers, ~jobs.c.swept))
    inputs = {row.id: json.loads(row.request)["input"] for row in rows}
    uploads = {job_id: given["upload"] for job_id, given in inputs.items() if "upload" in given}
    users = Counter(uploads.values())
    return {job_id: key for job_id, key in uploads.items() if users[key] == 1}


def mark_swept(connection: Connection, job_id: str) -> None:
    ended_ = jobs.c.finished_at.is_not(None)
    connection.execute(
        update(jobs).where(jobs.c.id == job_id, ended_).values(swept=True, checkpoint_key=None)
    )


def prefixes_to_remove(connection: Connection, limit: int) -> list[tuple[str, str]]:
    """(tenant, prefix) of deleted jobs whose objects may still be there."""
    return [(t, p) for t, p in connection.execute(select(removals.c.tenant, removals.c.prefix).limit(limit))]


def forget_prefix(connection: Connection, tenant: str, prefix: str) -> None:
    connection.execute(delete(removals).where(removals.c.tenant == tenant, removals.c.prefix == prefix))


def forget_idempotency(connection: Connection) -> int:
    """Drop keys that are past their day."""
    return connection.execute(
        delete(idempotency).where(idempotency.c.created_at < now() - IDEMPOTENCY_S)
    ).rowcount
