"""Live events of running jobs: progress, previews, and the hint that something durable has changed.

They ride on Redis pub/sub and may be lost; the database has the truth. While Redis is down there are none,
and those who wait for them ask the database instead. An event is a dict with a `type`.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import orjson
import redis

from jobs.ears import CHANNEL, LATEST, PAUSE_S, Ears
from jobs.metrics import LIVE_EVENTS

log = logging.getLogger(__name__)

Event = dict[str, Any]
MAX_EVENT_BYTES = 128 * 1024  # a preview of 64 KiB, as base64 inside JSON, fits
KEPT_S = 120  # the latest events of a job, for a listener that comes late
SOCKET_S = 5.0


class LiveEvents(Protocol):
    def publish(self, job_id: str, event: Event) -> None:
        """Tell whoever listens. Returns at once and never raises."""

    def subscribe(self, job_id: str) -> AsyncIterator[Event]:
        """The latest event of each type, then those to come; ends when its reader leaves."""


class RedisLive:
    """A thread sends, so that a slow Redis holds no work up; of events that wait, only the latest is kept."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._redis = redis.Redis.from_url(url, socket_timeout=SOCKET_S, socket_connect_timeout=SOCKET_S)
        self._waiting: dict[tuple[str, str], Event] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._ears: WeakKeyDictionary[asyncio.AbstractEventLoop, Ears] = WeakKeyDictionary()

    def publish(self, job_id: str, event: Event) -> None:
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="live", daemon=True)
                self._thread.start()
            slot = job_id, _slot(event)
            if slot in self._waiting:
                LIVE_EVENTS.labels("replaced").inc()
            self._waiting[slot] = event
            self._changed.notify()

    def close(self) -> None:
        """Send what waits, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(SOCKET_S)
        self._redis.close()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed and not self._waiting:
                    return
                batch, self._waiting = self._waiting, {}
            try:
                self._send(batch)
            except (redis.RedisError, OSError, TypeError) as error:
                log.warning("live events are lost: %s", error)
                LIVE_EVENTS.labels("failed").inc(len(batch))
                with self._changed:
                    self._changed.wait_for(lambda: self._closed, timeout=PAUSE_S)

    def _send(self, batch: dict[tuple[str, str], Event]) -> None:
        sent = 0
        with self._redis.pipeline(transaction=False) as pipe:
            for (job_id, slot), event in batch.items():
                body = orjson.dumps(event)
                if len(body) > MAX_EVENT_BYTES:
                    log.warning("an event of %d bytes is not sent", len(body))
                    LIVE_EVENTS.labels("too_large").inc()
                    continue
                pipe.hset(LATEST + job_id, slot, body)
                pipe.expire(LATEST + job_id, KEPT_S)
                pipe.publish(CHANNEL + job_id, body)
                sent += 1
            pipe.execute()
        LIVE_EVENTS.labels("sent").inc(sent)

    async def subscribe(self, job_id: str) -> AsyncIterator[Event]:
        loop = asyncio.get_running_loop()  # asyncio's connections belong to one
        ears = self._ears.setdefault(loop, Ears(self._url))
        async with aclosing(ears.listen(job_id)) as heard:
            async for body in heard:
                yield orjson.loads(body)


class MemoryLive:
    """For tests, and for a gateway and a worker in one process."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, Event]] = {}
        self._listeners: dict[str, list[tuple[asyncio.AbstractEventLoop, asyncio.Queue[Event]]]] = {}
        self._lock = threading.Lock()

    def publish(self, job_id: str, event: Event) -> None:
        with self._lock:
            self._kept.setdefault(job_id, {})[_slot(event)] = event
            for loop, inbox in self._listeners.get(job_id, ()):
                if not loop.is_closed():
                    loop.call_soon_threadsafe(inbox.put_nowait, event)

    async def subscribe(self, job_id: str) -> AsyncIterator[Event]:
        me = (asyncio.get_running_loop(), asyncio.Queue[Event]())
        with self._lock:
            self._listeners.setdefault(job_id, []).append(me)
            kept = list(self._kept.get(job_id, {}).values())
        try:
            for event in kept:
                yield event
            while True:
                yield await me[1].get()
        finally:
            with self._lock:
                self._listeners[job_id].remove(me)


def _slot(event: Event) -> str:
    """Events of one slot replace one another: a job's progress, or the preview of one of its pictures."""
    return f"{event['type']}:{event.get('index', '')}"
