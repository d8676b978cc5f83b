"""For operations: is the process up, can it serve, what does it measure."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api.deps import PUBLIC, Config
from api.problems import HttpProblem
from api.readiness import Probes, missing
from jobs.errors import NotFound
from jobs.operations import METRICS_TYPE, Operations

router = APIRouter(tags=["operations"], dependencies=[PUBLIC])


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
async def readyz(request: Request) -> Readiness:
    """Jobs are accepted; `degraded` while the broker is away. 503 names what else does not answer."""
    probes: Probes = request.app.state.probes
    checks = await run_in_threadpool(probes.checks)
    if lacking := missing(checks):
        detail = f"Not ready: {', '.join(lacking)}."
        raise HttpProblem("unavailable", detail, headers={"Retry-After": "5"})
    degraded = any(state != "ok" for state in checks.values())
    return Readiness(status="degraded" if degraded else "ready", checks=checks)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(request: Request, settings: Config) -> Response:
    """Prometheus' text format; 404 where operations have a port of their own, and where callers have keys."""
    if settings.metrics_port or settings.auth == "keys":
        raise NotFound("Nothing is at this address.")
    operations: Operations = request.app.state.operations
    return Response(operations.metrics(), media_type=METRICS_TYPE)
