"""A tenant's webhooks: where it wants to be told, of what, and with which salt that is signed."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, select, text, update

from jobs.errors import Conflict, NotFound
from jobs.ids import new_webhook_id
from jobs.store.database import now, upsert
from jobs.store.deliveries import end_pending
from jobs.store.outbox import OF_JOBS
from jobs.store.tables import webhooks

MAX_WEBHOOKS = 20  # of one tenant


@dataclass(frozen=True)
class WebhookRow:
    """`url` is None for `jobs`, the row that signs what jobs name for themselves."""

    tenant: str
    id: str
    url: str | None
    events: tuple[str, ...]
    description: str
    salt: str
    previous_salt: str | None
    previous_until: float | None
    failing_since: float | None
    disabled_at: float | None
    disabled_reason: str | None
    created_at: float


def _row(row: Row[Any]) -> WebhookRow:
    return WebhookRow(**{**row._mapping, "events": tuple(row.events)})


def _is(tenant: str, webhook_id: str) -> ColumnElement[bool]:
    return and_(webhooks.c.tenant == tenant, webhooks.c.id == webhook_id)


def add(
    connection: Connection, tenant: str, *, url: str, events: Sequence[str], description: str
) -> WebhookRow:
    """Raises Conflict `too_many_webhooks`."""
    if connection.dialect.name == "postgresql":  # additions take turns, so that the count is exact
        connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtext(:lock))"), {"lock": f"webhooks of {tenant}"}
        )
    mine = and_(webhooks.c.tenant == tenant, webhooks.c.url.is_not(None))
    if (connection.scalar(select(func.count()).select_from(webhooks).where(mine)) or 0) >= MAX_WEBHOOKS:
        raise Conflict(f"There are {MAX_WEBHOOKS} webhooks, and no more may be.", code="too_many_webhooks")
    values = _new(tenant, new_webhook_id()) | {
        "url": url,
        "events": list(events),
        "description": description,
    }
    return _row(connection.execute(insert(webhooks).values(values).returning(webhooks)).one())


def ensure_of_jobs(connection: Connection, tenant: str) -> None:
    """Make the row `jobs` unless there is one."""
    statement = upsert(connection, webhooks).values(_new(tenant, OF_JOBS))
    connection.execute(statement.on_conflict_do_nothing())


def _new(tenant: str, webhook_id: str) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "id": webhook_id,
        "events": [],
        "description": "",
        "salt": secrets.token_hex(32),
        "created_at": now(),
    }


def one(connection: Connection, tenant: str, webhook_id: str) -> WebhookRow:
    row = connection.execute(select(webhooks).where(_is(tenant, webhook_id))).one_or_none()
    if row is None:
        raise NotFound("There is no such webhook.")
    return _row(row)


def lock(connection: Connection, tenant: str, webhook_id: str) -> None:
    """First of all, where a transaction changes an endpoint and its deliveries: so none waits in a ring."""
    held = select(webhooks.c.id).where(_is(tenant, webhook_id)).with_for_update(key_share=True)
    connection.execute(held).all()


def every(connection: Connection, tenant: str) -> list[WebhookRow]:
    """Oldest first; without `jobs`."""
    wanted = select(webhooks).where(webhooks.c.tenant == tenant, webhooks.c.url.is_not(None))
    return [_row(row) for row in connection.execute(wanted.order_by(webhooks.c.created_at, webhooks.c.id))]


def alter(connection: Connection, tenant: str, webhook_id: str, **values: Any) -> WebhookRow:
    """Set `values`. `enabled` switches it on, forgetting its failures, or off, with what waits for it."""
    enabled = values.pop("enabled", None)
    if enabled is True:
        values |= {"disabled_at": None, "disabled_reason": None, "failing_since": None}
    if enabled is False:
        disable(connection, tenant, webhook_id, "owner")
    if values:
        connection.execute(update(webhooks).where(_is(tenant, webhook_id)).values(values))
    return one(connection, tenant, webhook_id)


def rotate(connection: Connection, tenant: str, webhook_id: str, *, overlap_s: float) -> WebhookRow:
    """A new salt; the one before signs too for `overlap_s`."""
    values = {
        "salt": secrets.token_hex(32),
        "previous_salt": webhooks.c.salt,
        "previous_until": now() + overlap_s,
    }
    connection.execute(update(webhooks).where(_is(tenant, webhook_id)).values(values))
    return one(connection, tenant, webhook_id)


def remove(connection: Connection, tenant: str, webhook_id: str) -> None:
    """With its deliveries."""
    if not connection.execute(delete(webhooks).where(_is(tenant, webhook_id))).rowcount:
        raise NotFound("There is no such webhook.")


def must_be_enabled(connection: Connection, tenant: str, webhook_id: str) -> None:
    """Raises NotFound, and Conflict `webhook_disabled`."""
    if one(connection, tenant, webhook_id).disabled_at is not None:
        raise Conflict("The webhook is disabled: enable it first.", code="webhook_disabled")


def disable(connection: Connection, tenant: str, webhook_id: str, reason: str) -> bool:
    """Take no more for it, and give up what waits; False when it was disabled before."""
    enabled = and_(_is(tenant, webhook_id), webhooks.c.disabled_at.is_(None))
    values = {"disabled_at": now(), "disabled_reason": reason}
    if not connection.execute(update(webhooks).where(enabled).values(values)).rowcount:
        return False
    end_pending(connection, tenant, webhook_id)
    return True
