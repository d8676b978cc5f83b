"""The one way in which a job changes: a conditional UPDATE that says which rows it changed.

No row is an ordinary answer: somebody else was first. What callers can see raises `seq`; a transition also
leaves an event, in the same transaction, and a terminal one settles what the job held.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, literal_column, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from jobs.lanes import lane_of
from jobs.schemas import PAYLOAD_VERSION, JobRequest, Status
from jobs.store import outbox
from jobs.store.database import now
from jobs.store.quota import settle
from jobs.store.tables import events, jobs

FIRST_SEND_S = 3.0  # a queued job that nobody claims is sent again after 3 s, 6 s … 5 min
LONGEST_SEND_S = 300.0


Change = ReturningUpdate[Any]


def change(connection: Connection, *where: ColumnElement[bool], **values: Any) -> Sequence[Row[Any]]:
    """Set `values` where all of `where` holds; returns the changed jobs. A new status is an event."""
    statement = changing(*where, **values)
    if "status" in values or "cancel_requested" in values:
        return transition(connection, statement)
    return connection.execute(statement).all()


def changing(*where: ColumnElement[bool], **values: Any) -> Change:
    """The statement of `change`. To build it takes several times as long as to run it, so what happens to
    every job has it built once, with bind parameters.
    """
    return update(jobs).where(*where).values(seq=jobs.c.seq + 1, **values).returning(jobs)


def transition(
    connection: Connection,
    statement: Change,
    given: Mapping[str, Any] | None = None,
    *,
    made: int = 0,
    outputs: Sequence[str] = (),
) -> Sequence[Row[Any]]:
    """Run a statement that sets a status. `made`, `outputs`: how many pictures, and which files, the job
    publishes with it.
    """
    rows = connection.execute(statement, given or {}).all()
    record(connection, rows, outputs)
    settle(connection, rows, made)
    return rows


def record(connection: Connection, rows: Sequence[Row[Any]], outputs: Sequence[str] = ()) -> None:
    """Write what the jobs have just become as events, and the webhooks that tell of it and of new files."""
    if rows:
        written = [_event(row) for row in rows]
        connection.execute(_WRITE, written)
        outbox.tell(connection, rows, [event["body"] for event in written], outputs)


_WRITE = insert(events).values(at=now())


def _event(row: Row[Any]) -> dict[str, Any]:
    body = {
        "status": row.status,
        "cancel_requested": row.cancel_requested,
        "attempts": row.attempts,
        "error": row.error,
    }
    return {
        "tenant": row.tenant,
        "job_id": row.id,
        "seq": row.seq,
        "type": "status",
        "body": body,
    }


def locked_ids(connection: Connection, *where: ColumnElement[bool], limit: int) -> list[str]:
    """Ids of jobs that fit, locked until the transaction ends and passed over by other reapers.

    SQLite has no row locks and needs none: the transaction holds the only write lock.
    """
    statement = select(jobs.c.id).where(*where).limit(limit).with_for_update(skip_locked=True)
    return list(connection.scalars(statement))


def new_row(tenant: str, job_id: str, request: JobRequest, body: str) -> dict[str, Any]:
    """Values of a job that waits, but for `new_times`. `body`: the request as JSON."""
    return {
        "tenant": tenant,
        "id": job_id,
        "kind": request.kind,
        "model": request.model,
        "priority": request.priority,
        "lane": lane_of(request),
        "payload_version": PAYLOAD_VERSION,
        "request": body,
        "metadata": request.metadata,
        "webhook": request.webhook and request.webhook.model_dump(mode="json"),
        "status": Status.QUEUED,
        "seq": 1,
        "cancel_requested": False,
        "fence": 0,
        "attempts": 0,
        "losses": 0,
        "swept": False,
        "sends": 0,
    }


def new_times(at: Any, deadline_s: Any) -> dict[str, Any]:
    """Those of a job that waits from `at`, a time or an expression."""
    return {
        "created_at": at,
        "queued_at": at,
        "deadline_at": None if deadline_s is None else at + deadline_s,
        # The gateway sends it at once; the reaper looks whether that worked.
        "sent_at": at + FIRST_SEND_S,
        "next_send_at": at + FIRST_SEND_S,
    }


def send_in(seconds: float | ColumnElement[float]) -> dict[str, Any]:
    """Values that start a job's series of sends, `seconds` from now."""
    return {"sends": 0, "sent_at": now() + seconds, "next_send_at": now() + seconds}


# Literals, so that the partial indexes serve them.
QUEUED = jobs.c.status == literal_column(f"'{Status.QUEUED}'")
RUNNING = jobs.c.status == literal_column(f"'{Status.RUNNING}'")
WORKED_ON = RUNNING & jobs.c.worker.is_not(None)  # not what is done in parts
