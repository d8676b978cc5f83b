"""How often a key may call."""

from collections.abc import Iterator
from typing import Any

import pytest
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.errors import StorageError
from prometheus_client import CollectorRegistry, Counter
from starlette.testclient import TestClient

from api.problems import HttpProblem
from api.rates import PAUSE_S, Rates, redis_storage
from jobs.access import Scope
from jobs.settings import Settings
from jobs.store.access import Access
from tests.servers import PrivateRedis

from .conftest import bearer, generate
from .test_auth import wait_out_the_cache
from .test_bad_input import assert_problem


@pytest.fixture
def skipped() -> Counter:
    return Counter("skipped", "…", registry=CollectorRegistry())


def count(counter: Counter) -> float:
    return counter.collect()[0].samples[0].value


def test_calls_over_the_limit_are_refused_and_told_when_to_come_back(
    guarded: TestClient, access: Access
) -> None:
    access.create_tenant("acme", {"max_requests_per_minute": 3})
    _, key = access.create_key("acme", (Scope.JOBS_READ, Scope.JOBS_WRITE))
    left = []
    for _ in range(3):
        reply = guarded.get("/v1/jobs", headers=bearer(key))
        assert reply.status_code == 200
        assert reply.headers["ratelimit-limit"] == "3"
        assert reply.headers["ratelimit-policy"] == "3;w=60"
        assert 1 <= int(reply.headers["ratelimit-reset"]) <= 60
        left.append(reply.headers["ratelimit-remaining"])
    assert left == ["2", "1", "0"]
    reply = guarded.post("/v1/jobs", json=generate(), headers=bearer(key))
    assert_problem(reply, 429, "rate_limited")
    assert reply.headers["ratelimit-remaining"] == "0"
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    _, other = access.create_key("acme", (Scope.JOBS_READ,))  # each key has its own
    assert guarded.get("/v1/jobs", headers=bearer(other)).status_code == 200
    assert guarded.get("/healthz").status_code == 200


def test_errors_tell_the_limit_too_and_a_bad_key_costs_nobody_anything(
    guarded: TestClient, access: Access
) -> None:
    access.create_tenant("acme", {"max_requests_per_minute": 3})
    _, key = access.create_key("acme", (Scope.JOBS_READ,))
    guarded.get("/v1/jobs", headers=bearer(key.text[:-1] + "!"))
    assert guarded.get("/v1/jobs/nope", headers=bearer(key)).headers["ratelimit-remaining"] == "2"


def test_without_a_limit_nothing_is_said_of_one(guarded: TestClient, access: Access) -> None:
    _, key = access.create_key("default", (Scope.JOBS_READ,))
    reply = guarded.get("/v1/jobs", headers=bearer(key))
    assert reply.status_code == 200 and not [name for name in reply.headers if "ratelimit" in name]


def test_a_changed_limit_holds_within_seconds(
    guarded: TestClient, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    access.create_tenant("acme", {"max_requests_per_minute": 100})
    _, key = access.create_key("acme", (Scope.JOBS_READ,))
    assert guarded.get("/v1/jobs", headers=bearer(key)).headers["ratelimit-limit"] == "100"
    access.set_limits("acme", {"max_requests_per_minute": 50})
    wait_out_the_cache(guarded, monkeypatch)
    assert guarded.get("/v1/jobs", headers=bearer(key)).headers["ratelimit-limit"] == "50"


class Broken(MemoryStorage):
    """A Redis that is away."""

    tries = 0

    async def acquire_sliding_window_entry(self, *_: Any, **__: Any) -> bool:
        self.tries += 1
        raise StorageError(ConnectionError("refused"))


@pytest.mark.anyio
async def test_without_redis_nobody_is_limited_and_each_call_is_counted(skipped: Counter) -> None:
    storage, now = Broken(), [100.0]
    rates = Rates(storage, skipped, clock=lambda: now[0])
    for _ in range(5):
        assert await rates.hit("k", 1) == {}
    assert count(skipped) == 5
    assert storage.tries == 1  # it is left alone for a while, or every call would wait for it
    now[0] += PAUSE_S + 0.1
    assert await rates.hit("k", 1) == {}
    assert storage.tries == 2


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRedis]:
    server = PrivateRedis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.mark.anyio
async def test_gateways_count_together_in_redis_and_go_on_without_it(
    redis: PrivateRedis, skipped: Counter
) -> None:
    settings = Settings(broker_url=redis.url)
    storages = [redis_storage(settings) for _ in range(2)]
    assert all(isinstance(storage, RedisStorage) for storage in storages)
    gateways = [Rates(storage, skipped) for storage in storages]
    for n in range(4):
        headers = await gateways[n % 2].hit("k", 4)
        assert headers["RateLimit-Remaining"] == str(3 - n)
    for gateway in gateways:
        with pytest.raises(HttpProblem) as refused:
            await gateway.hit("k", 4)
        assert refused.value.code == "rate_limited"
    redis.kill()
    assert [await gateway.hit("k", 4) for gateway in gateways] == [{}, {}]
    assert count(skipped) == 2
    for gateway in gateways:
        await gateway.close()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
