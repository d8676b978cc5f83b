"""How many jobs of a sort a process holds at a time: shards, which would fill it for hours."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Place:
    """Taken or not; whoever does not need it any more leaves it."""

    def __init__(self, free: threading.Semaphore) -> None:
        self._free = free
        self.taken = free.acquire(blocking=False)

    def leave(self) -> None:
        if self.taken:
            self.taken = False
            self._free.release()


class Places:
    def __init__(self, count: int = 2) -> None:
        self._free = threading.Semaphore(count)

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A place for the block, if one is free."""
        place = Place(self._free)
        try:
            yield place
        finally:
            place.leave()
