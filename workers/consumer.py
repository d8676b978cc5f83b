"""Celery's consumer, which also shows that it still asks the broker for work.

A consumer can fall silent and leave everything else looking well: after a reset connection its loop may hang
in one read, or go round and never ask again. So what counts as a sign of life is a question to the broker
(one `BRPOP` a second), a loop that goes round while all slots are taken, or a try to connect again: a broker
that is down is no fault of this process, whose jobs go on.
"""

from collections.abc import Callable
from typing import Any

from celery.worker.consumer import Consumer

from workers.app import liveness


class WatchedConsumer(Consumer):
    """Named by the setting `worker_consumer`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.poll = liveness.loop("poll")
        self._asked_at: float | None = None
        super().__init__(*args, **kwargs)

    def on_ready(self) -> None:
        super().on_ready()
        self.hub.on_tick.add(self._look)

    def _look(self) -> None:
        """Called each time the loop goes round."""
        channel = self.task_consumer.channel
        asked_at = channel._brpop_sent_at  # kombu's; there is no public sign of it
        if asked_at != self._asked_at or not channel.qos.can_consume():
            self._asked_at = asked_at
            self.poll.tick()

    def ensure_connected(self, conn: Any) -> Any:
        connect = conn.ensure_connection

        def watched(errback: Any, retries: Any, callback: Callable[[], None]) -> Any:
            def each_second() -> None:
                self.poll.tick()
                callback()

            return connect(errback, retries, callback=each_second)

        conn.ensure_connection = watched
        return super().ensure_connected(conn)
