"""Batches: many jobs in one file, a line each; results and errors in two."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from structlog.contextvars import bind_contextvars

from api import openapi
from api.batches import BatchDesk, jsonl_body
from api.body import no_body
from api.deps import (
    IdempotencyKey,
    JobIdInPath,
    Pages,
    PlainInt,
    Send,
    Shown,
    Store,
    Submit,
    Tenant,
    produces,
)
from jobs.errors import NotFound
from jobs.schemas import JobView, Kind, Status
from jobs.store import JobRow, JobStore
from jobs.views import Views

router = APIRouter(tags=["batches"], dependencies=[Depends(produces("application/json"))])
Jsonl = Annotated[bytes, Depends(jsonl_body)]


class Counts(BaseModel):
    total: int
    completed: int
    failed: int


class BatchView(JobView):
    """A batch is a job, whose parts are its lines."""

    request_counts: Counts


class BatchPage(BaseModel):
    data: list[BatchView]
    next_cursor: str | None


@router.post("/v1/batches", status_code=202, response_model=BatchView, openapi_extra=openapi.BATCH)
async def submit_batch(
    body: Jsonl, tenant: Tenant, desk: Submit, sender: Send, views: Shown, key: IdempotencyKey
) -> Response:
    """Queue up to 50,000 jobs: in each line `{"custom_id": "…", "body": {a job as for POST /v1/jobs}}`.

    All lines are checked first; one that cannot be taken refuses the batch, and the answer names it.
    """
    row, created = await run_in_threadpool(BatchDesk(desk).submit, tenant, body, key)
    bind_contextvars(job=row.id)
    if created:
        sender.send(row)
    reply = await run_in_threadpool(_json, views, row, 202)
    reply.headers["Location"] = views.batch_location(row.id)
    if not created:
        reply.headers["Idempotent-Replayed"] = "true"
    return reply


@router.get("/v1/batches", response_model=BatchPage)
def list_batches(
    tenant: Tenant,
    store: Store,
    views: Shown,
    cursors: Pages,
    limit: Annotated[PlainInt, Field(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> Response:
    """Batches, newest first."""
    scope = {"list": "batches", "tenant": tenant}
    after = None if cursor is None else cursors.read(scope, cursor)
    rows = store.list(tenant, kind=Kind.BATCH, after=after, limit=limit + 1)
    following = cursors.following(scope, rows, limit)
    page = BatchPage(data=[_view(views, row) for row in rows[:limit]], next_cursor=following)
    return Response(page.model_dump_json(), media_type="application/json")


@router.get("/v1/batches/{job_id}", response_model=BatchView)
def read_batch(job_id: JobIdInPath, tenant: Tenant, store: Store, views: Shown) -> Response:
    """A batch; `outputs` are `results.jsonl` and `errors.jsonl` once it has ended."""
    return _json(views, _batch(store, tenant, job_id))


@router.post("/v1/batches/{job_id}/cancel", response_model=BatchView, dependencies=[Depends(no_body)])
def cancel_batch(job_id: JobIdInPath, tenant: Tenant, store: Store, views: Shown) -> Response:
    """Cancel the lines that have not ended; what the others made stays, and is told of."""
    return _json(views, store.cancel(tenant, _batch(store, tenant, job_id).id))


def _batch(store: JobStore, tenant: str, job_id: str) -> JobRow:
    row = store.get(tenant, job_id)
    if row.kind != Kind.BATCH:
        raise NotFound(f"there is no batch {job_id!r}")
    return row


def _view(views: Views, row: JobRow) -> BatchView:
    parts = row.parts or {}
    failed = sum(parts.get(status, 0) for status in (Status.FAILED, Status.CANCELED, Status.EXPIRED))
    counts = Counts(total=parts.get("total", 0), completed=parts.get(Status.SUCCEEDED, 0), failed=failed)
    return BatchView(**views.job(row).model_dump(), request_counts=counts)


def _json(views: Views, row: JobRow, status: int = 200) -> Response:
    return Response(_view(views, row).model_dump_json(), status, media_type="application/json")
