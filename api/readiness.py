"""Whether the gateway can serve: each thing that it needs is asked, all at once, with a limit on the wait."""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

CHECK_S = 2.0
OPTIONAL = ("broker",)  # without it jobs are accepted all the same, and sent by the reaper later

logger = logging.getLogger(__name__)


class Probes:
    """Asks `probes`, which raise when something is wrong."""

    def __init__(self, probes: Mapping[str, Callable[[], object]]) -> None:
        self._probes = probes
        # Of its own: a probe that hangs must not take a thread that serves requests.
        self._threads = ThreadPoolExecutor(2 * len(probes), thread_name_prefix="readiness")
        self._running: dict[str, Future[object]] = {}

    def checks(self) -> dict[str, str]:
        """`ok`, `failed` or `no answer`, by name. Takes up to 2 s."""
        for name, probe in self._probes.items():
            if name not in self._running or self._running[name].done():
                self._running[name] = self._threads.submit(probe)
        asked = dict(self._running)
        wait(asked.values(), timeout=CHECK_S)
        return {name: _state(name, asked[name]) for name in sorted(asked)}

    def missing(self) -> dict[str, str]:
        """The checks that failed and that no job can do without."""
        return missing(self.checks())

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def missing(checks: Mapping[str, str]) -> dict[str, str]:
    return {name: state for name, state in checks.items() if state != "ok" and name not in OPTIONAL}


def _state(name: str, probe: Future[object]) -> str:
    if not probe.done():
        return "no answer"
    if (error := probe.exception()) is not None:  # whatever a driver raises, the check has failed
        logger.warning("%s is not ready: %s", name, error)
        return "failed"
    return "ok"
