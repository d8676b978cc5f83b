"""Encodes and uploads a job's files beside its work, and keeps the list of those that got through.

Objects go under a key that holds the fence, so a stale worker's bytes never meet the valid ones; they
become visible only through the rows that the runner writes at the end.
"""

import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextvars import copy_context
from pathlib import Path
from typing import Any

from jobs import tracing
from jobs.blobs import BlobStore
from jobs.errors import Conflict, Transient
from jobs.store import OutputRow
from workers.metrics import ARTIFACT_BYTES, ENCODE_SECONDS, UPLOAD_RETRIES, UPLOAD_SECONDS

logger = logging.getLogger(__name__)

PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0)  # between tries of one upload; all of them fit into the lease
LIMIT = 64  # files that may wait to be encoded: bounds the memory of a job whose pictures come fast
LOOK_S = 0.1  # how often a wait looks up


class Outbox:
    """Files of one job, at `key(name)`. Its waits call `check`, which may raise."""

    def __init__(
        self,
        pool: Executor,
        blobs: BlobStore,
        key: Callable[[str], str],
        *,
        check: Callable[[], None],
    ) -> None:
        self._pool, self._blobs, self._key = pool, blobs, key
        self._check = check
        self._room = threading.Semaphore(LIMIT)
        self._closed = threading.Event()
        self._files: list[Future[OutputRow]] = []
        self._began_s = time.time()

    def put(
        self,
        name: str,
        encode: Callable[[], bytes | Path],
        *,
        role: str,
        media_type: str,
        index: int = 0,
        about: Mapping[str, Any] | None = None,
        keys: Sequence[str] = (),
    ) -> None:
        """Publish what `encode` returns as `name`. Raises the error of an earlier file that failed.

        keys: in place of the key that holds the fence. The first is taken where nothing lies, or the same
        bytes; else the next.
        """
        self._raise_error()
        if not self._files:
            self._began_s = time.time()
        while not self._room.acquire(timeout=LOOK_S):
            self._check()

        def send() -> OutputRow:
            try:
                with ENCODE_SECONDS.time():
                    body = encode()
                with UPLOAD_SECONDS.time():
                    key, sha256 = self._upload(keys or (self._key(name),), body, media_type)
            finally:
                self._room.release()
            size = body.stat().st_size if isinstance(body, Path) else len(body)
            ARTIFACT_BYTES.inc(size)
            return OutputRow(name, role, key, media_type, size, sha256, index, dict(about or {}))

        self._files.append(self._pool.submit(copy_context().run, send))

    def flush(self) -> list[OutputRow]:
        """All files, in the order of `put`, once the last is stored. Raises the first error among them."""
        waiting = set(self._files)
        while waiting:
            _, waiting = concurrent.futures.wait(waiting, timeout=LOOK_S)
            self._check()
        rows = [file.result() for file in self._files]
        size = sum(row.size_bytes for row in rows)
        tracing.past("storage", self._began_s, time.time(), files=len(rows), bytes=size)
        return rows

    def close(self) -> list[OutputRow]:
        """Stop: drop what has not begun, wait for the rest, and return the files that got through."""
        self._closed.set()
        begun = [file for file in self._files if not file.cancel()]
        return [file.result() for file in begun if file.exception() is None]

    def _raise_error(self) -> None:
        for file in self._files:
            if file.done():
                file.result()

    def _upload(self, keys: Sequence[str], body: bytes | Path, media_type: str) -> tuple[str, str]:
        """The key at which it lies now, and its sha256."""
        for key in keys[:-1]:
            try:
                return key, self._persist(key, body, media_type)
            except Conflict:  # of an attempt on another kind of device
                logger.warning("%s holds other bytes already", key)
        return keys[-1], self._persist(keys[-1], body, media_type)

    def _persist(self, key: str, body: bytes | Path, media_type: str) -> str:
        for pause_s in PAUSES_S:
            try:
                return self._blobs.write(key, body, media_type=media_type, exclusive=True)
            except Transient:
                if self._closed.is_set():
                    raise
                logger.warning("%s: upload failed, trying again", key, exc_info=True)
                UPLOAD_RETRIES.inc()
                self._closed.wait(pause_s)
        return self._blobs.write(key, body, media_type=media_type, exclusive=True)
