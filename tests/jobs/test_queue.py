"""Messages on a real Redis: what they hold, the order in which they are served, and a broker that fails."""

import base64
import json
import threading

import pytest
import redis
from celery import Celery
from celery.app.defaults import NAMESPACES, flatten

from jobs.lanes import LANES
from jobs.queue import KEY_PREFIX, CeleryJobQueue, MemoryJobQueue, make_celery, open_queue
from jobs.schemas import PAYLOAD_VERSION
from jobs.settings import read_settings
from tests.servers import PrivateRedis, private_redis


@pytest.fixture
def broker():
    with private_redis() as server:
        yield server


@pytest.fixture
def celery(broker: PrivateRedis) -> Celery:
    app = make_celery(read_settings(broker_url=broker.url))
    yield app
    app.close()


@pytest.fixture
def queue(broker: PrivateRedis) -> CeleryJobQueue:
    found = open_queue(read_settings(broker_url=broker.url))
    yield found
    found.close()
    found.celery.close()


def raw(queue: CeleryJobQueue, lane: str) -> list[dict]:
    return [json.loads(message) for message in queue._redis.lrange(KEY_PREFIX + lane, 0, -1)]


def test_a_message_holds_the_id_and_the_version_and_nothing_else(queue):
    assert queue.send("job_1", "invert", "1-normal.slow")

    (message,) = raw(queue, "1-normal.slow")
    args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
    assert args == ["job_1", PAYLOAD_VERSION] and kwargs == {}
    assert message["headers"]["task"] == "ganserve.invert"
    assert message["content-type"] == "application/json"


def test_depths_count_the_messages_of_each_lane(queue):
    assert queue.depths() == dict.fromkeys(LANES, 0)
    queue.send("job_1", "generate", "1-normal.fast")
    assert queue.depths() == dict.fromkeys(LANES, 0) | {"1-normal.fast": 1}


def test_an_unknown_lane_is_an_error_not_a_queue_that_nobody_serves(queue):
    assert queue.send("job_1", "generate", "1-normal.fsat") is False
    assert queue.depths() == dict.fromkeys(LANES, 0)


def test_a_worker_takes_from_the_lanes_in_order(queue, celery):
    """A real Celery worker with one slot, started when messages wait in every lane."""
    from celery.contrib.testing.worker import start_worker

    for lane in reversed(LANES):
        queue.send(lane, "generate", lane)
    taken, all_taken = [], threading.Event()

    @celery.task(name="ganserve.generate", shared=False)  # of this app alone
    def generate(job_id: str, version: int) -> None:
        taken.append((job_id, version))
        if len(taken) == len(LANES):
            all_taken.set()

    with start_worker(celery, pool="threads", concurrency=1, perform_ping_check=False, shutdown_timeout=20):
        assert all_taken.wait(30)

    assert taken == [(lane, PAYLOAD_VERSION) for lane in LANES]


def test_a_message_in_hand_is_written_down_nowhere(queue, celery):
    queue.send("job_1", "generate", LANES[0])
    with (
        celery.connection_for_read() as connection,
        connection.SimpleQueue(celery.amqp.queues[LANES[0]]) as lane,
    ):
        message = lane.get(timeout=5)
        left = {key.decode() for key in queue._redis.keys()}
        message.ack()

    assert {key for key in left if "unacked" in key} == set()
    assert not raw(queue, LANES[0])


def test_celery_knows_every_setting_that_we_make(celery):
    known = {*dict(flatten(NAMESPACES)), "deprecated_settings"}  # the last is Celery's own

    assert set(celery.conf.changes) <= known


def test_a_broker_that_is_down_is_only_logged(broker, queue):
    broker.kill()

    assert queue.send("job_1", "generate", "1-normal.fast") is False
    assert queue.depths() == {}


def test_a_broker_that_has_no_memory_left_is_only_logged(broker, queue):
    """It answers reads, and refuses to take more (`noeviction`, as it should be set)."""
    with redis.Redis.from_url(broker.redis_url) as admin:
        admin.config_set("maxmemory-policy", "noeviction")
        admin.config_set("maxmemory", "1kb")
        try:
            assert queue.send("job_1", "generate", "1-normal.fast") is False
            queue.ping()
        finally:
            admin.config_set("maxmemory", "0")

    assert queue.send("job_1", "generate", "1-normal.fast")


def test_a_broker_that_stands_still_holds_nobody_up_for_long(broker, queue, monkeypatch):
    monkeypatch.setattr("jobs.queue.SEND_S", 0.2)
    assert queue.send("warm up", "generate", "1-normal.fast")
    broker.freeze()
    try:
        answers = [queue.send(f"job_{i}", "generate", "1-normal.fast") for i in range(12)]
    finally:
        broker.thaw()

    assert not any(answers)


def test_the_memory_queue_keeps_what_was_sent():
    queue = MemoryJobQueue()

    assert queue.send("job_1", "generate", "1-normal.fast")
    assert queue.sent == [("job_1", "generate", "1-normal.fast")]
    assert queue.depths() == dict.fromkeys(set(LANES) - {"1-normal.fast"}, 0)  # that one may have been taken
