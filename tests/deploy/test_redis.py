"""The Redis of chart and compose: it refuses what could empty it, and takes all that the service asks."""

import asyncio
import socket
import subprocess
import tempfile
from collections.abc import Iterator

import pytest
import redis
import yaml
from prometheus_client import CollectorRegistry, Counter

from api.rates import Rates, redis_storage
from jobs.lanes import LANES
from jobs.live import RedisLive
from jobs.queue import open_queue
from jobs.settings import Settings
from tests.deploy.given import ROOT, only
from tests.servers import Unavailable, redis_program, wait_until

PASSWORD = "p" * 32


def arguments(where, chart):
    """redis-server's, with the password and the folder left to be filled in."""
    if where == "chart":
        (container,) = only(chart["triton"], "StatefulSet", "redis")["spec"]["template"]["spec"]["containers"]
        return [argument.replace("$(REDIS_PASSWORD)", PASSWORD) for argument in container["args"]]
    command = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]["redis"]["command"]
    return [argument.replace("${REDIS_PASSWORD:?}", PASSWORD) for argument in command[1:]]


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module", params=["chart", "compose"])
def url(request, chart) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        given = [
            argument.replace("--dir /data", f"--dir {folder}") for argument in arguments(request.param, chart)
        ]
        try:
            program = redis_program()
        except Unavailable as reason:
            pytest.skip(str(reason))
        place = ["--port", str(port), "--bind", "127.0.0.1"]
        server = subprocess.Popen([program, *given, *place], stdout=subprocess.DEVNULL, cwd=folder)
        try:
            wait_until(lambda: listens(port), "the start of Redis")
            yield f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
        finally:
            server.kill()
            server.wait()


def test_it_asks_for_the_password(url):
    with (
        redis.Redis.from_url(url.replace(f":{PASSWORD}@", "")) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()


@pytest.mark.parametrize(
    "command",
    ["FLUSHALL", "FLUSHDB", "CONFIG GET dir", "DEBUG SLEEP 0", "SHUTDOWN", "REPLICAOF NO ONE", "ACL LIST"],
)
def test_the_services_user_cannot_empty_or_change_it(url, command):
    with (
        redis.Redis.from_url(url) as client,
        pytest.raises(redis.ResponseError, match=r"permissions|not allowed"),
    ):
        client.execute_command(*command.split())


def test_it_keeps_a_log_and_evicts_nothing(url):
    with redis.Redis.from_url(url) as client:
        assert client.info("persistence")["aof_enabled"] == 1
        memory = client.info("memory")
    assert memory["maxmemory_policy"] == "noeviction"
    assert memory["maxmemory"] == 512 * 1024 * 1024


def test_jobs_are_sent_through_it(url):
    queue = open_queue(Settings(broker_url=url))

    assert queue.send("job_1", "generate", LANES[0])
    assert queue.depths()[LANES[0]] == 1
    assert queue.ping() is None


def test_the_lists_are_named_as_the_autoscaler_asks(url, chart):
    """KEDA reads their lengths; with another name it would see an empty queue."""
    open_queue(Settings(broker_url=url)).send("job_2", "generate", LANES[4])
    triggers = only(chart["gpu"], "ScaledObject", "worker")["spec"]["triggers"]
    names = {trigger["name"]: trigger["metadata"].get("listName") for trigger in triggers}

    with redis.Redis.from_url(url) as client:
        assert client.llen(names[LANES[4].replace(".", "-")]) == 1
    assert {name for name in names.values() if name} == {f"ganserve:{lane}" for lane in LANES}


def test_progress_passes_through_it(url):
    live = RedisLive(Settings(broker_url=url).redis_url())

    async def heard():
        events = live.subscribe("job_3")
        live.publish("job_3", {"type": "progress", "step": 1})
        try:
            return await asyncio.wait_for(anext(events), 10)
        finally:
            await events.aclose()

    assert asyncio.run(heard())["step"] == 1
    live.close()


def test_calls_are_counted_in_it(url):
    unlimited = Counter("unlimited", "Calls that were not counted.", registry=CollectorRegistry())

    async def remaining():
        rates = Rates(redis_storage(Settings(broker_url=url)), unlimited)
        seen = [await rates.hit("key", 10) for _ in range(2)]
        await rates.close()
        return [headers.get("RateLimit-Remaining") for headers in seen]

    assert asyncio.run(remaining()) == ["9", "8"]
