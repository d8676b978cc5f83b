"""Steer datasets, and tell what a job would take before it starts."""

from fastapi import APIRouter, Depends, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from api import openapi
from api.body import no_body
from api.deps import JobIdInPath, JsonBody, Send, Shown, Store, Submit, Tenant, produces
from api.submission import read
from jobs.dataset import MAX_COUNT
from jobs.estimates import Estimate
from jobs.schemas import JobView
from jobs.store import JobRow
from jobs.views import Views
from jobs.words import Strict

router = APIRouter(tags=["datasets"], dependencies=[Depends(produces("application/json"))])


class Extension(Strict):
    """How much longer a dataset is to be."""

    count: int = Field(ge=1, le=MAX_COUNT)
    """Samples that come behind those that it has."""


@router.post("/v1/estimates", response_model=Estimate, openapi_extra=openapi.SUBMIT)
def estimate_job(body: JsonBody, tenant: Tenant, desk: Submit) -> Estimate:
    """What a job would make, take and cost; nothing is recorded. The body is that of `POST /v1/jobs`."""
    return desk.estimate(tenant, body)


@router.post("/v1/jobs/{job_id}/pause", response_model=JobView, dependencies=[Depends(no_body)])
def pause_dataset(job_id: JobIdInPath, tenant: Tenant, store: Store, views: Shown) -> Response:
    """Begin no further shard; those under way end. 409 for a job that is no dataset, or over."""
    return _json(views, store.pause(tenant, job_id, paused=True))


@router.post("/v1/jobs/{job_id}/resume", response_model=JobView, dependencies=[Depends(no_body)])
async def resume_dataset(
    job_id: JobIdInPath, tenant: Tenant, store: Store, sender: Send, views: Shown
) -> Response:
    """Go on where it was paused."""
    row = await run_in_threadpool(store.pause, tenant, job_id, paused=False)
    sender.send(row)
    return await run_in_threadpool(_json, views, row)


@router.post(
    "/v1/jobs/{job_id}/extend",
    status_code=202,
    response_model=JobView,
    openapi_extra=openapi.json_body(Extension),
)
async def extend_dataset(
    job_id: JobIdInPath, body: JsonBody, tenant: Tenant, store: Store, sender: Send, views: Shown
) -> Response:
    """`count` samples more. What is there stays as it is; a dataset that has ended runs again."""
    more = read(Extension, body).count
    row = await run_in_threadpool(store.extend, tenant, job_id, more)
    sender.send(row)
    return await run_in_threadpool(_json, views, row, 202)


def _json(views: Views, row: JobRow, status: int = 200) -> Response:
    return Response(views.job(row).model_dump_json(), status, media_type="application/json")
