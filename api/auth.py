"""Who is calling: from the Authorization header to a tenant, and what the key may do.

    Authorization: Bearer sgk_live_3fKq9ZtW2bXa_…

The tenant comes from the key and from nothing else. A key that was looked up is believed for `KEEP_S`: so
much later at most every gateway knows that it was revoked, or its tenant suspended. What is kept is the row,
never the key; the secret is compared each time.
"""

import asyncio
import contextlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol
from urllib.parse import unquote_plus

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.problems import HttpProblem
from api.rates import Rates
from jobs.access import ALL_SCOPES, Key, Scope, read_key
from jobs.errors import Transient
from jobs.settings import DEFAULT_TENANT
from jobs.store.access import Lookup
from jobs.store.quota import Quotas

KEEP_S = 3.0
MAX_KEPT = 10_000  # keys and ids that are none

_NAMES = ("api_key", "apikey", "api-key", "key", "token", "access_token", "authorization")
_IN_QUERY = re.compile(rf"(?:^|&)(?:{'|'.join(_NAMES)})=|sgk_", re.IGNORECASE)


@dataclass(frozen=True)
class Caller:
    tenant: str
    key_id: str | None
    scopes: frozenset[Scope]

    def require(self, scope: Scope) -> None:
        """Raises 403 `insufficient_scope`."""
        if scope not in self.scopes:
            detail = f"This needs a key with the scope {scope.value}."
            challenge = f'Bearer realm="ganserve", error="insufficient_scope", scope="{scope.value}"'
            raise HttpProblem("insufficient_scope", detail, headers={"WWW-Authenticate": challenge})


ANYONE = Caller(DEFAULT_TENANT, None, ALL_SCOPES)
"""Whoever reaches a gateway that asks for no keys."""


class Keys(Protocol):
    """What is asked of the database; `jobs.store.access.Access` is one."""

    def look_up(self, key_id: str) -> Lookup | None: ...
    def holds_key(self, found: Lookup | None, key: Key) -> bool: ...
    def touch(self, key_id: str) -> None: ...


class Doorkeeper:
    """Tells callers by their keys, and how often they have called."""

    def __init__(
        self, keys: Keys, rates: Rates, defaults: Quotas, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._keys, self._rates, self._defaults, self._clock = keys, rates, defaults, clock
        self._kept: OrderedDict[str, tuple[float, Lookup | None]] = OrderedDict()
        self._touching: set[asyncio.Task[None]] = set()

    async def caller(self, request: Request) -> Caller:
        """Raises 401, 403 `tenant_suspended` and 429 `rate_limited` problems."""
        key = key_in(request)
        found = await self._look_up(key.id)
        if not self._keys.holds_key(found, key) or found is None:
            raise _invalid("There is no such key.")
        if found.revoked or found.expired:
            raise _invalid(f"The key {key.id} {'was revoked' if found.revoked else 'has expired'}.")
        if found.suspended:
            raise HttpProblem("tenant_suspended", "The tenant is suspended; ask those who run the service.")
        if found.stale:
            self._touch(key.id, found)
        limit = found.quotas.or_else(self._defaults).max_requests_per_minute
        if limit is not None:
            request.state.headers = await self._rates.hit(key.id, limit)
        return Caller(found.row.tenant, key.id, found.scopes)

    async def close(self) -> None:
        if self._touching:
            await asyncio.wait(self._touching, timeout=1)
        await self._rates.close()

    async def _look_up(self, key_id: str) -> Lookup | None:
        now = self._clock()
        until, found = self._kept.get(key_id, (0.0, None))
        if until <= now:
            found = await run_in_threadpool(self._keys.look_up, key_id)
            self._keep(key_id, found, now + KEEP_S)
        return found

    def _keep(self, key_id: str, found: Lookup | None, until: float) -> None:
        self._kept[key_id] = (until, found)
        self._kept.move_to_end(key_id)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)

    def _touch(self, key_id: str, found: Lookup) -> None:
        """Write beside the request that the key is in use."""
        self._keep(key_id, replace(found, stale=False), self._kept[key_id][0])

        async def write() -> None:
            with contextlib.suppress(Transient):
                await run_in_threadpool(self._keys.touch, key_id)

        task = asyncio.create_task(write())
        self._touching.add(task)
        task.add_done_callback(self._touching.discard)


def key_in(request: Request) -> Key:
    """The key that the request shows. Raises 401: `unauthorized` without one, `invalid_key` for no key."""
    if _IN_QUERY.search(unquote_plus(request.scope["query_string"].decode("latin-1"))):
        detail = "A key belongs in the Authorization header. One that was in an address should be revoked."
        raise _challenge("unauthorized", detail)
    given = request.headers.get("authorization")
    if given is None:
        raise _challenge("unauthorized", "Give an API key: Authorization: Bearer sgk_…")
    scheme, _, text = given.partition(" ")
    if scheme.lower() != "bearer":
        raise _challenge("unauthorized", "Give the API key as Authorization: Bearer sgk_…")
    key = read_key(text.strip(" "))
    if key is None:
        raise _invalid("That is no API key.")
    return key


def _challenge(code: Literal["unauthorized", "invalid_key"], detail: str) -> HttpProblem:
    error = ', error="invalid_token"' if code == "invalid_key" else ""
    return HttpProblem(code, detail, headers={"WWW-Authenticate": f'Bearer realm="ganserve"{error}'})


def _invalid(detail: str) -> HttpProblem:
    return _challenge("invalid_key", detail)
