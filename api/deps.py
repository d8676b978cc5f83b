"""What routes may ask for. Each alias is the whole declaration of a dependency.

They are coroutines although they wait for nothing: FastAPI sends a plain function to a thread, which takes
longer than most of them.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from fastapi import Depends, Query, Request
from fastapi.dependencies.models import Dependant
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from api.auth import ANYONE, Doorkeeper
from api.body import json_body
from api.cursors import Cursors
from api.edge import SAFE_METHODS
from api.metrics import Metrics
from api.pictures import Decoder
from api.problems import HttpProblem, invalid
from api.sending import Sender
from api.submission import Desk
from api.watch import Streams
from jobs.access import Scope
from jobs.blobs import BlobStore
from jobs.catalog import Catalog
from jobs.errors import NotFound
from jobs.live import LiveEvents
from jobs.settings import Settings
from jobs.store import JobStore
from jobs.views import Views
from jobs.webhooks.signing import Signer
from jobs.webhooks.target import Rules

REPEATABLE = ("status",)  # the parameters that may be there twice, meaning either
MAX_WAIT_S = 60
JOB_ID = re.compile(r"job_[0-9A-HJKMNP-TV-Z]{26}")
_IMAGE_ID = re.compile(r"img_[0-9a-f]{64}")
_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)


def _state(name: str) -> Any:
    async def read(request: Request) -> Any:
        return getattr(request.app.state, name)

    return Depends(read)


Store = Annotated[JobStore, _state("store")]
Send = Annotated[Sender, _state("sender")]
Submit = Annotated[Desk, _state("desk")]
Blobs = Annotated[BlobStore, _state("blobs")]
Live = Annotated[LiveEvents, _state("live")]
Models = Annotated[Catalog, _state("catalog")]
Config = Annotated[Settings, _state("settings")]
Targets = Annotated[Rules, _state("rules")]
Signs = Annotated[Signer, _state("signer")]
Measures = Annotated[Metrics, _state("metrics")]
Shown = Annotated[Views, _state("views")]
Pages = Annotated[Cursors, _state("cursors")]
Pictures = Annotated[Decoder, _state("decoder")]
Followers = Annotated[Streams, _state("streams")]
JsonBody = Annotated[bytes, Depends(json_body)]


# --- who is calling --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Require:
    """Dependency: the caller has this scope."""

    scope: Scope

    async def __call__(self, request: Request) -> None:
        request.state.caller.require(self.scope)


def require(scope: Scope) -> Any:
    """For `dependencies=[…]` of a route or a router: what its callers need, in place of the usual scope."""
    return Depends(Require(scope))


async def public() -> None:
    pass


PUBLIC = Depends(public)
"""For `dependencies=[…]` of a route or a router: it needs no key."""


def needed_scope(dependant: Dependant, method: str) -> Scope | None:
    """None for a public route; jobs:read to read and jobs:write to act, unless the route says otherwise."""
    calls = [dependency.call for dependency in dependant.dependencies]
    if public in calls:
        return None
    named = [call.scope for call in calls if isinstance(call, Require)]
    if named:
        return named[0]
    return Scope.JOBS_READ if method in SAFE_METHODS else Scope.JOBS_WRITE


async def authenticate(request: Request) -> None:
    """Who calls, and may they: before everything else, for every route that does not open itself."""
    scope = needed_scope(request.scope["route"].dependant, request.method)
    if scope is None:
        return
    doorkeeper: Doorkeeper | None = request.app.state.doorkeeper
    caller = ANYONE if doorkeeper is None else await doorkeeper.caller(request)
    request.state.caller = caller
    structlog.contextvars.bind_contextvars(tenant=caller.tenant, key=caller.key_id)
    caller.require(scope)


async def tenant(request: Request) -> str:
    return request.state.caller.tenant


Tenant = Annotated[str, Depends(tenant)]


# --- what is asked for -----------------------------------------------------------------------------------


async def job_id(job_id: str) -> str:
    """An id in the path. What cannot be one is simply not there."""
    if not JOB_ID.fullmatch(job_id):
        raise NotFound("There is no such job.")
    structlog.contextvars.bind_contextvars(job=job_id)
    return job_id


async def image_id(image_id: str) -> str:
    if not _IMAGE_ID.fullmatch(image_id):
        raise NotFound("There is no such image.")
    return image_id


JobIdInPath = Annotated[str, Depends(job_id)]
ImageIdInPath = Annotated[str, Depends(image_id)]


async def idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise HttpProblem("bad_header", "Idempotency-Key must have 1 to 255 printable ASCII characters.")
    return key


async def preferred_wait_s(request: Request) -> int:
    """`n` of `Prefer: wait=n`, at most 60; a preference that is not understood is none (RFC 7240)."""
    found = _WAIT.search(",".join(request.headers.getlist("prefer")))
    return min(int(found[1]), MAX_WAIT_S) if found else 0


IdempotencyKey = Annotated[str | None, Depends(idempotency_key)]
PreferredWait = Annotated[int, Depends(preferred_wait_s)]


def _plain_integer(value: Any) -> int:
    """Digits and nothing else: no sign, blank, underscore or other script."""
    if not isinstance(value, str) or not re.fullmatch(r"0|[1-9][0-9]{0,15}", value):
        raise PydanticCustomError("int_parsing", "must be a whole number, written in digits")
    return int(value)


Sha256 = Annotated[str | None, Query(pattern=r"^[0-9a-f]{64}$", description="Of the file as sent.")]
PlainInt = Annotated[int, BeforeValidator(_plain_integer)]
WaitSeconds = Annotated[PlainInt, Field(ge=0, le=MAX_WAIT_S)]


async def strict_query(request: Request) -> None:
    """Refuses parameters that the route does not know, and ones that are there twice."""
    known = _query_names(request.scope["route"].dependant)
    prefixes = tuple(name.removesuffix("<key>") for name in known if name.endswith("<key>"))
    seen: set[str] = set()
    errors = []
    for name, _ in request.query_params.multi_items():
        if name not in known and not (prefixes and name.startswith(prefixes)):
            errors.append(_query_error(name, "this address takes no such parameter", "extra_forbidden"))
        elif name in seen and name not in REPEATABLE:
            errors.append(_query_error(name, "is there twice", "repeated"))
        seen.add(name)
    if errors:
        raise invalid(errors)


def _query_error(name: str, message: str, kind: str) -> dict[str, Any]:
    return {"loc": ("query", name), "msg": message, "type": kind}


def _query_names(dependant: Dependant) -> set[str]:
    names = {field.alias for field in dependant.query_params}
    return names.union(*(_query_names(child) for child in dependant.dependencies))


def produces(*media_types: str) -> Callable[[Request], Awaitable[None]]:
    """Dependency: 406 if the caller accepts none of `media_types`."""

    async def check(request: Request) -> None:
        accepted = request.headers.get("accept", "*/*")
        if not any(_accepts(accepted, media) for media in media_types):
            raise HttpProblem("not_acceptable", f"This address answers with {' or '.join(media_types)}.")

    return check


def _accepts(accepted: str, media: str) -> bool:
    for part in accepted.lower().split(","):
        wanted, *parameters = (piece.strip() for piece in part.split(";"))
        refused = any(re.fullmatch(r"q=0(\.0*)?", parameter) for parameter in parameters)
        if wanted in ("*/*", media, media.split("/")[0] + "/*") and not refused:
            return True
    return not accepted.strip()


async def stream_slot(tenant: Tenant, streams: Followers, metrics: Measures) -> AsyncIterator[None]:
    """Held for as long as the answer is being sent."""
    with streams.slot(tenant), metrics.streams.track_inprogress():
        yield
