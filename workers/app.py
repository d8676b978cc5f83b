"""The worker process: `celery -A workers.app worker -P threads -c 16 --without-gossip --without-mingle`.

Celery receives messages and holds the waiting threads. What the process owns, the engine first of all, is
built when the worker starts and taken down when it ends. SIGTERM sets the drain flag: every job writes a
checkpoint at its next step, gives its lease back and returns, so that the process is gone within a second
or two.
"""

import contextlib
import logging
import threading
from functools import cache, partial
from typing import Any

import torch
from celery import Celery, signals
from celery.apps import worker as celery_worker

from generative.devices import pick
from jobs.blobs import BlobStore, open_blobs, own
from jobs.blobs.s3 import S3BlobStore
from jobs.errors import Transient
from jobs.live import RedisLive
from jobs.liveness import Liveness
from jobs.logs import set_up_logs
from jobs.operations import Operations, serve
from jobs.queue import make_celery
from jobs.settings import settings
from jobs.store import open_store
from jobs.tracing import set_up_traces
from workers.context import Context
from workers.cores import cores
from workers.engine import Engine, Tick
from workers.graphs import CudaRecorder
from workers.losses import LossNetworks
from workers.metrics import BATCH_ROWS, DRAINING, ENGINE_ROWS, SLOTS, STEP_SECONDS, WAIT_SECONDS, WAITING
from workers.models import Models
from workers.places import Places
from workers.preload import preload
from workers.watchdog import Watchdog

logger = logging.getLogger(__name__)

app: Celery = make_celery(settings())
app.conf.include = ["workers.tasks"]
app.conf.worker_consumer = "workers.consumer:WatchedConsumer"
liveness = Liveness(settings().liveness_s)
_ready = threading.Event()


@cache
def context() -> Context:
    """Built once, in the process that does the work."""
    chosen = settings()
    torch.set_num_threads(chosen.threads or min(cores(), torch.get_num_threads()))
    store, blobs = open_store(chosen), open_blobs(chosen)
    device = pick(chosen.device)
    recorder = CudaRecorder() if chosen.cuda_graphs and torch.device(device).type == "cuda" else None
    return Context(
        settings=chosen,
        store=store,
        blobs=blobs,
        live=RedisLive(chosen.redis_url()),
        models=Models(chosen, store, blobs, device),
        engine=Engine(device, max_batch=chosen.max_batch, recorder=recorder, observe=_count),
        losses=LossNetworks(chosen.loss_weights, device),
        shard_places=Places(chosen.shard_slots),
    )


def _count(tick: Tick) -> None:
    STEP_SECONDS.labels(tick.work).observe(tick.seconds)
    BATCH_ROWS.labels(tick.work).observe(tick.rows)
    ENGINE_ROWS.labels(tick.work, "wanted").inc(tick.rows)
    ENGINE_ROWS.labels(tick.work, "padding").inc(tick.size - tick.rows)
    for wait_s in tick.waits_s:
        WAIT_SECONDS.labels(tick.work).observe(wait_s)


@signals.celeryd_init.connect
def _speak(instance: Any, **_: Any) -> None:
    """Our log from the first word, and no banner of Celery's, nor a word at the end, beside it."""
    set_up_logs(settings(), "worker")
    instance.quiet = True
    celery_worker.safe_say = lambda *_: None


@signals.setup_logging.connect
def _keep_logs(**_: Any) -> None:
    """That somebody listens keeps Celery from setting up its own."""


@signals.worker_init.connect
def _open(sender: Any, **_: Any) -> None:
    """Before the first message is taken."""
    if sender.app is not app:
        return  # signals reach every Celery app of a process
    try:
        _build()
    except Exception as error:  # Celery would log it, and go on without
        logger.critical("the worker cannot start", exc_info=error)
        raise SystemExit(1) from error


def _build() -> None:
    set_up_traces("worker")
    serve(Operations("worker", liveness, _missing), settings())
    engine = context().engine
    liveness.watch("engine", lambda: engine.last_tick)
    for work in ("forward", "optimise"):
        WAITING.labels(work).set_function(partial(_waiting, work))
    Watchdog(engine, settings().stall_s).start()
    _probe(context().blobs)
    preload(filter(None, map(str.strip, settings().preload.split(","))), context())


@signals.worker_ready.connect
def _start(sender: Any, **_: Any) -> None:
    SLOTS.set(sender.pool.num_processes)
    _ready.set()


def _waiting(work: str) -> int:
    return context().engine.waiting()[work]


def _missing() -> dict[str, str]:
    if not _ready.is_set():
        return {"worker": "starting"}
    return {"worker": "draining"} if context().drain.is_set() else {}


def _probe(blobs: BlobStore) -> None:
    """Warn, in the log, of an object store that lets a key be overwritten; it may be away just now."""
    if isinstance(mine := own(blobs), S3BlobStore):
        with contextlib.suppress(Transient):
            mine.refuses_overwrite()


@signals.worker_shutting_down.connect
def _drain(**_: Any) -> None:
    DRAINING.set(1)
    context().drain.set()


@signals.worker_shutdown.connect
def _stop(**_: Any) -> None:
    live = context().live
    if isinstance(live, RedisLive):
        live.close()
    context().close()
