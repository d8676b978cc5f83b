"""Answers that are files: safe types only, never opened as a page, checked against If-None-Match."""

import itertools
import os
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from jobs.blobs import BlobStore
from jobs.errors import Gone, NotFound

PASSIVE = (
    "image/png",
    "image/jpeg",
    "image/webp",
    "video/mp4",
    "application/json",
    "application/zip",
    "application/octet-stream",
)
"""Types that a browser shows without running anything; every other becomes octet-stream."""
IMMUTABLE = "private, max-age=31536000, immutable"


def unchanged(request: Request, etag: str) -> bool:
    """Whether the caller has the version `etag` (without quotes) already; weak tags count (RFC 9110)."""
    asked = request.headers.get("if-none-match", "")
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in asked.split(",")]
    return asked.strip() == "*" or etag in tags


def headers_of(etag: str, cache: str) -> dict[str, str]:
    return {"ETag": f'"{etag}"', "Cache-Control": cache}


def not_modified(etag: str, cache: str) -> Response:
    return Response(status_code=304, headers=headers_of(etag, cache))


def streamed(blobs: BlobStore, key: str, headers: dict[str, str], media_type: str) -> Response:
    """What lies under a key, piece by piece. Raises Gone; blocks."""
    try:
        pieces = blobs.stream(key)
        first = next(pieces, b"")  # while an error can still be answered
    except NotFound:
        raise Gone from None
    return StreamingResponse(itertools.chain((first,), pieces), headers=headers, media_type=media_type)


def file_answer(
    request: Request, path: Path, *, etag: str, cache: str, media_type: str, filename: str
) -> Response:
    """The file at `path` as a download, whole or in the ranges asked for. Raises Gone; blocks."""
    if unchanged(request, etag):
        return not_modified(etag, cache)
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        raise Gone from None
    return FileResponse(
        path,
        headers=headers_of(etag, cache),
        media_type=media_type if media_type in PASSIVE else "application/octet-stream",
        filename=filename,
        stat_result=stat,
        content_disposition_type="attachment",
    )
