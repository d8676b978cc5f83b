"""Files, by key: pictures, latents, checkpoints, models. In a directory, in S3, or in memory for tests.

Keys are made here and nowhere else. A job's files carry the fence in their key, so that a worker which lost
its lease writes where nobody looks:

    t/<tenant>/j/<job>/a/<fence>/<name>          outputs
    t/<tenant>/j/<job>/ckpt/<fence>-<step>.safetensors
    t/<tenant>/i/<sha256>.png                    uploaded pictures, re-encoded
    t/<tenant>/u/<sha256>                        uploaded checkpoints, in quarantine
    t/<tenant>/m/<name>/<sha256>/                imported models
    t/<tenant>/d/<model>/<set>/<job>/            sets of directions
    t/<tenant>/s/<prefix>/<name>                 datasets: their bytes do not depend on who writes them
    b/<bucket>/<tenant>/<prefix>/<name>          datasets in a bucket of the tenant's: `jobs.blobs.buckets`
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from jobs.buckets import read_buckets
from jobs.errors import BadRequest
from jobs.settings import Settings
from jobs.words import KEY

_KEY = re.compile(KEY)
CHUNK = 1024 * 1024
BUCKETS = "b/"  # before what lies in tenants' own buckets


class BlobStore(Protocol):
    """Raises NotFound for a key that is not there, BlobsUnavailable when the storage does not answer."""

    def write(self, key: str, data: bytes | Path, *, media_type: str, exclusive: bool = False) -> str:
        """Store `data`, whole or not at all; returns its sha256.

        An `exclusive` write never replaces: Conflict `blob_exists` unless the same bytes are there already.
        """

    def read(self, key: str) -> bytes: ...

    def stream(self, key: str) -> Iterator[bytes]:
        """In pieces of up to 1 MiB."""

    def exists(self, key: str) -> bool: ...

    def size(self, key: str) -> int:
        """In bytes."""

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with `prefix`, which ends in `/`; in no order."""

    def delete(self, keys: Iterable[str]) -> None:
        """A key that is not there is fine."""

    def url(self, key: str, *, filename: str, media_type: str, ttl_s: int) -> tuple[str, float]:
        """A link that downloads the object as `filename`, and the epoch second at which it ends."""

    def ping(self) -> None:
        """Raises BlobsUnavailable."""


def check_key(key: str) -> str:
    """`key` itself. Raises BadRequest for one that could leave the storage or mean something to it."""
    if len(key) > 512 or not _KEY.fullmatch(key):
        raise BadRequest(f"{key[:80]!r} is not a key", code="bad_key")
    return key


def output_key(tenant: str, job_id: str, fence: int, name: str) -> str:
    return check_key(f"t/{tenant}/j/{job_id}/a/{fence}/{name}")


def dataset_prefix(tenant: str, prefix: str, bucket: str | None = None) -> str:
    """Of all files of a dataset."""
    start = f"t/{tenant}/s" if bucket is None else f"{BUCKETS}{bucket}/{tenant}"
    return check_key(f"{start}/{prefix}") + "/"


def checkpoint_key(tenant: str, job_id: str, fence: int, step: int) -> str:
    return check_key(f"t/{tenant}/j/{job_id}/ckpt/{fence}-{step}.safetensors")


def image_key(tenant: str, sha256: str) -> str:
    return check_key(f"t/{tenant}/i/{sha256}.png")


def upload_key(tenant: str, sha256: str) -> str:
    return check_key(f"t/{tenant}/u/{sha256}")


def model_prefix(tenant: str, name: str, sha256: str) -> str:
    return check_key(f"t/{tenant}/m/{name}/{sha256}") + "/"


def directions_prefix(tenant: str, model: str, name: str, job_id: str) -> str:
    """With the job that makes the set: one of that name may be deleted, and made again by another job."""
    return check_key(f"t/{tenant}/d/{model}/{name}/{job_id}") + "/"


def fetch(blobs: BlobStore, key: str, path: Path) -> None:
    """Copy an object to a new file."""
    with path.open("xb") as file:
        for piece in blobs.stream(key):
            file.write(piece)


def open_blobs(settings: Settings) -> BlobStore:
    """The storage that `blob_url` names, with the tenants' buckets if there are any. Raises ValueError for
    storage of another kind, or a file of buckets that is not right.
    """
    own = _open_own(settings)
    if settings.buckets is None:
        return own
    from jobs.blobs.buckets import WithBuckets

    return WithBuckets(own, read_buckets(settings.buckets))


def own(blobs: BlobStore) -> BlobStore:
    """The service's storage, without the tenants' buckets."""
    found: BlobStore = getattr(blobs, "own", blobs)
    return found


def _open_own(settings: Settings) -> BlobStore:
    parts = urlsplit(settings.blob_url)
    if parts.scheme == "file":
        from jobs.blobs.directory import DirectoryBlobStore

        return DirectoryBlobStore(Path(url2pathname(parts.path)), settings.public_url, settings.secret())
    if parts.scheme == "s3":
        from jobs.blobs.s3 import S3BlobStore, access_of

        return S3BlobStore(parts.netloc, parts.path.strip("/"), access_of(settings))
    raise ValueError(f"blob_url is file:///folder or s3://bucket/prefix, not {settings.blob_url!r}")


__all__: Sequence[str] = (
    "BUCKETS",
    "CHUNK",
    "BlobStore",
    "check_key",
    "checkpoint_key",
    "dataset_prefix",
    "directions_prefix",
    "fetch",
    "image_key",
    "model_prefix",
    "open_blobs",
    "output_key",
    "own",
    "upload_key",
)
