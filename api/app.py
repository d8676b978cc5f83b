"""The gateway: routes, middleware, the error table, and everything that it needs from outside."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import anyio
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from api import openapi
from api.body import Pace
from api.cursors import Cursors
from api.deps import strict_query
from api.edge import Gate, HeadAsGet, Record
from api.metrics import Metrics
from api.pictures import AT_ONCE, Decoder
from api.problems import HttpProblem, answer_error
from api.routes import blobs as blob_routes
from api.routes import events, health, images, models, pages
from api.routes import jobs as job_routes
from api.sending import Sender
from api.submission import Desk
from api.views import Views
from api.watch import Streams
from jobs.blobs import BlobStore
from jobs.catalog import Catalog
from jobs.errors import GanserveError
from jobs.live import LiveEvents
from jobs.queue import JobQueue
from jobs.settings import Settings
from jobs.store import JobStore

ROUTERS = (job_routes, events, images, models, blob_routes, health, pages)
MAX_STREAMS = 256  # event streams and long polls of one process


def create_app(
    store: JobStore,
    queue: JobQueue,
    blobs: BlobStore,
    live: LiveEvents,
    catalog: Catalog,
    settings: Settings,
    *,
    decoder: Decoder | None = None,
    pace: Pace | None = None,
    max_streams: int = MAX_STREAMS,
) -> FastAPI:
    """The application. It closes nothing that it is given."""
    app = describe()
    state = app.state
    state.store, state.queue, state.blobs, state.live = store, queue, blobs, live
    state.catalog, state.settings = catalog, settings
    state.metrics = Metrics(store)
    state.views = Views(blobs, settings)
    state.cursors = Cursors(settings.secret())
    state.sender = Sender(queue)
    state.desk = Desk(store, catalog, state.metrics, settings)
    state.streams = Streams(max_streams)
    state.pace = pace or Pace()
    state.decoder = decoder or Decoder()
    state.picture_threads = anyio.CapacityLimiter(AT_ONCE)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Gate, public_url=settings.public_url)
    app.add_middleware(Record, metrics=state.metrics)  # added last, so outermost
    return app


def describe() -> FastAPI:
    """The routes and what they answer, without anything to serve them from."""
    app = FastAPI(
        openapi_url=None,  # ours is `pages.openapi_json`
        redirect_slashes=False,
        dependencies=[Depends(strict_query)],
        responses=openapi.PROBLEMS,
        lifespan=_lifespan,
    )
    for routes in ROUTERS:
        app.include_router(routes.router)
    for error in (HttpProblem, GanserveError, RequestValidationError, HTTPException):
        app.add_exception_handler(error, answer_error)
    app.add_exception_handler(405, _method_not_allowed)
    app.openapi = _openapi_of(app)  # type: ignore[method-assign]
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    await app.state.sender.close()


async def _method_not_allowed(request: Request, error: Exception) -> JSONResponse:
    """405 that lists what the address takes; the router knows only the first route that it met."""
    allowed: set[str] = set()
    for route in (route for routes in ROUTERS for route in routes.router.routes):
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            allowed |= route.methods or set()
    if "GET" in allowed:
        allowed.add("HEAD")
    reply = await answer_error(request, error)
    reply.headers["Allow"] = ", ".join(sorted(allowed))
    return reply


def _openapi_of(app: FastAPI) -> Any:
    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = openapi.document(app)
        return app.openapi_schema

    return document
