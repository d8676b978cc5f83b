"""The dispatcher: leases deliveries that are due and makes an attempt for each, many at a time.

Any number of dispatchers may run. One that dies loses nothing: what it had is due again when its lease ends,
so a receiver may get an event twice (and tells by `webhook-id`), but never not at all.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

import structlog

from jobs import tracing
from jobs.errors import Transient
from jobs.liveness import Loop
from jobs.store import JobStore
from jobs.store.webhooks import Leased
from jobs.views import Views
from jobs.webhooks.delivery import Answer, Courier, Outcome
from jobs.webhooks.metrics import ATTEMPT_SECONDS, ATTEMPTS, DISABLED
from jobs.webhooks.payload import payload
from jobs.webhooks.schedule import MAX_TRIES, wait_s
from jobs.webhooks.signing import Signer

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

SHARES = 4  # one webhook may have a quarter of the attempts at a time
PAUSES_S = (0.3, 1.0)
USER_AGENT = "ganserve-webhooks/1"


class Dispatcher:
    """`concurrency` attempts at a time; looks for work every `poll_s`, and whenever an attempt has ended."""

    def __init__(
        self,
        store: JobStore,
        views: Views,
        signer: Signer,
        courier: Courier,
        *,
        concurrency: int = 32,
        poll_s: float = 1.0,
        clock: Callable[[], float] = time.time,
        loop: Loop | None = None,
    ) -> None:
        self._store, self._views, self._signer, self._courier = store, views, signer, courier
        self._concurrency, self._share = concurrency, max(1, concurrency // SHARES)
        self._poll_s, self._clock, self._loop = poll_s, clock, loop or Loop()
        self._threads = ThreadPoolExecutor(min(concurrency, 16), thread_name_prefix="store")
        self._attempts: dict[asyncio.Task[None], tuple[str, str]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then the attempts under way come to their end, which takes 10 s at most."""
        stopped = asyncio.create_task(stop.wait())
        while not stop.is_set():
            self._loop.tick()
            begun = await self.tick()
            if begun and len(self._attempts) < self._concurrency:
                continue  # there may be more
            ends = {stopped, *self._attempts}
            await asyncio.wait(ends, timeout=self._poll_s, return_when=asyncio.FIRST_COMPLETED)
        await self.drain()
        self._threads.shutdown()

    async def tick(self) -> int:
        """Begin attempts for what is due and has room; how many."""
        room = self._concurrency - len(self._attempts)
        if not room:
            return 0
        crowd = Counter(self._attempts.values())
        busy = [receiver for receiver, count in crowd.items() if count >= self._share]
        share = self._share - max((count for count in crowd.values() if count < self._share), default=0)
        try:
            leased = await self._in_thread(self._store.webhooks.lease, room, share=share, busy=busy)
        except Transient as error:
            log.warning("no deliveries, next time again", error=str(error))
            return 0
        for one in leased:
            task = asyncio.create_task(self._attempt(one))
            self._attempts[task] = (one.tenant, one.webhook_id)
            task.add_done_callback(self._attempts.pop)
        return len(leased)

    async def drain(self) -> None:
        """Wait for the attempts under way."""
        while self._attempts:
            await asyncio.wait(self._attempts)

    async def _attempt(self, leased: Leased) -> None:
        about = {"tenant": leased.tenant, "delivery": leased.id, "webhook": leased.webhook_id}
        with structlog.contextvars.bound_contextvars(**about, job=leased.job_id, attempt=leased.tries):
            try:
                await self._settle(leased, await self._answer(leased))
            except Transient as error:  # the lease ends, and it is due again
                log.warning("delivery put off", error=str(error))
            except Exception:  # the edge of an attempt; as above
                log.exception("delivery put off")

    async def _answer(self, leased: Leased) -> Answer:
        try:
            return await self._send(leased)
        except Transient:
            raise
        except Exception:
            log.exception("delivery failed here")
            return Answer(Outcome.INTERNAL)

    async def _send(self, leased: Leased) -> Answer:
        if leased.tries > MAX_TRIES:
            return Answer(Outcome.LOST)
        if leased.url is None:
            return Answer(Outcome.DISABLED)
        message = await self._in_thread(payload, leased, self._store, self._views)
        if message is None:
            return Answer(Outcome.DELETED)
        parent = tracing.read(message.traceparent)
        with tracing.span("webhook", kind="client", parent=parent, webhook_type=leased.type) as span:
            headers = self._headers(leased, message.body)
            with ATTEMPT_SECONDS.time():
                answer = await self._courier.deliver(leased.url, headers, message.body)
            if answer.outcome is not Outcome.SUCCEEDED:
                span.fail(answer.outcome.value)
        return answer

    def _headers(self, leased: Leased, body: bytes) -> dict[str, str]:
        headers = {"User-Agent": USER_AGENT, "Content-Type": "application/json"}
        if (trace := tracing.traceparent()) is not None:
            headers["traceparent"] = trace
        return headers | self._signer.headers(leased.salts, leased.event_id, int(self._clock()), body)

    async def _settle(self, leased: Leased, answer: Answer) -> None:
        outcome = answer.outcome
        succeeded = outcome is Outcome.SUCCEEDED
        retry_in_s = None if outcome.final else wait_s(leased.tries, answer.retry_after_s)
        settle = partial(
            self._store.webhooks.settle,
            leased,
            succeeded=succeeded,
            retry_in_s=retry_in_s,
            duration_ms=answer.duration_ms,
            status=answer.status,
            error=None if succeeded else outcome.value,
            sent=outcome.sent,
            gone=outcome is Outcome.GONE,
        )
        disabled = await self._insist(settle)
        ATTEMPTS.labels(outcome.value).inc()
        log.info("delivery", outcome=outcome.value, status=answer.status, retry_in_s=retry_in_s)
        if disabled:
            DISABLED.labels(disabled).inc()
            log.warning("webhook disabled", reason=disabled)

    async def _insist(self, call: Callable[[], T]) -> T:
        """What is not recorded is sent again, so a database that is away for a moment is asked again."""
        for pause_s in PAUSES_S:
            try:
                return await self._in_thread(call)
            except Transient:
                await asyncio.sleep(pause_s)
        return await self._in_thread(call)

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(function, *args, **kwargs))
