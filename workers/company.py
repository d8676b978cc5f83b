"""Who may run beside whom: a job that was lost twice with its process runs alone.

If it is the job that kills processes, it then takes no neighbour along.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOOK_S = 0.2


class Company:
    """The jobs of one process. A lone job waits until the others have left; later ones wait for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._loners = 0  # waiting or inside

    @contextmanager
    def join(self, alone: bool, alive: Callable[[], None]) -> Iterator[None]:
        """Holds a place for the block. `alive` is called while waiting, and may raise."""
        with self._changed:
            self._loners += alone
        try:
            self._enter(alone, alive)
            try:
                yield
            finally:
                with self._changed:
                    self._inside -= 1
        finally:
            with self._changed:
                self._loners -= alone
                self._changed.notify_all()

    def _enter(self, alone: bool, alive: Callable[[], None]) -> None:
        while True:
            with self._changed:
                if self._inside == 0 if alone else self._loners == 0:
                    self._inside += 1
                    return
                self._changed.wait(LOOK_S)
            alive()
