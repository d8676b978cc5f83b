"""Live events: the latest for those who come late, the rest as they come, and never in the way of work."""

import asyncio
from contextlib import aclosing, suppress

import pytest
import redis

from jobs.live import LiveEvents, MemoryLive, RedisLive
from tests.servers import private_redis

WAIT_S = 20


@pytest.fixture
def broker():
    with private_redis() as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
def live(request):
    if request.param == "memory":
        yield MemoryLive()
        return
    found = RedisLive(request.getfixturevalue("broker").redis_url)
    yield found
    found.close()


def step(number: int) -> dict:
    return {"type": "progress", "progress": {"step": number}}


async def read(live: LiveEvents, job_id: str, until: dict, told=None) -> list[dict]:
    """Events until one equals `until`; `told` is called again and again, for pub/sub forgets."""
    events: list[dict] = []

    async def collect() -> None:
        async with aclosing(live.subscribe(job_id)) as heard:
            async for event in heard:
                events.append(event)
                if event == until:
                    return

    reader = asyncio.create_task(collect())
    async with asyncio.timeout(WAIT_S):
        while not reader.done():
            if told is not None:
                told()
            await asyncio.sleep(0.05)
    await reader
    return events


def test_a_listener_hears_what_comes(live):
    events = asyncio.run(read(live, "job_1", step(1), told=lambda: live.publish("job_1", step(1))))

    assert events[-1] == step(1)


def test_one_who_comes_late_gets_the_latest_of_each_sort(live):
    live.publish("job_1", step(1))
    live.publish("job_1", {"type": "preview", "index": 0, "data": "a"})
    live.publish("job_1", {"type": "preview", "index": 1, "data": "b"})
    live.publish("job_1", step(2))

    def wake() -> None:
        live.publish("job_1", {"type": "state", "status": "running"})

    events = asyncio.run(read(live, "job_1", {"type": "state", "status": "running"}, told=wake))

    async def again() -> list[dict]:
        seen = []
        async with asyncio.timeout(WAIT_S), aclosing(live.subscribe("job_1")) as heard:
            async for event in heard:
                seen.append(event)
                if len(seen) == 4:
                    return seen
        raise AssertionError

    kept = asyncio.run(again())
    assert step(1) not in kept and step(2) in kept
    assert [e["data"] for e in kept if e["type"] == "preview"] in (["a", "b"], ["b", "a"])
    assert events


def test_jobs_do_not_hear_each_other(live):
    live.publish("job_2", step(9))

    events = asyncio.run(read(live, "job_1", step(1), told=lambda: live.publish("job_1", step(1))))

    assert {event["progress"]["step"] for event in events} == {1}


def test_publishing_to_a_dead_redis_neither_raises_nor_waits(broker):
    live = RedisLive(broker.redis_url)
    broker.kill()

    for number in range(1000):
        live.publish("job_1", step(number))
    live.close()


def test_a_listener_outlives_a_restart_of_redis(broker):
    live = RedisLive(broker.redis_url)

    async def scenario() -> None:
        heard = asyncio.Event()

        async def listen() -> None:
            async for _ in live.subscribe("job_1"):
                heard.set()

        reader = asyncio.create_task(listen())
        async with asyncio.timeout(WAIT_S):
            while not heard.is_set():
                live.publish("job_1", step(1))
                await asyncio.sleep(0.05)
            await asyncio.to_thread(broker.kill)
            await asyncio.to_thread(broker.start)
            heard.clear()
            while not heard.is_set():
                live.publish("job_1", step(2))
                await asyncio.sleep(0.05)
        reader.cancel()
        with suppress(asyncio.CancelledError):
            await reader

    asyncio.run(scenario())
    live.close()


def test_a_listener_that_is_cancelled_while_it_connects_stops(broker):
    live = RedisLive(broker.redis_url)

    async def scenario() -> None:
        async def listen() -> None:
            async for _ in live.subscribe("job_1"):
                pass

        for turns in range(60):  # of the loop, so that some meet it in the middle of connecting
            reader = asyncio.create_task(listen())
            for _ in range(turns):
                await asyncio.sleep(0)
            reader.cancel()
            done, _ = await asyncio.wait({reader}, timeout=WAIT_S)
            assert done and reader.cancelled()

    asyncio.run(scenario())
    live.close()


def test_an_event_that_is_too_large_is_dropped_alone(broker):
    live = RedisLive(broker.redis_url)
    live.publish("job_1", {"type": "preview", "index": 0, "data": "x" * 200_000})

    events = asyncio.run(read(live, "job_1", step(1), told=lambda: live.publish("job_1", step(1))))

    assert {event["type"] for event in events} == {"progress"}
    live.close()


def test_all_listeners_of_a_loop_share_one_connection_and_leave_their_channels(broker):
    live, others = RedisLive(broker.redis_url), redis.Redis.from_url(broker.redis_url)

    async def scenario() -> None:
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(*(_one_heard(live, f"job_{n % 8}") for n in range(24)))
            assert len(others.client_list(_type="pubsub")) == 1
            while len(others.pubsub_channels()) > 1:  # the one that is always there
                live.publish("job_0", step(2))
                await asyncio.sleep(0.05)

    async def _one_heard(live: LiveEvents, job_id: str) -> None:
        live.publish(job_id, step(1))
        async with aclosing(live.subscribe(job_id)) as heard:
            async for event in heard:
                assert event == step(1)
                return

    asyncio.run(scenario())
    live.close()
    others.close()
