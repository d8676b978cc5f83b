"""How a job reaches a worker: a Celery message that holds the job's id and the payload version, no more.

Tasks are sent by name, so nothing here imports a worker. A message is a hint: it may be lost or come twice,
and the database still says who may work on what. So a send that fails is logged, and the reaper sends again.
"""

import logging
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as SendTimeout
from typing import Any, Protocol

import redis
from celery import Celery
from kombu import Queue

from jobs.lanes import LANES
from jobs.metrics import SENDS
from jobs.schemas import PAYLOAD_VERSION, Kind
from jobs.settings import Settings

log = logging.getLogger(__name__)

# Wire format: a name here is in messages that are already queued. Add names, do not change them.
TASK_NAMES = {kind.value: f"ganserve.{kind.value}" for kind in Kind}
KEY_PREFIX = "ganserve:"  # before every key of ours in Redis

SEND_S = 2.0  # longest wait for the broker
SENDERS = 8


class JobQueue(Protocol):
    def send(self, job_id: str, kind: str, lane: str) -> bool:
        """Tell the workers of a waiting job. False when the broker did not take it; never raises.

        Blocks for up to 2 s, so never on an event loop.
        """

    def depths(self) -> Mapping[str, int]:
        """Messages by lane, of the lanes of which it is known; of none while the broker does not answer."""

    def ping(self) -> None:
        """Raises `redis.RedisError` when the broker does not answer."""


class CeleryJobQueue:
    def __init__(self, celery: Celery, redis_url: str) -> None:
        self.celery = celery
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=SEND_S, socket_connect_timeout=SEND_S)
        self._senders = ThreadPoolExecutor(SENDERS, thread_name_prefix="send")
        self._free = threading.BoundedSemaphore(SENDERS)

    def send(self, job_id: str, kind: str, lane: str) -> bool:
        taken = self._try(job_id, kind, lane)
        SENDS.labels("sent" if taken else "failed").inc()
        return taken

    def _try(self, job_id: str, kind: str, lane: str) -> bool:
        if not self._free.acquire(timeout=SEND_S / 2):
            log.warning("job %s is not sent: the broker is slow", job_id)
            return False
        try:
            self._senders.submit(self._send, job_id, kind, lane).result(timeout=SEND_S / 2)
        except SendTimeout:  # the thread goes on, and may still succeed
            log.warning("job %s is not sent yet: the broker did not answer", job_id)
            return False
        except Exception as error:  # whatever it is, the row is committed
            log.warning("job %s is not sent: %s", job_id, error)
            return False
        return True

    def _send(self, job_id: str, kind: str, lane: str) -> None:
        try:
            args = [job_id, PAYLOAD_VERSION]
            self.celery.send_task(TASK_NAMES[kind], args=args, queue=lane, ignore_result=True)
        finally:
            self._free.release()

    def depths(self) -> Mapping[str, int]:
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for lane in LANES:
                    pipe.llen(KEY_PREFIX + lane)
                depths: Iterable[int] = pipe.execute()
        except redis.RedisError:
            return {}
        return dict(zip(LANES, depths, strict=True))

    def ping(self) -> None:
        self._redis.ping()

    def close(self) -> None:
        self._senders.shutdown(wait=False, cancel_futures=True)
        self._redis.close()


class MemoryJobQueue:
    """Keeps what was sent, for tests and for a worker in the same process."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str]] = []

    def send(self, job_id: str, kind: str, lane: str) -> bool:
        self.sent.append((job_id, kind, lane))
        return True

    def depths(self) -> Mapping[str, int]:
        """Of the lanes to which nothing was sent: what was sent may have been taken."""
        return dict.fromkeys(set(LANES) - {lane for _, _, lane in self.sent}, 0)

    def ping(self) -> None:
        pass


def make_celery(settings: Settings) -> Celery:
    """The app of producers and workers alike. Why each setting is as it is stands beside it."""
    app = Celery("ganserve", broker=settings.celery_broker_url(), set_as_current=False)
    app.conf.update(_delivery())
    app.conf.update(_worker())
    app.conf.update(
        task_queues=[Queue(lane, routing_key=lane) for lane in LANES],
        task_default_queue=LANES[0],
        task_create_missing_queues=False,  # a misspelt lane is an error, not a queue that nobody serves
        broker_transport_options=_transport(),
    )
    return app


def open_queue(settings: Settings) -> CeleryJobQueue:
    return CeleryJobQueue(make_celery(settings), settings.redis_url())


def _delivery() -> dict[str, Any]:
    return {
        "task_ignore_result": True,
        "result_backend": None,  # with Redis down at its end, a finished task was recorded as FAILURE
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,  # safe only because a claim refuses duplicates and caps attempts
        "task_acks_on_failure": True,
        "task_acks_on_timeout": True,  # False looped for ever
        "task_retry_on_worker_lost": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_compression": None,
        "task_default_delivery_mode": "persistent",
        # One quick retry; after that the reaper is the retry.
        "task_publish_retry_policy": {
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.2,
        },
    }


def _worker() -> dict[str, Any]:
    return {
        "task_time_limit": None,  # threads ignore both; the runner looks at the time at every step
        "task_soft_time_limit": None,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,  # a busy process holds no job that another could run
        "worker_cancel_long_running_tasks_on_connection_loss": False,  # no effect on threads; the lease stays
        "worker_soft_shutdown_timeout": 0,  # NotImplementedError on threads; the drain is ours
        "worker_send_task_events": False,
        # Its pub/sub reader blocks the consumer for ever after a reset connection: alive, and silent.
        "worker_enable_remote_control": False,
        "worker_state_db": None,
        "worker_hijack_root_logger": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # by default a worker gives up after 100 tries and exits
    }


def _transport() -> dict[str, Any]:
    return {
        # Else each message is written down until its task has ended, and comes again an hour after its worker
        # was lost. It is a hint, and the reaper sends what was lost within seconds.
        "ack_emulation": False,
        "socket_timeout": 15,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "retry_on_timeout": True,
        # Lanes are served in the order of their names: kombu keeps the queues of a consumer in a set.
        "queue_order_strategy": "sorted",
        "priority_steps": [0],  # priority is in the lane, so each lane is one list
        "sep": ":",
        "global_keyprefix": KEY_PREFIX,
    }
