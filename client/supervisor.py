"""Child processes under one parent: started in order, restarted with back-off, stopped in another order.

A child is in a session of its own, so Ctrl-C in the terminal reaches the supervisor alone. On Linux the
kernel ends it when the supervisor dies in whatever way: prctl's PR_SET_PDEATHSIG, which fires when the
*thread* that started the child ends, so children are started from the main thread only.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

FIRST_BACK_OFF_S = 0.5
LONGEST_BACK_OFF_S = 30.0
STEADY_S = 60.0  # a child that lived this long starts its back-off afresh
GIVE_UP_AFTER = 5  # quick deaths in a row, before the service has once been ready
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class UpError(Exception):
    """The service cannot be started, or not kept up."""


class Clock(Protocol):
    def __call__(self) -> float: ...


@dataclass
class Child:
    """One process: how to start and stop it, and how it has fared."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_within_s: float = 10.0
    """Time from SIGTERM to SIGKILL."""
    before: Callable[[], None] = lambda: None
    """Run before each start."""
    ready: Callable[[], bool] = lambda: True
    """Whether those that depend on it can start."""
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    """Since it last lived for a while."""
    started_at: float = 0.0
    restart_at: float = 0.0

    def start(self, now: float) -> None:
        self.before()
        parent = os.getpid()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: _die_with(parent),
            )
        self.started_at = now

    def stop(self) -> bool:
        """SIGTERM, then SIGKILL after its time; whether it went by itself."""
        if self.process is None:
            return True
        self.process.terminate()
        try:
            self.process.wait(self.stop_within_s)
            return True
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False
        finally:
            self.process = None


def _die_with(parent: int) -> None:
    """In the child, before exec: be terminated when `parent` is gone."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


class Supervisor:
    """Keeps children running. `tell` gets one line for whatever a person should know."""

    def __init__(
        self, children: Sequence[Child], *, tell: Callable[[str], None], clock: Clock = time.monotonic
    ) -> None:
        self.children = tuple(children)
        self.steady = False
        """Set once the service was ready: from then on no child is given up."""
        self._tell = tell
        self._clock = clock

    def start(self, *, within_s: float, stopping: Callable[[], bool]) -> None:
        """Start all in order, each when the one before is ready. UpError if one never gets ready."""
        for child in self.children:
            end = self._clock() + within_s
            child.start(self._clock())
            while not child.ready() and not stopping():
                self.tick()
                if self._clock() > end:
                    raise UpError(f"{child.name} was not ready in {within_s:g} s; see {child.log}")
                time.sleep(0.02)
            if stopping():
                return

    def tick(self) -> None:
        """Notice who has died, and start again whoever's back-off is over."""
        now = self._clock()
        for child in self.children:
            if child.process is not None and child.process.poll() is not None:
                self._died(child, now)
            elif child.process is None and child.restart_at and now >= child.restart_at:
                child.restart_at = 0.0
                child.start(now)

    def stop(self, order: Sequence[str]) -> bool:
        """Stop all, those named first in that order; whether each went by itself in its time."""
        rank = {name: place for place, name in enumerate(order)}
        clean = True
        for child in sorted(self.children, key=lambda c: rank.get(c.name, len(rank))):
            child.restart_at = 0.0
            if not child.stop():
                self._tell(f"{child.name} did not stop in {child.stop_within_s:g} s and was killed")
                clean = False
        return clean

    def _died(self, child: Child, now: float) -> None:
        assert child.process is not None
        how = describe_exit(child.process.returncode)
        child.process = None
        child.deaths = 1 if now - child.started_at > STEADY_S else child.deaths + 1
        if not self.steady and child.deaths >= GIVE_UP_AFTER:
            raise UpError(
                f"{child.name} {how}, {child.deaths} times; the end of {child.log}:\n{tail(child.log)}"
            )
        pause = min(FIRST_BACK_OFF_S * 2 ** (child.deaths - 1), LONGEST_BACK_OFF_S)
        child.restart_at = now + pause
        self._tell(f"{child.name} {how}; starting it again in {pause:g} s (log: {child.log})")


def describe_exit(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
