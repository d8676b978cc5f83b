"""One connection to Redis on which all listeners of an event loop hear what is told of jobs.

A connection for each would cost some milliseconds of processor time for every caller who waits for a job.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Collection

import redis
import redis.asyncio
from redis.asyncio.client import PubSub

from jobs.queue import KEY_PREFIX

log = logging.getLogger(__name__)

CHANNEL = f"{KEY_PREFIX}live:"  # and the job's id: where its events are published
LATEST = f"{KEY_PREFIX}latest:"  # and the job's id: a hash of the latest of each sort
PAUSE_S = 1.0  # after a failure, before Redis is tried again
LINGER_S = 30.0  # that the connection stays when nobody listens any more

Inbox = asyncio.Queue[bytes | str]


class Ears:
    """Belongs to the event loop that uses it, and is connected while somebody listens."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._inboxes: dict[str, set[Inbox]] = {}  # by job
        self._left: set[str] = set()  # jobs that somebody has stopped to listen to
        self._connected: tuple[redis.asyncio.Redis, PubSub] | None = None
        self._changing = asyncio.Lock()  # the channels of the connection
        self._task: asyncio.Task[None] | None = None
        self._used_at = 0.0

    async def listen(self, job_id: str) -> AsyncGenerator[bytes | str]:
        """The latest events, then those to come. What is told while Redis is away is lost."""
        inbox = Inbox()
        self._inboxes.setdefault(job_id, set()).add(inbox)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            if self._connected is not None:
                try:
                    await self._join(*self._connected, job_id, [inbox])
                except (redis.RedisError, OSError) as error:  # the task meets it too, and connects again
                    log.warning("no live events yet: %s", error)
            while not cancelled():
                yield await inbox.get()
            raise asyncio.CancelledError
        finally:
            self._inboxes[job_id].discard(inbox)
            if not self._inboxes[job_id]:
                del self._inboxes[job_id]
            self._left.add(job_id)
            self._used_at = time.monotonic()

    async def _run(self) -> None:
        while self._wanted():
            try:
                await self._hear()
            except (redis.RedisError, OSError) as error:
                log.warning("no live events: %s", error)
                self._connected = None
                await asyncio.sleep(PAUSE_S)
            finally:
                self._connected = None
            if cancelled():
                raise asyncio.CancelledError

    def _wanted(self) -> bool:
        return bool(self._inboxes) or time.monotonic() - self._used_at < LINGER_S

    async def _hear(self) -> None:
        """Connect, and hand out what comes for as long as it is wanted."""
        async with redis.asyncio.Redis.from_url(self._url) as client, client.pubsub() as channels:
            await channels.subscribe(CHANNEL)  # so that there is always one
            self._connected = client, channels  # whoever comes from here on joins by itself
            for job_id, inboxes in list(self._inboxes.items()):
                await self._join(client, channels, job_id, list(inboxes))
            while self._wanted() and not cancelled():
                message = await channels.get_message(ignore_subscribe_messages=True, timeout=PAUSE_S)
                if message is not None:
                    job_id = message["channel"].decode().removeprefix(CHANNEL)
                    for inbox in self._inboxes.get(job_id, ()):
                        inbox.put_nowait(message["data"])
                if self._left:
                    await self._leave(channels)

    async def _join(
        self, client: redis.asyncio.Redis, channels: PubSub, job_id: str, inboxes: Collection[Inbox]
    ) -> None:
        async with self._changing:
            await channels.subscribe(CHANNEL + job_id)
        for body in (await client.hgetall(LATEST + job_id)).values():
            for inbox in inboxes:
                inbox.put_nowait(body)

    async def _leave(self, channels: PubSub) -> None:
        async with self._changing:
            gone = [CHANNEL + job_id for job_id in self._left if job_id not in self._inboxes]
            self._left.clear()
            if gone:
                await channels.unsubscribe(*gone)


def cancelled() -> bool:
    """redis-py swallows a cancellation that arrives at a bad moment; asyncio still knows of it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
