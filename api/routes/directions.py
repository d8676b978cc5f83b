"""Sets of directions that a tenant brings for a model, shipped or imported; `discover` jobs find others."""

import hashlib
import re
from typing import Annotated, Literal

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from api import openapi
from api.deps import (
    Blobs,
    Config,
    IdempotencyKey,
    Send,
    Sha256,
    Shown,
    Store,
    Submit,
    Tenant,
    produces,
    require,
)
from api.files import headers_of, not_modified, streamed, unchanged
from api.routes.models import HOURLY, STRIP, ModelInPath, accepted, answers_json
from api.uploads import OCTETS, Upload, check_hash, form_of, received, refuse_unlike
from jobs.access import Scope
from jobs.blobs import upload_key
from jobs.discovery import DirectionsImport, SetName
from jobs.errors import NotFound
from jobs.schemas import DirectionsRequest, JobView, Kind, Strict, Text
from jobs.store import JobRow
from jobs.words import Sha256Hex

router = APIRouter(tags=["models"])
MAX_BYTES = 64 * 2**20  # what is read of a file of directions
_START = re.compile(rb"\x93NUMPY|PK\x03\x04|\x80")  # .npy; .npz and torch; pickle and torch


class DirectionsForm(Strict):
    """What goes with an uploaded file of directions, as query parameters or fields of the form."""

    set: SetName
    space: Literal["z", "w", "w+"] | None = None
    first: Annotated[int, Field(ge=1, le=65536, strict=False)] | None = None
    licence: Text | None = None
    sha256: Sha256Hex | None = None
    model_sha256: Sha256Hex | None = None


@router.post(
    "/v1/models/{name}/directions",
    status_code=202,
    response_model=JobView,
    dependencies=[answers_json, require(Scope.MODELS_ADMIN)],
    openapi_extra=openapi.DIRECTIONS_UPLOAD,
)
async def import_directions(
    request: Request,
    card: ModelInPath,
    tenant: Tenant,
    store: Store,
    blobs: Blobs,
    desk: Submit,
    sender: Send,
    views: Shown,
    config: Config,
    key: IdempotencyKey,
    set_name: Annotated[str | None, Query(alias="set", description="Name of the set to be.")] = None,
    space: Annotated[str | None, Query(description="Of the vectors: z, w or w+.")] = None,
    first: Annotated[str | None, Query(description="Coordinates of z that a matrix is for.")] = None,
    licence: Annotated[str | None, Query(description="Licence of the directions.")] = None,
    sha256: Sha256 = None,
    model_sha256: Annotated[str | None, Query(description="Of the weights that they are for.")] = None,
) -> Response:
    """Upload a file of directions (.npy, .npz, .pt or .pkl) as its authors publish it, raw or as the part
    `file` of a form, and add what it holds to the model as a set.

    The answer is a `discover` job; when it has succeeded, edits can name the directions.
    """
    in_query = {"set": set_name, "space": space, "first": first, "licence": licence, "sha256": sha256,
                "model_sha256": model_sha256}  # fmt: skip

    def keep(upload: Upload) -> tuple[JobRow, bool]:
        form = form_of(DirectionsForm, in_query, upload)
        check_hash(upload, form.sha256)
        card.refuse_weights(form.model_sha256, "the file")
        card.refuse_set(form.set)
        refuse_unlike(upload, _START, "file", "numpy, torch or pickle")
        store.refuse_bytes(tenant, upload.size)
        asked = DirectionsImport(
            method="import",
            name=form.set,
            upload=upload_key(tenant, upload.sha256),
            sha256=upload.sha256,
            space=form.space,
            first=form.first,
            licence=form.licence,
        )
        blobs.write(asked.upload, upload.path, media_type=OCTETS)
        return desk.record(tenant, DirectionsRequest(kind=Kind.DISCOVER, model=card.name, input=asked), key)

    limit = min(config.max_checkpoint_bytes, MAX_BYTES)
    async with received(request, limit=limit, folder=config.work_dir / "uploads") as upload:
        row, created = await to_thread.run_sync(keep, upload)
    return await accepted(row, created, sender, views)


@router.get(
    f"/v1/models/{{name}}/directions/{{direction}}/{STRIP}",
    response_class=Response,
    dependencies=[Depends(produces("image/png"))],
    responses=openapi.binary("What it does, in a row of small pictures.", "image/png"),
)
def read_strip(
    request: Request, card: ModelInPath, direction: str, tenant: Tenant, store: Store, blobs: Blobs
) -> Response:
    """What a direction, flow or table of units does, at a glance: made when it was found."""
    member = next((m for m in card.directions if m.name == direction and m.strip), None)
    if member is None or member.set is None or member.strip is None:
        raise NotFound(f"There is no picture of {direction[:64]!r}.")
    key = store.get_directions(tenant, card.name, member.set).prefix + member.strip
    etag = hashlib.sha256(key.encode()).hexdigest()[:32]  # what a key holds never changes
    if unchanged(request, etag):
        return not_modified(etag, HOURLY)
    return streamed(blobs, key, headers_of(etag, HOURLY), "image/png")


@router.delete(
    "/v1/models/{name}/directions/{set_name}",
    status_code=204,
    dependencies=[require(Scope.MODELS_ADMIN)],
)
def delete_directions(card: ModelInPath, set_name: str, tenant: Tenant, store: Store) -> Response:
    """Remove a set that was found or imported. Those that come with the model stay."""
    store.delete_directions(tenant, card.name, set_name)
    return Response(status_code=204)
