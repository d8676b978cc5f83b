"""Whether a process makes progress: every loop in it leaves signs of life, and one that stopped is found.

That a process is there, or that a thread of it answers HTTP, proves nothing: a consumer that has silently
stopped asking the broker looks just as well. What a loop waits for from outside, such as a broker that is
down, is no fault of the process and must not end it.
"""

import threading
import time
from collections.abc import Callable


class Loop:
    """The sign of life of one loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock()

    def tick(self) -> None:
        """The loop came round."""
        self._at = self._clock()

    def last_tick(self) -> float:
        """Monotonic seconds."""
        return self._at


class Liveness:
    """The loops of one process. `limit_s`: how long each may be silent."""

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit_s, self._clock = limit_s, clock
        self._last: dict[str, Callable[[], float]] = {}
        self._guard = threading.Lock()

    def loop(self, name: str) -> Loop:
        """A new loop, alive from now on."""
        loop = Loop(self._clock)
        self.watch(name, loop.last_tick)
        return loop

    def watch(self, name: str, last_tick: Callable[[], float]) -> None:
        """Watch what keeps its own record: `last_tick` returns monotonic seconds."""
        with self._guard:
            self._last[name] = last_tick

    def ages_s(self) -> dict[str, float]:
        """Seconds since each loop's last sign of life."""
        with self._guard:
            known = dict(self._last)
        now = self._clock()
        return {name: max(0.0, now - last_tick()) for name, last_tick in known.items()}

    def silent(self) -> dict[str, float]:
        """The loops that have been silent for longer than the limit, with their ages."""
        return {name: age_s for name, age_s in self.ages_s().items() if age_s > self.limit_s}
