"""What can be asked for: models and their directions; and importing more of them."""

import re
from typing import Annotated, Any
from urllib.parse import quote

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api import openapi
from api.deps import (
    Blobs,
    Config,
    IdempotencyKey,
    Models,
    Send,
    Sha256,
    Shown,
    Store,
    Submit,
    Tenant,
    produces,
    require,
)
from api.files import file_answer, headers_of, not_modified, streamed, unchanged
from api.uploads import OCTETS, Upload, check_hash, form_of, received, refuse_unlike
from jobs.access import Scope
from jobs.blobs import upload_key
from jobs.cards import AnyMember, Card
from jobs.errors import Conflict, NotFound, UnknownModel
from jobs.schemas import ImportInput, ImportRequest, JobView, Kind, Name, Strict, Text
from jobs.store import JobRow
from jobs.words import Sha256Hex

router = APIRouter(tags=["models"])
answers_json = Depends(produces("application/json"))
SAMPLES, STRIP, WEIGHTS = "samples.png", "strip.png", "weights.safetensors"
HOURLY = "private, max-age=3600"

_CHECKPOINT = re.compile(
    rb"PK\x03\x04|\x80[\x02-\x05]|.{8}\{",  # zip (torch), pickle, safetensors
    re.DOTALL,
)


class ModelUrls(BaseModel):
    self: str
    directions: str
    samples: str


class ModelView(Card):
    """A model's card, as it was written, and where to go on."""

    model_config = ConfigDict(extra="allow")

    urls: ModelUrls


class ModelList(BaseModel):
    data: list[ModelView] = Field(description="By name; without their directions.")


class ImportForm(Strict):
    """What goes with an uploaded checkpoint, as query parameters or fields of the form."""

    name: Name
    licence: Text | None = None
    sha256: Sha256Hex | None = None


class DirectionList(BaseModel):
    data: list[AnyMember]


def _view(card: Card, config: Config) -> ModelView:
    here = f"{config.public_url}/v1/models/{card.name}"
    urls = ModelUrls(self=here, directions=f"{here}/directions", samples=f"{here}/{SAMPLES}")
    shown = {"urls": urls, "directions": [member.model_dump() for member in _members(card, config)]}
    return ModelView.model_validate(card.model_dump() | shown)


def _members(card: Card, config: Config) -> list[AnyMember]:
    """With the addresses of their pictures."""
    here = f"{config.public_url}/v1/models/{card.name}/directions"
    return [
        member.model_copy(update={"strip": f"{here}/{quote(member.name, safe='')}/{STRIP}"})
        if member.strip
        else member
        for member in card.directions
    ]


def known_model(name: str, tenant: Tenant, catalog: Models) -> Card:
    """The card of a model in the path. Raises NotFound."""
    try:
        return catalog.get(tenant, name)
    except UnknownModel as error:
        raise NotFound(str(error)) from None


ModelInPath = Annotated[Card, Depends(known_model)]


@router.get("/v1/models", response_model=ModelList, dependencies=[answers_json])
def list_models(tenant: Tenant, catalog: Models, config: Config) -> dict[str, Any]:
    """The models that can be asked for."""
    cards = (card.model_copy(update={"directions": ()}) for card in catalog.list(tenant))
    return {"data": [_view(card, config) for card in cards]}


@router.get("/v1/models/{name}", response_model=ModelView, dependencies=[answers_json])
def read_model(card: ModelInPath, config: Config) -> ModelView:
    """A model's card: family, resolution, spaces, classes, directions, licence, hash, metrics."""
    return _view(card, config)


@router.get("/v1/models/{name}/directions", response_model=DirectionList, dependencies=[answers_json])
def list_directions(card: ModelInPath, config: Config) -> dict[str, Any]:
    """The directions that `edit` knows for this model, with their space, layers and unit; flows and tables
    of units have another `type`.
    """
    return {"data": _members(card, config)}


@router.get(
    f"/v1/models/{{name}}/{SAMPLES}",
    response_class=Response,
    dependencies=[Depends(produces("image/png"))],
    responses=openapi.binary("A grid of samples.", "image/png"),
)
def read_samples(
    request: Request,
    card: ModelInPath,
    tenant: Tenant,
    store: Store,
    catalog: Models,
    blobs: Blobs,
    config: Config,
) -> Response:
    """What the model makes, at a glance."""
    if unchanged(request, card.sha256):
        return not_modified(card.sha256, HOURLY)
    if catalog.ships(card.name):
        path = config.model_repo / card.name / SAMPLES
        picture = path.read_bytes() if path.is_file() else None
    else:
        key = store.get_model(tenant, card.name).prefix + SAMPLES
        picture = blobs.read(key) if blobs.exists(key) else None
    if picture is None:
        raise NotFound("The model has no samples.")
    return Response(picture, headers=headers_of(card.sha256, HOURLY), media_type="image/png")


@router.get(
    "/v1/models/{name}/weights",
    response_class=Response,
    dependencies=[Depends(produces("application/octet-stream"))],
    responses=openapi.binary("The weights, as safetensors.", "application/octet-stream"),
)
def read_weights(
    request: Request,
    card: ModelInPath,
    tenant: Tenant,
    store: Store,
    catalog: Models,
    blobs: Blobs,
    config: Config,
) -> Response:
    """The generator's weights as a safetensors file, whose metadata holds its configuration."""
    filename = f"{card.name}.safetensors"
    if catalog.ships(card.name):
        path = config.model_repo / card.name / WEIGHTS
        return file_answer(
            request, path, etag=card.sha256, cache=HOURLY, media_type=OCTETS, filename=filename
        )
    if unchanged(request, card.sha256):
        return not_modified(card.sha256, HOURLY)
    headers = headers_of(card.sha256, HOURLY)
    headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return streamed(blobs, store.get_model(tenant, card.name).prefix + WEIGHTS, headers, OCTETS)


@router.post(
    "/v1/models",
    status_code=202,
    response_model=JobView,
    dependencies=[answers_json, require(Scope.MODELS_ADMIN)],
    openapi_extra=openapi.CHECKPOINT_UPLOAD,
)
async def import_model(
    request: Request,
    tenant: Tenant,
    store: Store,
    blobs: Blobs,
    catalog: Models,
    desk: Submit,
    sender: Send,
    views: Shown,
    config: Config,
    key: IdempotencyKey,
    name: Annotated[str | None, Query(description="Name of the model to be.")] = None,
    licence: Annotated[str | None, Query(description="Licence of the weights.")] = None,
    sha256: Sha256 = None,
) -> Response:
    """Upload a checkpoint (.pkl, .pt, .pth, .bin, .safetensors, or several files as a zip without
    compression), raw or as the part `file` of a form, and import it.

    The answer is a job; when it has succeeded, the model can be asked for by its name.
    """

    def keep(upload: Upload) -> tuple[JobRow, bool]:
        form = form_of(ImportForm, {"name": name, "licence": licence, "sha256": sha256}, upload)
        check_hash(upload, form.sha256)
        _refuse_shipped(form, catalog)
        refuse_unlike(upload, _CHECKPOINT, "checkpoint", "torch, pickle or safetensors")
        store.refuse_bytes(tenant, upload.size)
        asked = ImportInput(
            upload=upload_key(tenant, upload.sha256), sha256=upload.sha256, licence=form.licence
        )
        blobs.write(asked.upload, upload.path, media_type=OCTETS)
        return desk.record(tenant, ImportRequest(kind=Kind.IMPORT, model=form.name, input=asked), key)

    folder = config.work_dir / "uploads"
    async with received(request, limit=config.max_checkpoint_bytes, folder=folder) as upload:
        row, created = await to_thread.run_sync(keep, upload)
    return await accepted(row, created, sender, views)


async def accepted(row: JobRow, created: bool, sender: Send, views: Shown) -> Response:
    """202 with the job of an upload, which is sent to the workers unless it was there already."""
    if created:
        sender.send(row)
    view = await to_thread.run_sync(views.job, row)
    headers = {"Location": views.location(row.id)}
    return Response(view.model_dump_json(), 202, headers, media_type="application/json")


def _refuse_shipped(form: ImportForm, catalog: Models) -> None:
    """Raises Conflict for a name that no import can have.

    Whether another imported model has it is for the job to find: the same model may be imported twice.
    """
    if catalog.ships(form.name):
        raise Conflict(f"The model {form.name!r} comes with the service.", code="name_taken")
