"""For operations: is the process up, can it serve, what does it measure."""

import logging
from collections.abc import Callable

import anyio
from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from api.deps import Blobs, Measures, Models, Store, Tenant
from api.problems import HttpProblem
from jobs.queue import JobQueue

CHECK_S = 2.0

router = APIRouter(tags=["operations"])
logger = logging.getLogger(__name__)


class Health(BaseModel):
    status: str


class Readiness(BaseModel):
    status: str
    checks: dict[str, str]


@router.get("/healthz", response_model=Health)
async def healthz() -> Health:
    """The process answers. Nothing else is asked."""
    return Health(status="ok")


@router.get("/readyz", response_model=Readiness)
async def readyz(request: Request, tenant: Tenant, store: Store, blobs: Blobs, catalog: Models) -> Readiness:
    """Everything that a job needs answers; 503 names what does not."""
    queue: JobQueue = request.app.state.queue
    checks: dict[str, str] = {}
    probes: dict[str, Callable[[], object]] = {
        "database": store.ping,
        "broker": queue.ping,
        "blobs": blobs.ping,
        "catalog": lambda: catalog.list(tenant),
    }

    async def probe(name: str, call: Callable[[], object]) -> None:
        checks[name] = "no answer"
        with anyio.move_on_after(CHECK_S):
            try:
                await to_thread.run_sync(call, abandon_on_cancel=True)
            except Exception as error:  # whatever a driver raises, the check has failed
                logger.warning("%s is not ready: %s", name, error)
                checks[name] = "failed"
            else:
                checks[name] = "ok"

    async with anyio.create_task_group() as group:
        for name, call in probes.items():
            group.start_soon(probe, name, call)
    missing = sorted(name for name, state in checks.items() if state != "ok")
    if missing:
        detail = f"Not ready: {', '.join(missing)}."
        raise HttpProblem("unavailable", detail, headers={"Retry-After": "5"})
    return Readiness(status="ready", checks=dict(sorted(checks.items())))


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(measures: Measures) -> Response:
    """Prometheus' text format."""
    return Response(measures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
