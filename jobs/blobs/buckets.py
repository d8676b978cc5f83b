"""The service's storage with the tenants' own buckets beside it.

Keys that begin with `b/<bucket>/<tenant>/` lie there, at `<prefix of the bucket>/<tenant>/…`. What lies there
is the tenant's: the service writes, and signs links, and removes nothing.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from jobs.blobs import BUCKETS, BlobStore
from jobs.blobs.s3 import Access, BlobsRefused, S3BlobStore
from jobs.buckets import Bucket, Buckets, refuse_unknown
from jobs.errors import JobFailed, NotFound


class WithBuckets:
    """The service's storage, with the tenants' buckets beside it."""

    def __init__(self, own: BlobStore, buckets: Buckets) -> None:
        self.own = own
        self._buckets = buckets
        self._open = {name: _opened(bucket) for name, bucket in buckets.items()}

    def _at(self, key: str) -> tuple[BlobStore, str]:
        """The storage in which a key lies, and its name there. Raises UnknownBucket."""
        if not key.startswith(BUCKETS):
            return self.own, key
        name, tenant, _ = key.removeprefix(BUCKETS).split("/", 2)
        refuse_unknown(self._buckets, tenant, name)
        return self._open[name], key.removeprefix(f"{BUCKETS}{name}/")

    def write(self, key: str, data: bytes | Path, *, media_type: str, exclusive: bool = False) -> str:
        """And JobFailed `bucket_refused`: to try again would not help."""
        store, name = self._at(key)
        try:
            return store.write(name, data, media_type=media_type, exclusive=exclusive)
        except (BlobsRefused, NotFound) as error:
            if store is self.own:
                raise
            bucket = key.removeprefix(BUCKETS).split("/")[0]
            raise JobFailed(
                f"The bucket {bucket!r} cannot be written: {error}", code="bucket_refused"
            ) from error

    def read(self, key: str) -> bytes:
        store, name = self._at(key)
        return store.read(name)

    def stream(self, key: str) -> Iterator[bytes]:
        store, name = self._at(key)
        return store.stream(name)

    def exists(self, key: str) -> bool:
        store, name = self._at(key)
        return store.exists(name)

    def size(self, key: str) -> int:
        store, name = self._at(key)
        return store.size(name)

    def list(self, prefix: str) -> Iterator[str]:
        """Of the service's storage alone."""
        return self.own.list(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        """From the service's storage alone."""
        self.own.delete(key for key in keys if not key.startswith(BUCKETS))

    def url(self, key: str, *, filename: str, media_type: str, ttl_s: int) -> tuple[str, float]:
        store, name = self._at(key)
        return store.url(name, filename=filename, media_type=media_type, ttl_s=ttl_s)

    def ping(self) -> None:
        self.own.ping()


def _opened(bucket: Bucket) -> S3BlobStore:
    """Raises ValueError for a file of a key that cannot be read."""
    try:
        access = Access(
            bucket.endpoint,
            bucket.public_endpoint,
            bucket.region,
            bucket.access_key_file.read_text().strip() if bucket.access_key_file else None,
            bucket.secret_key_file.read_text().strip() if bucket.secret_key_file else None,
        )
    except OSError as error:
        raise ValueError(f"a key of the bucket {bucket.bucket!r}: {error}") from error
    return S3BlobStore(bucket.bucket, bucket.prefix, access)
