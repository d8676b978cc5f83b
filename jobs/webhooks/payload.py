"""The body of a webhook: `{"type", "timestamp", "data"}`.

It is made for each attempt, so that links to outputs are fresh; everything else says what was so when the
event happened, however late it is delivered.
"""

from typing import Any

import orjson

from jobs.errors import NotFound
from jobs.store import EventRow, JobStore
from jobs.store.webhooks import Leased
from jobs.views import Views, rfc3339


def payload(leased: Leased, store: JobStore, views: Views) -> bytes | None:
    """None when what it is about has been deleted. Blocks on the database."""
    data = _data(leased, store, views)
    if data is None:
        return None
    return orjson.dumps({"type": leased.type, "timestamp": rfc3339(leased.happened_at), "data": data})


def _data(leased: Leased, store: JobStore, views: Views) -> dict[str, Any] | None:
    """The job; of `job.output`, the output and its job's id; of a test, the webhook's id."""
    if leased.job_id is None or leased.seq is None:
        return {"webhook": leased.webhook_id}
    try:
        row = store.get(leased.tenant, leased.job_id)
    except NotFound:
        return None
    if leased.type == "job.output":
        output = views.output(row, leased.body["output"])
        return None if output is None else {"job": row.id, "output": output}
    return views.told(row, EventRow(leased.seq, "status", leased.body, leased.happened_at))
