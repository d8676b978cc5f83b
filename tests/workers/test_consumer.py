"""What counts as a sign of life of the consumer, with stand-ins for kombu's channel and connection."""

from types import SimpleNamespace

import pytest

from workers.consumer import WatchedConsumer


class Channel:
    """Asks the broker when it is told to, and has room or not."""

    def __init__(self) -> None:
        self._brpop_sent_at, self.room = 1.0, True
        self.qos = SimpleNamespace(can_consume=lambda: self.room)


@pytest.fixture
def consumer():
    """Without Celery around it."""
    made = WatchedConsumer.__new__(WatchedConsumer)
    made.ticks, made._asked_at = [], None
    made.poll = SimpleNamespace(tick=lambda: made.ticks.append(1))
    made.task_consumer = SimpleNamespace(channel=Channel())
    return made


def test_each_question_to_the_broker_is_one_sign_of_life(consumer):
    for _ in range(3):
        consumer._look()
    consumer.task_consumer.channel._brpop_sent_at = 2.0
    consumer._look()

    assert len(consumer.ticks) == 2


def test_a_loop_that_goes_round_and_asks_nothing_gives_none(consumer):
    consumer._look()
    consumer.ticks.clear()
    for _ in range(100):
        consumer._look()

    assert consumer.ticks == []


def test_with_all_slots_taken_going_round_is_enough(consumer):
    consumer._look()
    consumer.task_consumer.channel.room = False
    consumer.ticks.clear()
    for _ in range(5):
        consumer._look()

    assert len(consumer.ticks) == 5


def test_waiting_for_a_broker_that_is_down_is_a_sign_of_life_every_second(consumer, monkeypatch):
    seconds = []

    def connect(errback, retries, callback):
        for _ in range(3):
            callback()

    connection = SimpleNamespace(ensure_connection=connect)
    monkeypatch.setattr(
        WatchedConsumer.__mro__[1],
        "ensure_connected",
        lambda self, conn: conn.ensure_connection(None, None, callback=lambda: seconds.append(1)),
    )
    consumer.ensure_connected(connection)

    assert len(consumer.ticks) == len(seconds) == 3
