"""Files in a dict, for tests."""

import hashlib
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from jobs.blobs import check_key
from jobs.errors import Conflict, NotFound


class MemoryBlobStore:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def write(self, key: str, data: bytes | Path, *, media_type: str, exclusive: bool = False) -> str:
        content = data.read_bytes() if isinstance(data, Path) else data
        with self._lock:
            if exclusive and self.objects.get(check_key(key), content) != content:
                raise Conflict(f"{key} is written already", code="blob_exists")
            self.objects[check_key(key)] = content
        return hashlib.sha256(content).hexdigest()

    def read(self, key: str) -> bytes:
        try:
            return self.objects[check_key(key)]
        except KeyError:
            raise NotFound(f"there is no object {key}") from None

    def stream(self, key: str) -> Iterator[bytes]:
        yield self.read(key)

    def exists(self, key: str) -> bool:
        return check_key(key) in self.objects

    def size(self, key: str) -> int:
        return len(self.read(key))

    def list(self, prefix: str) -> Iterator[str]:
        return iter([key for key in self.objects if key.startswith(prefix)])

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.objects.pop(check_key(key), None)

    def url(self, key: str, *, filename: str, media_type: str, ttl_s: int) -> tuple[str, float]:
        return f"memory:///{check_key(key)}", time.time() + ttl_s

    def ping(self) -> None:
        pass
