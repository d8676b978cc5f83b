"""The gateway: routes, middleware, the error table, and everything that it needs from outside."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from limits.aio.storage import Storage
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from api import openapi
from api.auth import Doorkeeper
from api.body import Pace
from api.cursors import Cursors
from api.deps import authenticate, strict_query
from api.edge import Gate, HeadAsGet, Record
from api.metrics import Metrics
from api.pictures import AT_ONCE, Decoder
from api.problems import HttpProblem, answer_error
from api.rates import Rates, redis_storage
from api.readiness import Probes
from api.routes import batches, datasets, directions, events, health, images, models, pages, usage, webhooks
from api.routes import blobs as blob_routes
from api.routes import jobs as job_routes
from api.sending import Sender
from api.submission import Desk
from api.watch import Streams
from jobs.blobs import BlobStore
from jobs.buckets import read_buckets
from jobs.catalog import Catalog
from jobs.errors import GanserveError
from jobs.live import LiveEvents
from jobs.liveness import Liveness, Loop
from jobs.metrics import REGISTRY
from jobs.operations import Operations
from jobs.queue import JobQueue
from jobs.settings import DEFAULT_TENANT, Settings
from jobs.store import JobStore
from jobs.store.access import Access
from jobs.views import Views
from jobs.webhooks.signing import signer_of
from jobs.webhooks.target import Rules, hurried, rules_of, system_addresses

ROUTERS = (
    job_routes,
    batches,
    datasets,
    events,
    images,
    models,
    directions,
    webhooks,
    usage,
    blob_routes,
    health,
    pages,
)
MAX_STREAMS = 256  # event streams and long polls of one process
TICK_S = 1.0
RESOLVERS, RESOLVE_S = 8, 2.0  # threads for the names of webhooks, and how long one is waited for


def create_app(
    store: JobStore,
    queue: JobQueue,
    blobs: BlobStore,
    live: LiveEvents,
    catalog: Catalog,
    settings: Settings,
    *,
    rates: Storage | None = None,
    rules: Rules | None = None,
    decoder: Decoder | None = None,
    pace: Pace | None = None,
    max_streams: int = MAX_STREAMS,
) -> FastAPI:
    """The application. It closes nothing that it is given.

    `rates`: where calls are counted; left out, the Redis of the settings. `rules`: where webhooks may go.
    """
    app = describe()
    state = app.state
    state.store, state.queue, state.blobs, state.live = store, queue, blobs, live
    state.catalog, state.settings = catalog, settings
    state.metrics = Metrics(store)
    state.doorkeeper = None
    if settings.auth == "keys":
        counted = Rates(rates or redis_storage(settings), state.metrics.unlimited)
        state.doorkeeper = Doorkeeper(Access(store.database, settings.pepper()), counted, store.quotas)
    state.liveness = Liveness(settings.liveness_s)
    state.probes = Probes(
        {
            "database": lambda: store.ping(),
            "broker": lambda: queue.ping(),
            "blobs": lambda: blobs.ping(),
            "catalog": lambda: catalog.list(DEFAULT_TENANT),
        }
    )
    registries = (REGISTRY, state.metrics.registry)
    state.operations = Operations("gateway", state.liveness, state.probes.missing, registries)
    state.views = Views(blobs, settings)
    state.cursors = Cursors(settings.secret())
    state.sender = Sender(queue)
    names = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolver")
    state.rules = rules or rules_of(settings, hurried(system_addresses, RESOLVE_S, names))
    state.signer = signer_of(settings)
    state.desk = Desk(store, catalog, state.metrics, settings, state.rules, read_buckets(settings.buckets))
    # Where there are several tenants, one cannot take all places.
    state.streams = Streams(max_streams, max_streams if settings.auth == "open" else max(1, max_streams // 4))
    state.pace = pace or Pace()
    state.decoder = decoder or Decoder()
    state.picture_threads = anyio.CapacityLimiter(AT_ONCE)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Gate, public_url=settings.public_url, allowed_hosts=settings.allowed_hosts)
    app.add_middleware(Record, metrics=state.metrics)  # added last, so outermost
    return app


def describe() -> FastAPI:
    """The routes and what they answer, without anything to serve them from."""
    app = FastAPI(
        openapi_url=None,  # ours is `pages.openapi_json`
        redirect_slashes=False,
        dependencies=[Depends(authenticate), Depends(strict_query)],
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
    ticking = asyncio.create_task(_tick(app.state.liveness.loop("gateway")))
    yield
    ticking.cancel()
    await app.state.sender.close()
    if app.state.doorkeeper is not None:
        await app.state.doorkeeper.close()
    app.state.probes.close()


async def _tick(loop: Loop) -> None:
    """Shows that the event loop comes round."""
    while True:
        loop.tick()
        await asyncio.sleep(TICK_S)


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
