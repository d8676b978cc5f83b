"""Files in S3, or in what speaks its protocol, through boto3.

Other makers' stores refuse boto3's newer default checksums, so they are sent only where required. Links are
signed by a second client for the address that callers can reach, because the host is part of the signature.
"""

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from jobs.blobs import CHUNK, check_key
from jobs.errors import BlobsUnavailable, Conflict, NotFound
from jobs.metrics import timed_blobs
from jobs.settings import Settings

log = logging.getLogger(__name__)


class BlobsRefused(BlobsUnavailable):
    """The object store does not let us in."""


@dataclass(frozen=True)
class Access:
    """Where a bucket is and how to get in; without keys, as boto3 finds them."""

    endpoint: str | None
    public_endpoint: str | None
    region: str
    access_key: str | None
    secret_key: str | None = field(repr=False)


def access_of(settings: Settings) -> Access:
    return Access(
        settings.s3_endpoint,
        settings.s3_public_endpoint,
        settings.s3_region,
        settings.s3_access_key,
        settings.s3_secret_key.get_secret_value() if settings.s3_secret_key else None,
    )


class S3BlobStore:
    def __init__(self, bucket: str, prefix: str, access: Access) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._s3 = _client(access, access.endpoint)
        self._public = _client(access, access.public_endpoint or access.endpoint)

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + check_key(key)}

    @timed_blobs("write")
    def write(self, key: str, data: bytes | Path, *, media_type: str, exclusive: bool = False) -> str:
        sha256 = _sha256(data)
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if exclusive else {}
        with _errors(key), ExitStack() as stack:
            body = stack.enter_context(data.open("rb")) if isinstance(data, Path) else data
            try:
                self._s3.put_object(
                    **self._at(key),
                    Body=body,
                    ContentType=media_type,
                    Metadata={"sha256": sha256},
                    **condition,
                )
            except ClientError as error:
                if _status(error) != 412:
                    raise
                self._same(key, sha256)
        return sha256

    def _same(self, key: str, sha256: str) -> None:
        """An earlier try of the same write may have succeeded without our hearing of it."""
        if self._s3.head_object(**self._at(key))["Metadata"].get("sha256") != sha256:
            raise Conflict(f"{key} is written already", code="blob_exists")

    @timed_blobs("read")
    def read(self, key: str) -> bytes:
        return b"".join(self.stream(key))

    @timed_blobs("stream")
    def stream(self, key: str) -> Iterator[bytes]:
        with _errors(key):
            yield from self._s3.get_object(**self._at(key))["Body"].iter_chunks(CHUNK)

    def exists(self, key: str) -> bool:
        try:
            self.size(key)
        except NotFound:
            return False
        return True

    @timed_blobs("size")
    def size(self, key: str) -> int:
        with _errors(key):
            return self._s3.head_object(**self._at(key))["ContentLength"]

    @timed_blobs("list")
    def list(self, prefix: str) -> Iterator[str]:
        start = self._prefix + check_key(prefix.rstrip("/")) + "/"
        with _errors(prefix):
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=start):
                for found in page.get("Contents", ()):
                    yield found["Key"].removeprefix(self._prefix)

    @timed_blobs("delete")
    def delete(self, keys: Iterable[str]) -> None:
        left = iter(keys)
        while some := list(islice(left, 1000)):  # the protocol's limit
            listed = [{"Key": self._at(key)["Key"]} for key in some]
            with _errors("objects"):
                answer = self._s3.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": listed, "Quiet": True}
                )
            if errors := answer.get("Errors"):
                raise BlobsUnavailable(f"{len(errors)} objects could not be removed")

    def url(self, key: str, *, filename: str, media_type: str, ttl_s: int) -> tuple[str, float]:
        asked = self._at(key) | {
            "ResponseContentDisposition": f'attachment; filename="{filename}"',
            "ResponseContentType": media_type,
        }
        expires = time.time() + ttl_s
        return self._public.generate_presigned_url("get_object", Params=asked, ExpiresIn=ttl_s), expires

    def close(self) -> None:
        self._s3.close()
        self._public.close()

    def ping(self) -> None:
        with _errors("the bucket"):
            self._s3.head_bucket(Bucket=self._bucket)

    def refuses_overwrite(self) -> bool:
        """Whether the store honours exclusive writes; some makers' ignore the condition, and we warn."""
        key = f"probe/{time.time_ns()}"
        try:
            self.write(key, b"first", media_type="text/plain", exclusive=True)
            self.write(key, b"second", media_type="text/plain", exclusive=True)
        except Conflict:
            return True
        finally:
            self.delete([key])
        log.warning("the object store ignores If-None-Match: a key can be overwritten")
        return False


def _client(access: Access, endpoint: str | None) -> Any:
    options: dict[str, Any] = {"endpoint_url": endpoint, "region_name": access.region}
    if access.access_key and access.secret_key:
        options["aws_access_key_id"] = access.access_key
        options["aws_secret_access_key"] = access.secret_key
    config = Config(
        signature_version="s3v4",
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=5,
        read_timeout=30,
        max_pool_connections=32,
        retries={"mode": "standard", "max_attempts": 3},
        s3={"addressing_style": "path" if endpoint else "auto"},
    )
    return boto3.Session().client("s3", config=config, **options)


def _sha256(data: bytes | Path) -> str:
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    with data.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


@contextmanager
def _errors(what: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if _status(error) == 404:
            raise NotFound(f"there is no object {what}") from error
        kind = BlobsRefused if _status(error) in (401, 403) else BlobsUnavailable
        raise kind(f"{what}: the object store answered {_status(error)}") from error
    except BotoCoreError as error:
        raise BlobsUnavailable(f"{what}: {type(error).__name__}") from error
