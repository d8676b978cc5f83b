"""Deliveries: lease what is due, settle an attempt, read the log, send again, forget.

A lease is `next_at` moved ahead: if its dispatcher dies, the row is simply due again. Every lease raises
`fence`, and only the holder of the newest settles, so an attempt that comes back late changes nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    case,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)

from jobs.errors import Conflict, NotFound
from jobs.store.database import now
from jobs.store.tables import deliveries, delivery_attempts, webhooks

LEASE_S = 60.0  # an attempt takes 10 s, and the database may be slow
FAILING_S = 5 * 86400.0  # of nothing but failures, after which an endpoint is disabled
_CROWD = 2000  # due deliveries that are looked at for one lease

PENDING = deliveries.c.status == literal_column("'pending'")  # a literal: the partial index serves it
# A subquery: PostgreSQL asks the clock once, and reads of the index only what is due.
_DUE = and_(PENDING, deliveries.c.next_at <= select(now()).scalar_subquery())


@dataclass(frozen=True)
class Leased:
    """A delivery to attempt now. `salts` sign it; `url` is None when its endpoint is disabled."""

    tenant: str
    id: str
    webhook_id: str
    url: str | None
    salts: tuple[str, ...]
    event_id: str
    type: str
    job_id: str | None
    seq: int | None
    body: dict[str, Any]
    happened_at: float
    fence: int
    tries: int
    """With this one."""


@dataclass(frozen=True)
class AttemptRow:
    number: int
    at: float
    duration_ms: int
    status: int | None
    error: str | None


@dataclass(frozen=True)
class DeliveryRow:
    id: str
    webhook_id: str
    url: str | None
    event_id: str
    type: str
    job_id: str | None
    status: Literal["pending", "succeeded", "failed"]
    tries: int
    next_at: float
    error: str | None
    created_at: float
    finished_at: float | None
    attempts: tuple[AttemptRow, ...] = ()


# --- the dispatcher's side -------------------------------------------------------------------------------


def lease(
    connection: Connection, limit: int, *, share: int, busy: Collection[tuple[str, str]]
) -> list[Leased]:
    """Up to `limit` deliveries that are due: at most `share` of one webhook, none of those in `busy`.

    `busy` holds (tenant, webhook): one that answers slowly has its share of the attempts, and not all.
    """
    # More than are wanted: other dispatchers look at the same ones, and what they lock is passed over.
    ids = list(connection.scalars(candidates(4 * limit, share=share, busy=busy)))
    longest = select(deliveries.c.id).where(deliveries.c.id.in_(ids), _DUE).order_by(deliveries.c.next_at)
    free = list(connection.scalars(longest.limit(limit).with_for_update(skip_locked=True))) if ids else []
    if not free:
        return []
    values = {"fence": deliveries.c.fence + 1, "tries": deliveries.c.tries + 1, "next_at": now() + LEASE_S}
    taken = update(deliveries).where(deliveries.c.id.in_(free), _DUE).values(values).returning(deliveries)
    rows = connection.execute(taken).all()
    receivers = _receivers(connection, rows)
    return [_leased(row, receivers[row.tenant, row.webhook_id]) for row in rows]


def candidates(limit: int, *, share: int, busy: Collection[tuple[str, str]]) -> Select[tuple[str]]:
    """Ids, longest due first. Of a crowd only the first rows are looked at; the busy are not among them."""
    receiver = (deliveries.c.tenant, deliveries.c.webhook_id)
    idle = [tuple_(*receiver).not_in(list(busy))] if busy else []
    due = select(deliveries.c.id, deliveries.c.next_at, *receiver).where(_DUE, *idle)
    crowd = due.order_by(deliveries.c.next_at).limit(_CROWD).subquery()
    place = func.row_number().over(
        partition_by=(crowd.c.tenant, crowd.c.webhook_id), order_by=crowd.c.next_at
    )
    ranked = select(crowd.c.id, crowd.c.next_at, place.label("place")).subquery()
    return select(ranked.c.id).where(ranked.c.place <= share).order_by(ranked.c.next_at).limit(limit)


def _receivers(connection: Connection, rows: Sequence[Row[Any]]) -> dict[tuple[str, str], Row[Any]]:
    """The webhook of each, with its `salts` that are valid now."""
    valid = case((webhooks.c.previous_until > now(), webhooks.c.previous_salt))
    wanted = select(webhooks, valid.label("valid_previous")).where(
        webhooks.c.tenant.in_({row.tenant for row in rows}),
        webhooks.c.id.in_({row.webhook_id for row in rows}),
    )
    return {(row.tenant, row.id): row for row in connection.execute(wanted)}


def _leased(row: Row[Any], receiver: Row[Any]) -> Leased:
    previous = () if receiver.valid_previous is None else (receiver.valid_previous,)
    names = "tenant id webhook_id event_id type job_id seq body happened_at fence tries".split()
    return Leased(
        **{name: row._mapping[name] for name in names},
        url=None if receiver.disabled_at is not None else row.url or receiver.url,
        salts=(receiver.salt, *previous),
    )


def settle(
    connection: Connection,
    leased: Leased,
    *,
    succeeded: bool,
    retry_in_s: float | None,
    duration_ms: int,
    status: int | None,
    error: str | None,
) -> bool:
    """Record what came of the attempt. Without `retry_in_s`, a failure is the end. False: it is stale."""
    over = succeeded or retry_in_s is None
    values = {
        "status": "succeeded" if succeeded else "failed" if over else "pending",
        "error": error,
        "next_at": now() + (retry_in_s or 0.0),
        "finished_at": now() if over else None,
    }
    mine = and_(_is(leased.tenant, leased.id), deliveries.c.fence == leased.fence, PENDING)
    if not connection.execute(update(deliveries).where(mine).values(values)).rowcount:
        return False
    attempt = {
        "tenant": leased.tenant,
        "delivery_id": leased.id,
        "number": leased.fence,
        "at": now() - duration_ms / 1000,
        "duration_ms": duration_ms,
        "status": status,
        "error": error,
    }
    connection.execute(insert(delivery_attempts).values(attempt))
    return True


def note_health(connection: Connection, leased: Leased, *, succeeded: bool) -> bool:
    """Keep since when the endpoint has only failed; True when that is too long."""
    receiver = and_(webhooks.c.tenant == leased.tenant, webhooks.c.id == leased.webhook_id)
    if succeeded:
        failed_before = and_(receiver, webhooks.c.failing_since.is_not(None))
        connection.execute(update(webhooks).where(failed_before).values(failing_since=None))
        return False
    first = and_(receiver, webhooks.c.failing_since.is_(None))
    connection.execute(update(webhooks).where(first).values(failing_since=now()))
    too_long = select(webhooks.c.id).where(receiver, webhooks.c.failing_since < now() - FAILING_S)
    return connection.execute(too_long).first() is not None


def end_pending(connection: Connection, tenant: str, webhook_id: str) -> None:
    """What waits for a disabled endpoint has failed; it can be sent again."""
    waiting = and_(deliveries.c.tenant == tenant, deliveries.c.webhook_id == webhook_id, PENDING)
    values = {"status": "failed", "error": "disabled", "finished_at": now()}
    connection.execute(update(deliveries).where(waiting).values(values))


# --- the tenant's side -----------------------------------------------------------------------------------


def _is(tenant: str, delivery_id: str) -> ColumnElement[bool]:
    return and_(deliveries.c.tenant == tenant, deliveries.c.id == delivery_id)


def one(connection: Connection, tenant: str, delivery_id: str) -> DeliveryRow:
    rows = connection.execute(select(deliveries).where(_is(tenant, delivery_id))).all()
    if not rows:
        raise NotFound("There is no such delivery.")
    return _with_attempts(connection, tenant, rows)[0]


def page(
    connection: Connection,
    tenant: str,
    webhook_id: str,
    *,
    status: Sequence[str],
    after: tuple[float, str] | None,
    limit: int,
) -> list[DeliveryRow]:
    """Newest first, from behind `after` = (created_at, id) of a page's last row."""
    wanted = [deliveries.c.tenant == tenant, deliveries.c.webhook_id == webhook_id]
    if status:
        wanted.append(deliveries.c.status.in_(status))
    if after is not None:
        at, delivery_id = after
        older = or_(
            deliveries.c.created_at < at, and_(deliveries.c.created_at == at, deliveries.c.id < delivery_id)
        )
        wanted += [deliveries.c.created_at <= at, older]  # the first alone bounds the walk of the index
    order = (deliveries.c.created_at.desc(), deliveries.c.id.desc())
    rows = connection.execute(select(deliveries).where(*wanted).order_by(*order).limit(limit)).all()
    return _with_attempts(connection, tenant, rows)


def _with_attempts(connection: Connection, tenant: str, rows: Sequence[Row[Any]]) -> list[DeliveryRow]:
    found: dict[str, list[AttemptRow]] = {row.id: [] for row in rows}
    log = delivery_attempts.c
    wanted = select(delivery_attempts).where(log.tenant == tenant, log.delivery_id.in_(found))
    for row in connection.execute(wanted.order_by(log.number)) if rows else ():
        found[row.delivery_id].append(AttemptRow(row.number, row.at, row.duration_ms, row.status, row.error))
    return [_row(row, found[row.id]) for row in rows]


def _row(row: Row[Any], attempts: Sequence[AttemptRow]) -> DeliveryRow:
    names = "id webhook_id url event_id type job_id status tries next_at error created_at finished_at".split()
    return DeliveryRow(**{name: row._mapping[name] for name in names}, attempts=tuple(attempts))


def resend(connection: Connection, tenant: str, delivery_id: str) -> DeliveryRow:
    """A new series of attempts, now, under the same event id. Raises Conflict `not_finished`."""
    over = and_(_is(tenant, delivery_id), ~PENDING)
    values = {"status": "pending", "tries": 0, "next_at": now(), "error": None, "finished_at": None}
    if not connection.execute(update(deliveries).where(over).values(values)).rowcount:
        raise Conflict("The delivery is still being tried.", code="not_finished")
    return one(connection, tenant, delivery_id)


def insert_one(connection: Connection, values: dict[str, Any]) -> DeliveryRow:
    return _row(connection.execute(insert(deliveries).values(values).returning(deliveries)).one(), ())


# --- the reaper's side, and measures ---------------------------------------------------------------------


def forget(connection: Connection, kept_s: float, limit: int) -> int:
    """Drop what ended that long ago, with its attempts."""
    ended = and_(deliveries.c.finished_at.is_not(None), deliveries.c.finished_at < now() - kept_s)
    old = select(deliveries.c.id).where(ended).limit(limit)
    return connection.execute(delete(deliveries).where(deliveries.c.id.in_(old), ended)).rowcount


def waiting(connection: Connection) -> tuple[int, float]:
    """How many wait for an attempt, and how long the longest has been due (0: none is)."""
    count = connection.scalar(select(func.count()).select_from(deliveries).where(PENDING)) or 0
    late_s = connection.scalar(select(now() - func.min(deliveries.c.next_at)).where(PENDING)) or 0.0
    return count, max(0.0, late_s)
