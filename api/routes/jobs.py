"""Submit, read, list, cancel, retry and delete jobs."""

import re
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from structlog.contextvars import bind_contextvars

from api import openapi
from api.body import no_body
from api.deps import (
    JOB_ID,
    Blobs,
    Followers,
    IdempotencyKey,
    JobIdInPath,
    JsonBody,
    Measures,
    Pages,
    PlainInt,
    PreferredWait,
    Send,
    Shown,
    Store,
    Submit,
    Tenant,
    WaitSeconds,
    produces,
)
from api.problems import invalid
from api.watch import until_changed
from jobs import tracing
from jobs.schemas import JobPage, JobView, Kind, MetadataKey, MetadataValue, Status

router = APIRouter(tags=["jobs"], dependencies=[Depends(produces("application/json"))])

_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_metadata: TypeAdapter[dict[str, str]] = TypeAdapter(
    Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]
)


def _epoch_s(text: Any) -> float:
    """An RFC 3339 time with its zone, as epoch seconds."""
    if not isinstance(text, str) or not _DATE.fullmatch(text):
        raise ValueError("must be a time such as 2026-01-31T12:00:00Z, with its zone (write + as %2B)")
    return datetime.fromisoformat(text).timestamp()


Time = Annotated[float, BeforeValidator(_epoch_s), Field(json_schema_extra=openapi.DATE_TIME)]


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable")
    return text


PrintableText = Annotated[str, Field(max_length=128), AfterValidator(_printable)]


@router.post(
    "/v1/jobs",
    status_code=202,
    response_model=JobView,
    openapi_extra=openapi.SUBMIT,
    responses=openapi.WAITED,
)
async def submit_job(
    request: Request,
    body: JsonBody,
    tenant: Tenant,
    desk: Submit,
    sender: Send,
    views: Shown,
    streams: Followers,
    metrics: Measures,
    key: IdempotencyKey,
    wait_s: PreferredWait,
) -> Response:
    """Queue a job. 202 and the job; with `Prefer: wait=n`, 200 if it ends within n seconds.

    With an `Idempotency-Key`, the same request within 24 h gives the same job, and another one 422.
    """
    row, created = await run_in_threadpool(desk.submit, tenant, body, key)
    bind_contextvars(job=row.id)
    if created:
        sender.send(row)
    waited = wait_s and not row.terminal and not streams.full(tenant)
    if waited:
        with streams.slot(tenant), metrics.streams.track_inprogress():
            row = await until_changed(request, row, after_seq=None, wait_s=wait_s)
    view = await run_in_threadpool(views.job, row)
    reply = _json(view, 200 if wait_s and row.terminal else 202)
    reply.headers["Location"] = views.location(row.id)
    if wait_s:
        reply.headers["Preference-Applied"] = f"wait={wait_s}"
    if not created:
        reply.headers["Idempotent-Replayed"] = "true"
    return reply


@router.get("/v1/jobs", response_model=JobPage)
def list_jobs(
    request: Request,
    tenant: Tenant,
    store: Store,
    views: Shown,
    cursors: Pages,
    status: Annotated[list[Status], Query(description="Given several times: any of them.")] = [],  # noqa: B006
    kind: Kind | None = None,
    model: PrintableText | None = None,
    created_after: Time | None = None,
    created_before: Time | None = None,
    parent: Annotated[
        str | None,
        Query(
            pattern=f"^{JOB_ID.pattern}$", description="Its parts; without it, no part of a job is listed."
        ),
    ] = None,
    metadata: Annotated[
        str | None, Query(alias="metadata.<key>", description="For example `metadata.customer=42`.")
    ] = None,
    limit: Annotated[PlainInt, Field(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> Response:
    """Jobs, newest first. `next_cursor` is good for 24 h and for the same filters only."""
    if created_after is not None and created_before is not None and created_after > created_before:
        loc = ("query", "created_after")
        raise invalid([{"loc": loc, "msg": "is later than created_before", "type": "value_error"}])
    filters: dict[str, Any] = {
        "status": sorted(set(status)),
        "kind": kind,
        "model": model,
        "created_after": created_after,
        "created_before": created_before,
        "metadata": _metadata_filter(request),
        "parent": parent,
    }
    scope = {"list": "jobs", "tenant": tenant} | filters
    after = None if cursor is None else cursors.read(scope, cursor)
    rows = store.list(tenant, **filters, after=after, limit=limit + 1)
    following = cursors.following(scope, rows, limit)
    return _json(JobPage(data=[views.listed(row) for row in rows[:limit]], next_cursor=following))


def _metadata_filter(request: Request) -> dict[str, str]:
    given = {
        name.removeprefix("metadata."): value
        for name, value in request.query_params.items()
        if name.startswith("metadata.")
    }
    try:
        return _metadata.validate_python(given)
    except ValidationError as error:
        raise invalid([e | {"loc": ("query", "metadata", *e["loc"])} for e in error.errors()]) from None


@router.get("/v1/jobs/{job_id}", response_model=JobView)
async def read_job(
    request: Request,
    job_id: JobIdInPath,
    tenant: Tenant,
    store: Store,
    views: Shown,
    streams: Followers,
    metrics: Measures,
    wait: WaitSeconds = 0,
    after_seq: Annotated[PlainInt, Field(ge=0)] | None = None,
) -> Response:
    """A job. `wait=n` answers when it has ended (with `after_seq`: when `seq` exceeds that), or after n s."""
    row = await run_in_threadpool(store.get, tenant, job_id)
    if wait:
        with streams.slot(tenant), metrics.streams.track_inprogress():
            row = await until_changed(request, row, after_seq=after_seq, wait_s=wait)
    return _json(await run_in_threadpool(views.job, row))


@router.post("/v1/jobs/{job_id}/cancel", response_model=JobView, dependencies=[Depends(no_body)])
def cancel_job(job_id: JobIdInPath, tenant: Tenant, store: Store, views: Shown) -> Response:
    """Stop a job: at once if it is queued, at its next step if it runs. Twice is fine; 409 once over."""
    return _json(views.job(store.cancel(tenant, job_id)))


@router.post(
    "/v1/jobs/{job_id}/retry", status_code=202, response_model=JobView, dependencies=[Depends(no_body)]
)
async def retry_job(
    job_id: JobIdInPath, tenant: Tenant, store: Store, sender: Send, views: Shown
) -> Response:
    """Queue a failed, canceled or expired job again, from its start; 409 for any other."""
    row = await run_in_threadpool(store.retry, tenant, job_id, traceparent=tracing.traceparent())
    sender.send(row)
    view = await run_in_threadpool(views.job, row)
    return _json(view, 202, {"Location": views.location(row.id)})


@router.delete("/v1/jobs/{job_id}", status_code=204, dependencies=[Depends(no_body)])
def delete_job(job_id: JobIdInPath, tenant: Tenant, store: Store, blobs: Blobs) -> Response:
    """Forget a job that is over, and remove its files; 409 while it is not."""
    blobs.delete(store.delete(tenant, job_id))
    return Response(status_code=204)


def _json(view: JobView | JobPage, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(view.model_dump_json(), status, headers, media_type="application/json")
