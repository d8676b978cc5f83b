"""What edits did, measured in the pictures: how far factors moved, whether people stayed who they were, and
how much changed outside of the masks.

Factors are read where the pictures are of a world that the feature network knows. Identity is that of
`generative.metrics.identity`; strangers are samples of the model, looked at once for as long as it is loaded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from generative.discovery.annotation import Look, movement
from generative.metrics.examiner import Examiner, look_at_pictures
from generative.metrics.identity import IDENTITY, identity
from workers.blocks import Subject
from workers.images import Pixels
from workers.job import RunningJob
from workers.models import LoadedModel
from workers.work.direction_notes import PSI, look, shown, trusted
from workers.work.sources import Truncation, from_seeds, paintable

STRANGERS = 64
Readings = Mapping[str, Tensor]  # (N,) by factor

_strangers: WeakKeyDictionary[Examiner, Readings] = WeakKeyDictionary()


@dataclass
class Tally:
    """What one variant did to the pictures so far."""

    moves: dict[str, list[float]] = field(default_factory=dict)
    identity: list[float] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)
    outside: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Means over the pictures; factors that hardly moved are left out."""
        found: dict[str, Any] = {}
        if self.moves:
            found["moves"] = shown({name: float(np.mean(all)) for name, all in self.moves.items()})
            found["identity"] = round(float(np.mean(self.identity)), 3)
        if self.inside:
            found["outside"] = round(sum(self.outside) / max(sum(self.inside), 1e-9), 4)
        return found


class Measuring:
    """For the variants of one edit."""

    def __init__(self, job: RunningJob[Any], model: LoadedModel, masks: Sequence[Tensor | None]) -> None:
        """masks: of each variant, (N, 1, R, R) uint8, where it was meant to act; None for everywhere."""
        self._job, self._model, self._masks = job, model, masks
        wanted = job.request.input.measure
        self._readouts = trusted(model) if wanted else ()
        self._wanted = wanted
        self._tallies = [Tally() for _ in masks]

    def take_in(self, first: int, pictures: Sequence[Pixels]) -> list[list[dict[str, Any]]]:
        """What is said of each variant's pictures.

        pictures: (n, H, W, 3), those before and those of each variant; `first` is the first of the n.
        """
        if not self._wanted:
            return [[{} for _ in column] for column in pictures[1:]]
        before, *edited = pictures
        readings = [self._read(p) for p in pictures] if self._readouts else []
        abouts = []
        for k, (tally, after) in enumerate(zip(self._tallies, edited, strict=True)):
            self._compare(tally, self._masks[k], first, before, after)
            moved = self._moved(tally, readings[0], readings[k + 1]) if readings else [{} for _ in after]
            abouts.append(moved)
        return abouts

    def result(self, strengths: Sequence[float | None]) -> list[dict[str, Any]]:
        """One entry for each variant; none where nothing was measured."""
        summaries = [tally.summary() for tally in self._tallies]
        if not any(summaries):
            return []
        return [
            ({} if s is None else {"strength": s}) | summary
            for s, summary in zip(strengths, summaries, strict=True)
        ]

    def _read(self, pictures: Pixels) -> Readings:
        examiner = self._model.examiner
        assert examiner is not None and examiner.reader is not None
        seen = self._job.forward(
            Subject(examiner), look_at_pictures, {"pictures": torch.from_numpy(pictures)}
        )
        return examiner.reader.decode(seen["readings"])

    def _moved(self, tally: Tally, before: Readings, after: Readings) -> list[dict[str, Any]]:
        nothing, abouts = torch.empty(0), []
        kinds = {r.name: r.kind for r in self._readouts if r.name in IDENTITY}
        for i in range(len(next(iter(after.values())))):
            a, b = ({name: t[i : i + 1] for name, t in readings.items()} for readings in (before, after))
            moves = movement(Look(nothing, a), Look(nothing, b), self._readouts)
            kept = identity(a, b, kinds, among=self._known_strangers()).consistency
            for name, value in moves.items():
                tally.moves.setdefault(name, []).append(value)
            tally.identity.append(kept)
            abouts.append({"moves": shown(moves), "identity": round(kept, 3)})
        return abouts

    def _known_strangers(self) -> Readings:
        examiner = self._model.examiner
        assert examiner is not None
        if examiner not in _strangers:
            people = from_seeds(range(STRANGERS), self._model.generator)
            codes = paintable(self._job, self._model, people, Truncation(PSI))
            _strangers[examiner] = look(self._job, self._model, codes).readings
        return _strangers[examiner]

    def _compare(self, tally: Tally, mask: Tensor | None, first: int, before: Pixels, after: Pixels) -> None:
        if mask is None:
            return
        inside = mask[first : first + len(after), 0].numpy() > 0
        change = np.abs(after.astype(np.int16) - before.astype(np.int16)).mean(axis=3)
        for where, values in ((inside, tally.inside), (~inside, tally.outside)):
            values += [float(c[w].mean()) if w.any() else 0.0 for c, w in zip(change, where, strict=True)]
