"""Ends a process whose engine hangs: no thread can be stopped from outside, so only its end frees the device.

The leases run out, and other workers go on from the last checkpoints.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger(__name__)

EXIT_STALLED = 70  # EX_SOFTWARE
LOOK_S = 1.0


class Ticking(Protocol):
    """The engine, as the watchdog sees it."""

    @property
    def busy(self) -> bool: ...

    @property
    def last_tick(self) -> float: ...  # monotonic seconds


def leave(reason: str) -> None:
    """End the process now, without waiting for any thread."""
    logger.critical("leaving: %s", reason)
    logging.shutdown()
    os._exit(EXIT_STALLED)


class Watchdog(threading.Thread):
    """Calls `bite` once the engine has worked on one step for longer than `stall_s`."""

    def __init__(
        self,
        engine: Ticking,
        stall_s: float,
        bite: Callable[[str], None] = leave,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._engine, self._stall_s, self._bite, self._clock = engine, stall_s, bite, clock
        self._over = threading.Event()

    def look(self) -> bool:
        """True if the engine stalls."""
        silent_s = self._clock() - self._engine.last_tick
        return self._engine.busy and silent_s > self._stall_s

    def run(self) -> None:
        while not self._over.wait(LOOK_S):
            if self.look():
                self._bite(f"the engine has been in one step for more than {self._stall_s:g} s")
                return

    def stop(self) -> None:
        self._over.set()
        self.join()
