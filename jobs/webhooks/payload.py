"""The body of a webhook: `{"type", "timestamp", "data"}`.

It is made for each attempt, so that links to outputs are fresh; everything else says what was so when the
event happened, however late it is delivered.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from jobs.errors import NotFound
from jobs.store import EventRow, JobRow, JobStore
from jobs.store.webhooks import Leased
from jobs.views import Views, rfc3339


@dataclass(frozen=True)
class Message:
    body: bytes
    traceparent: str | None = None
    """Of the request that made the job."""


def payload(leased: Leased, store: JobStore, views: Views) -> Message | None:
    """None when what it is about has been deleted. Blocks on the database."""
    if leased.job_id is None or leased.seq is None:
        return Message(_body(leased, {"webhook": leased.webhook_id}))
    try:
        row = store.get(leased.tenant, leased.job_id)
    except NotFound:
        return None
    data = _data(leased, leased.seq, row, views)
    return None if data is None else Message(_body(leased, data), row.traceparent)


def _data(leased: Leased, seq: int, row: JobRow, views: Views) -> dict[str, Any] | None:
    """The job; of `job.output`, the output and its job's id."""
    if leased.type == "job.output":
        output = views.output(row, leased.body["output"])
        return None if output is None else {"job": row.id, "output": output}
    return views.told(row, EventRow(seq, "status", leased.body, leased.happened_at))


def _body(leased: Leased, data: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": leased.type, "timestamp": rfc3339(leased.happened_at), "data": data})
