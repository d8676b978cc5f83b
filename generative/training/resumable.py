"""A short training goes on where it was broken off: one file, written now and then, removed at the end."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from generative.training.atomic import write_tensors


class Stateful(Protocol):
    """Modules, optimisers, schedules."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


class Resumable:
    """Everything that the next step depends on, in `path`; without a path, nothing is kept."""

    def __init__(
        self,
        path: Path | None,
        every_s: float,
        parts: Mapping[str, Stateful],
        random: Mapping[str, torch.Generator],
    ) -> None:
        self._path, self._every_s, self._parts, self._random = path, every_s, parts, random
        self._saved = time.monotonic()

    def resume(self) -> int:
        """Load what was kept; returns the count given to `keep`, 0 for a new training."""
        if self._path is None or not self._path.exists():
            return 0
        state = torch.load(self._path, map_location="cpu", weights_only=True)
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        for name, rng in self._random.items():
            rng.set_state(state[name])
        return int(state["count"])

    def keep(self, count: int) -> None:
        """Write the file if it is time to, with how far the training has come."""
        if self._path is None or time.monotonic() - self._saved <= self._every_s:
            return
        states = {name: part.state_dict() for name, part in self._parts.items()}
        randoms = {name: rng.get_state() for name, rng in self._random.items()}
        write_tensors(self._path, states | randoms | {"count": count})
        self._saved = time.monotonic()

    def done(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)
