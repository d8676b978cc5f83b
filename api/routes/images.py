"""Upload pictures to be inverted or edited, and get them back as they were understood."""

import hashlib
from pathlib import Path

import anyio
from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response

from api import openapi
from api.deps import Blobs, Config, ImageIdInPath, Pictures, Sha256, Shown, Store, Tenant, produces
from api.files import IMMUTABLE, headers_of, not_modified, streamed, unchanged
from api.pictures import refuse_by_label
from api.uploads import Upload, check_hash, only_fields, received
from jobs.blobs import image_key
from jobs.ids import image_id as id_of
from jobs.schemas import ImageView
from jobs.store import ImageRow

router = APIRouter(tags=["images"])
answers_json = Depends(produces("application/json"))


@router.post(
    "/v1/images",
    status_code=201,
    response_model=ImageView,
    dependencies=[answers_json],
    openapi_extra=openapi.IMAGE_UPLOAD,
    responses={200: {"model": ImageView, "description": "The same picture was known."}},
)
async def upload_image(
    request: Request,
    tenant: Tenant,
    store: Store,
    blobs: Blobs,
    decoder: Pictures,
    views: Shown,
    config: Config,
    sha256: Sha256 = None,
) -> Response:
    """Upload a PNG, JPEG or WebP file, raw or as the part `file` of a form. 201, or 200 if it is known.

    It is stored upright as 8-bit RGB, transparency on white, without metadata; its id is that picture's hash.
    """
    threads: anyio.CapacityLimiter = request.app.state.picture_threads

    def keep(upload: Upload) -> tuple[ImageRow, bool]:
        check_hash(upload, sha256 or only_fields(upload, "sha256").get("sha256"))
        refuse_by_label(upload.path, upload.media_type)
        target = upload.path.with_suffix(".png")
        try:
            picture = decoder.reencode(upload.path, target)
            digest = _sha256(target)
            key, size = image_key(tenant, digest), target.stat().st_size
            store.refuse_bytes(tenant, size)
            blobs.write(key, target, media_type="image/png")
        finally:
            target.unlink(missing_ok=True)
        row = ImageRow(id_of(digest), key, picture.width, picture.height, "image/png", size, digest)
        return store.put_image(tenant, row)

    folder = config.work_dir / "uploads"
    async with received(request, limit=config.max_upload_bytes, folder=folder) as upload:
        row, created = await to_thread.run_sync(keep, upload, limiter=threads)
    view = views.image(row)
    headers = {"Location": f"{config.public_url}/v1/images/{row.id}"}
    status = 201 if created else 200
    return Response(view.model_dump_json(), status, headers, media_type="application/json")


@router.get("/v1/images/{image_id}", response_model=ImageView, dependencies=[answers_json])
def read_image(image_id: ImageIdInPath, tenant: Tenant, store: Store, views: Shown) -> ImageView:
    """What is known of a picture."""
    return views.image(store.get_image(tenant, image_id))


@router.get(
    "/v1/images/{image_id}/content",
    response_class=Response,
    dependencies=[Depends(produces("image/png"))],
    responses=openapi.binary("The picture.", "image/png"),
)
def read_image_content(
    request: Request, image_id: ImageIdInPath, tenant: Tenant, store: Store, blobs: Blobs
) -> Response:
    """The picture itself, as PNG."""
    row = store.get_image(tenant, image_id)
    if unchanged(request, row.sha256):
        return not_modified(row.sha256, IMMUTABLE)
    headers = headers_of(row.sha256, IMMUTABLE)
    headers["Content-Disposition"] = f'attachment; filename="{row.id}.png"'
    headers["Content-Length"] = str(row.size_bytes)
    return streamed(blobs, row.key, headers, "image/png")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
