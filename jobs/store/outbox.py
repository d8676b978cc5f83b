"""The outbox: what receivers are to be told, written in the transaction of the change that it tells of.

So a state change and its webhooks are one thing: either both are recorded or neither, and a crash between the
commit and the delivery loses nothing. The dispatcher delivers (`jobs.store.deliveries`).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select

from jobs.ids import new_delivery_id, new_event_id
from jobs.schemas import Status
from jobs.store.database import now
from jobs.store.tables import deliveries, webhooks

OF_JOBS = "jobs"  # the webhook row that stands for those that jobs name for themselves
_AT_ONCE = 500  # rows of one INSERT: databases bound its parameters


@dataclass(frozen=True)
class Happening:
    """Something that receivers may want to know of `row`, a job as it has just become."""

    row: Row[Any]
    name: str  # started, output or finished
    body: Mapping[str, Any]


def tell(
    connection: Connection,
    rows: Sequence[Row[Any]],
    bodies: Sequence[Mapping[str, Any]],
    outputs: Sequence[str],
) -> None:
    """Write the deliveries of these transitions, and of files that each publishes with it; `bodies` are those
    of their events.
    """
    found = [
        Happening(row, name, body) for row, body in zip(rows, bodies, strict=True) if (name := _name(row))
    ]
    found += [Happening(row, "output", {"output": output}) for row in rows for output in outputs]
    _write(connection, found)


def _name(row: Row[Any]) -> str | None:
    if Status(row.status).terminal:
        return "finished"
    # A claim that goes on with a lost attempt, or tries again, is no start.
    first = row.status == Status.RUNNING and row.attempts == 1 and row.losses == 0
    return "started" if first and not row.cancel_requested else None


def _write(connection: Connection, happenings: Sequence[Happening]) -> None:
    """One delivery for each happening and receiver that wants it; parts of a job are not told of."""
    happenings = [happening for happening in happenings if happening.row.parent is None]
    if not happenings:
        return
    endpoints = _endpoints(connection, {happening.row.tenant for happening in happenings})
    rows = (
        _delivery(happening, event_id, webhook_id, url)
        for happening, event_id in ((happening, new_event_id()) for happening in happenings)
        for webhook_id, url in _receivers(happening, endpoints)
    )
    while batch := list(islice(rows, _AT_ONCE)):
        connection.execute(insert(deliveries).values(batch))


def _endpoints(connection: Connection, tenants: Iterable[str]) -> Mapping[str, Sequence[Row[Any]]]:
    """The endpoints by tenant that take anything now.

    Locked, so that none is removed before its deliveries are written: that would fail the job's own change.
    """
    found: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(_OPEN, {"of": list(tenants)}):
        found[row.tenant].append(row)
    return found


_OPEN = (
    select(webhooks)
    .where(
        webhooks.c.tenant.in_(bindparam("of", expanding=True)),
        webhooks.c.disabled_at.is_(None),
        webhooks.c.url.is_not(None),
    )
    .order_by(webhooks.c.tenant, webhooks.c.id)
    .with_for_update(read=True, key_share=True)
)


def _receivers(
    happening: Happening, endpoints: Mapping[str, Sequence[Row[Any]]]
) -> Iterator[tuple[str, str | None]]:
    """(webhook, URL) of whoever wants it; an endpoint's URL is looked up when it is sent."""
    own = happening.row.webhook
    if own and happening.name in own["events"]:
        yield OF_JOBS, own["url"]
    for endpoint in endpoints.get(happening.row.tenant, ()):
        if happening.name in endpoint.events:
            yield endpoint.id, None


def _delivery(happening: Happening, event_id: str, webhook_id: str, url: str | None) -> dict[str, Any]:
    row = happening.row
    about = {"job_id": row.id, "seq": row.seq, "body": dict(happening.body), "url": url}
    return new_delivery(row.tenant, webhook_id, event_id, f"job.{happening.name}") | about


def new_delivery(tenant: str, webhook_id: str, event_id: str, type_: str) -> dict[str, Any]:
    """A delivery about nothing in particular, due now."""
    return {
        "tenant": tenant,
        "id": new_delivery_id(),
        "webhook_id": webhook_id,
        "event_id": event_id,
        "type": type_,
        "body": {},
        "happened_at": now(),
        "status": "pending",
        "fence": 0,
        "tries": 0,
        "next_at": now(),
        "created_at": now(),
    }
