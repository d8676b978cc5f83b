"""The events of one job, as server-sent events."""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from api.deps import JobIdInPath, Live, PlainInt, Shown, Store, Tenant, produces, stream_slot
from api.problems import HttpProblem
from api.watch import follow
from jobs.errors import NotFound, Transient
from jobs.store import EventRow

router = APIRouter(tags=["jobs"])
_SEQ = re.compile(r"[0-9]{1,16}", re.ASCII)


async def start_seq(request: Request, after_seq: Annotated[PlainInt, Field(ge=0)] | None = None) -> int:
    """Where to go on: `Last-Event-ID`, which a browser sends by itself, wins over `?after_seq=`."""
    last = request.headers.get("last-event-id", "")
    if last and not _SEQ.fullmatch(last):
        raise HttpProblem("bad_header", "Last-Event-ID must be an id that this stream gave.")
    return int(last) if last else after_seq or 0


async def existing(
    job_id: JobIdInPath, after_seq: Annotated[int, Depends(start_seq)], tenant: Tenant, store: Store
) -> str:
    """The job's id, found to exist while an error can still be answered."""
    if after_seq > await run_in_threadpool(store.seq, tenant, job_id):
        raise HttpProblem("invalid_request", "The job has not come as far as that event.")
    return job_id


@router.get(
    "/v1/jobs/{job_id}/events",
    response_class=EventSourceResponse,
    dependencies=[Depends(produces("text/event-stream")), Depends(stream_slot)],
)
async def job_events(
    job_id: Annotated[str, Depends(existing)],
    after_seq: Annotated[int, Depends(start_seq)],
    tenant: Tenant,
    store: Store,
    live: Live,
    views: Shown,
) -> AsyncIterator[ServerSentEvent]:
    """`status` for every durable change (its id is `seq`), `progress`, `preview`; at the end each `output`,
    and `end` with the whole job. `Last-Event-ID` or `after_seq` goes on after what was seen. Hanging up
    cancels nothing.
    """
    try:
        async for event in follow(store, live, tenant, job_id, after_seq=after_seq):
            if isinstance(event, EventRow):
                row = await run_in_threadpool(store.get, tenant, job_id)
                yield ServerSentEvent(event="status", id=str(event.seq), data=views.transition(row, event))
            else:
                yield _live(event)
        row = await run_in_threadpool(store.get, tenant, job_id)
    except (NotFound, Transient):
        return  # deleted meanwhile; or the caller comes again, and goes on from the last id
    view = await run_in_threadpool(views.job, row)
    for output in view.outputs:
        yield ServerSentEvent(event="output", data=output.model_copy(update={"base64": None}))
    yield ServerSentEvent(event="end", id=str(row.seq), data=view)


def _live(event: dict[str, Any]) -> ServerSentEvent:
    if event["type"] == "progress":
        return ServerSentEvent(event="progress", data=event["progress"])
    return ServerSentEvent(event="preview", data={k: event[k] for k in ("index", "media_type", "data")})
