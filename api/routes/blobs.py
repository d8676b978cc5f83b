"""Signed links to files in a directory. With S3 the links lead there, and nothing is here."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api import openapi
from api.deps import PUBLIC, Blobs, PlainInt
from api.files import IMMUTABLE, file_answer
from jobs.blobs import own
from jobs.blobs.directory import DirectoryBlobStore
from jobs.errors import Gone, NotFound

router = APIRouter(tags=["files"])


@router.get(
    "/v1/blobs/{key:path}",
    response_class=Response,
    dependencies=[PUBLIC],  # the signature in the link is what lets in
    responses=openapi.binary("The file.", "application/octet-stream"),
)
def read_blob(
    request: Request,
    key: str,
    blobs: Blobs,
    expires: PlainInt,
    signature: str,
    filename: Annotated[str, Query(max_length=256)],
    media_type: Annotated[str, Query(alias="type", max_length=128)],
) -> Response:
    """A file, by a link that a job gave. 403 for a bad or ended link, 410 for a file removed since."""
    folder = own(blobs)
    if not isinstance(folder, DirectoryBlobStore):
        raise NotFound("Files are elsewhere: follow the links that jobs give.")
    folder.verify(key, expires=expires, filename=filename, media_type=media_type, signature=signature)
    try:
        path = folder.path(key)
    except NotFound:
        raise Gone from None
    etag = hashlib.sha256(key.encode()).hexdigest()[:32]  # what a key holds never changes
    return file_answer(request, path, etag=etag, cache=IMMUTABLE, media_type=media_type, filename=filename)
