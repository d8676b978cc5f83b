"""How often a key may call: a sliding window of one minute, counted in Redis for all gateways together.

What callers are told follows draft-ietf-httpapi-ratelimit-headers-06: `RateLimit-Limit`,
`RateLimit-Remaining` and `RateLimit-Reset` (seconds), and `RateLimit-Policy`. While Redis does not answer
nobody is limited, and each call that was let through is counted: the limit is against haste, and quotas,
which are in the database, still hold.
"""

import logging
import time
from collections.abc import Callable
from math import ceil
from typing import Any

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage, Storage
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from prometheus_client import Counter
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from api.problems import HttpProblem
from jobs.queue import KEY_PREFIX
from jobs.settings import Settings

WAIT_S = 0.25  # longest wait for Redis
PAUSE_S = 2.0  # after a failure Redis is left alone so long

logger = logging.getLogger(__name__)


class Rates:
    """`unlimited` counts the calls that could not be counted."""

    def __init__(
        self, storage: Storage, unlimited: Counter, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._storage, self._unlimited, self._clock = storage, unlimited, clock
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._away_until = 0.0

    async def hit(self, key_id: str, per_minute: int) -> dict[str, str]:
        """Count one call; returns the headers of its answer. Raises 429 `rate_limited`."""
        if self._clock() < self._away_until:
            self._unlimited.inc()
            return {}
        limit = RateLimitItemPerMinute(per_minute)
        try:
            allowed = await self._limiter.hit(limit, key_id)
            reset_at, remaining = await self._limiter.get_window_stats(limit, key_id)
        except StorageError as error:
            logger.warning("calls are not limited: %s", error)
            self._away_until = self._clock() + PAUSE_S
            self._unlimited.inc()
            return {}
        reset_s = max(1, ceil(reset_at - time.time()))
        headers = {
            "RateLimit-Limit": str(per_minute),
            "RateLimit-Remaining": str(remaining),
            "RateLimit-Reset": str(reset_s),
            "RateLimit-Policy": f"{per_minute};w=60",
        }
        if not allowed:
            detail = f"The key may call {per_minute} times a minute; the next call may come in {reset_s} s."
            raise HttpProblem("rate_limited", detail, headers=headers | {"Retry-After": str(reset_s)})
        return headers

    async def close(self) -> None:
        bridge = self._storage.bridge if isinstance(self._storage, RedisStorage) else None
        if isinstance(bridge, RedispyBridge):
            await bridge.storage.aclose()


def redis_storage(settings: Settings) -> RedisStorage:
    url = settings.redis_url().replace("unix://", "redis+unix://", 1)
    connection: dict[str, Any] = {
        "socket_timeout": WAIT_S,
        "socket_connect_timeout": WAIT_S,
        "retry": Retry(NoBackoff(), 0),
    }
    prefix = f"{KEY_PREFIX}rate"
    return RedisStorage(
        f"async+{url}", wrap_exceptions=True, implementation="redispy", key_prefix=prefix, **connection
    )
