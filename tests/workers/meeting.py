"""Where calls from several threads meet, so that a test sees how many run at once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

WAIT_S = 3  # that a call waits for others which do not come


class Meeting:
    """The first calls wait for each other until so many are inside as are `expected`."""

    def __init__(self, expected: int = 0) -> None:
        self.most, self.expected = 0, expected
        self._inside, self._changed = 0, threading.Condition()

    @contextmanager
    def join(self) -> Iterator[None]:
        """The block is run by one at a time, once all have come."""
        with self._changed:
            self._inside += 1
            self.most = max(self.most, self._inside)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.most >= self.expected, WAIT_S)
            yield
            self._inside -= 1
