"""What one worker process holds for as long as it lives."""

import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

from jobs.blobs import BlobStore
from jobs.live import LiveEvents
from jobs.settings import Settings
from jobs.store import JobStore
from workers.company import Company
from workers.cores import cores
from workers.engine import Engine
from workers.faces import FaceDetector
from workers.losses import LossNetworks
from workers.models import Models
from workers.places import Places
from workers.watchdog import leave


def worker_name() -> str:
    """Host and process: who holds a lease."""
    return f"{socket.gethostname()}:{os.getpid()}"


def encoders() -> ThreadPoolExecutor:
    """The pool for encoding and uploads. Two threads a core: encoders compute, uploads wait."""
    return ThreadPoolExecutor(max_workers=2 * cores(), thread_name_prefix="encode")


@dataclass(frozen=True)
class Context:
    settings: Settings
    store: JobStore
    blobs: BlobStore
    live: LiveEvents
    models: Models
    engine: Engine
    losses: LossNetworks
    pool: ThreadPoolExecutor = field(default_factory=encoders)
    worker: str = field(default_factory=worker_name)
    drain: threading.Event = field(default_factory=threading.Event)
    company: Company = field(default_factory=Company)
    shard_places: Places = field(default_factory=Places)
    leave: Callable[[str], None] = leave
    """Ends the process at once: after an error that leaves the device unusable."""

    @cached_property
    def faces(self) -> FaceDetector:
        return FaceDetector(self.settings.landmark_model)

    def close(self) -> None:
        """After the last job: stop the engine and the pool."""
        self.engine.close()
        self.pool.shutdown(cancel_futures=True)
