"""The pictures of a dataset's samples: seeds to codes, edits, and the choice by what a network sees.

Whatever becomes of sample i follows from the dataset's request and i. Pictures come from the engine, whose
bytes do not depend on what else is in a block.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from generative.editing.direction import Direction, move
from generative.metrics.examiner import Examiner, look_at_pictures
from generative.networks.feature_network import FeatureNetwork
from generative.spaces import Space
from jobs.dataset import DatasetInput, FlowStep, Range, Share
from jobs.errors import UnsupportedByModel
from jobs.evaluation import EditStep
from jobs.factors import CATEGORICAL
from workers.blocks import Answer, Subject
from workers.job import RunningJob
from workers.latents import Latents, layers_of
from workers.models import LoadedModel
from workers.provenance import to_text
from workers.work import flowing, painting
from workers.work.sources import (
    NoiseSource,
    Truncation,
    class_number,
    from_seeds,
    paintable,
    psi_of,
    to_ws,
    with_w,
)

LANES = 64  # more than any processor computes at a time
ORIGINAL = ""  # the name of the picture without a variant's edits


@dataclass(frozen=True)
class Sample:
    """One latent of the dataset."""

    i: int
    seed: int
    share: Share | None
    tries: int = 1
    met: bool = True
    """Whether the picture shows what its share requires."""


@dataclass
class Sampler:
    """Makes samples of a dataset with its model, for one running part."""

    job: RunningJob[Any]
    model: LoadedModel
    given: DatasetInput

    # --- which ---------------------------------------------------------------------------------------

    def samples(self, indices: Sequence[int]) -> list[Sample]:
        """Those of the indices, each with the seed that its share chose."""
        found = [Sample(i, self.given.seed_of(i), self._share(i)) for i in indices]
        chosen: dict[int, Sample] = {}
        for share, members in grouped(found):
            if share is not None and share.require:
                chosen |= {sample.i: sample for sample in self._choose(share, members)}
        return [chosen.get(sample.i, sample) for sample in found]

    def _share(self, i: int) -> Share | None:
        place = self.given.share_of(i)
        return None if place is None else self.given.mix[place]

    def _choose(self, share: Share, members: Sequence[Sample]) -> list[Sample]:
        """Try one latent after the other until what the share requires is seen; else the nearest."""
        best: dict[int, tuple[float, Sample]] = {}
        waiting = [sample.i for sample in members]
        for attempt in range(share.tries):
            tried = [
                Sample(i, self.given.seed_of(i, attempt), share, attempt + 1, met=False) for i in waiting
            ]
            pictures = self.job.wait(self.paint(tried, self.codes(tried)))
            for sample, miss in zip(tried, misses(self.read(pictures), share.require), strict=True):
                if sample.i not in best or miss < best[sample.i][0]:
                    best[sample.i] = miss, replace(sample, met=miss == 0)
            waiting = [i for i in waiting if not best[i][1].met]
            if not waiting:
                break
            self.job.reporter.alive()
        tries = {i: share.tries for i in waiting}
        return [replace(sample, tries=tries.get(i, sample.tries)) for i, (_, sample) in best.items()]

    # --- from seeds to pictures --------------------------------------------------------------------------

    def codes(self, samples: Sequence[Sample]) -> Latents:
        """The latents of samples of one share, as it has them."""
        share = samples[0].share
        latents = from_seeds([sample.seed for sample in samples], self.model.generator)
        if share is not None and share.flow is not None:
            latents = self._taken(samples, latents, share.flow)
        return self.edited(samples, latents, share.edits) if share is not None else latents

    def edited(self, samples: Sequence[Sample], latents: Latents, edits: Sequence[EditStep]) -> Latents:
        for step in edits:
            latents = self._moved(latents, step, self.truncation(samples[0].share))
        return latents

    def truncation(self, share: Share | None) -> Truncation:
        wanted = self.given.class_index
        if share is not None and share.class_index is not None:
            wanted = share.class_index
        return Truncation(self.given.psi, self.given.cutoff, class_number(self.model.card, wanted))

    def _taken(self, samples: Sequence[Sample], latents: Latents, step: FlowStep) -> Latents:
        """By a flow, from what is read in the pictures to what is wanted of them, in W+."""
        flow, generator = self.model.flow(step.name), with_w(self.model.generator)
        current = flow.values(self.read(self.job.wait(self.paint(samples, latents))))
        told = {"current": current, "wanted": flow.wanted(current, step.set)}
        layers = layers_of(step.layers, generator.num_ws) if step.layers else flow.layers
        latents = self.brought(latents, Space.W_PLUS, self.truncation(samples[0].share))
        one = self.given.cutoff is None and generator.w_avg.ndim == 1  # w in all layers: it goes the way once
        op, ws = (flowing.Edit(), latents.rows[:, 0]) if one else (flowing.Edit(layers), latents.rows)
        moved: Tensor = self.job.forward(Subject(flow), op, {"ws": ws, **told})
        if not one:
            return replace(latents, rows=moved)
        rows = latents.rows.clone()
        rows[:, list(layers or range(generator.num_ws))] = moved[:, None]
        return replace(latents, rows=rows)

    def _moved(self, latents: Latents, step: EditStep, truncation: Truncation) -> Latents:
        direction = self.model.direction(step.name)
        layers = layers_of(step.layers, with_w(self.model.generator).num_ws) if step.layers else None
        latents = self.brought(latents, direction.space, truncation)
        try:
            return replace(latents, rows=moved(latents.rows, direction, step.strength, layers))
        except ValueError as error:
            raise UnsupportedByModel(str(error)) from error

    def brought(self, latents: Latents, space: Space, truncation: Truncation) -> Latents:
        """In the space that a direction moves in; for W that is W+, whose layers may be chosen."""
        space = Space.W_PLUS if space is Space.W else space
        if latents.space is space:
            return latents
        ws = to_ws(self.job, self.model, latents, truncation)
        rows = self.job.forward(self.model, painting.style_rows, {"ws": ws}) if space is Space.S else ws
        return replace(latents, space=space, rows=rows)

    def paint(self, samples: Sequence[Sample], latents: Latents) -> Answer:
        """Have the engine paint them: (N, H, W, C) uint8."""
        truncation, generator = self.truncation(samples[0].share), self.model.generator
        who = [(to_text({"seed": sample.seed}), 0) for sample in samples]
        noise = NoiseSource(self.given.noise, self.given.noise_seed, who)
        op = painting.Paint(noise.rest(), None, psi_of(generator, truncation))
        inputs = paintable(self.job, self.model, latents, truncation)
        return self.job.submit(self.model, op, {**inputs, **noise.inputs(generator, 0, len(samples))})

    def latents(self, samples: Sequence[Sample], codes: Latents, wanted: str) -> Tensor:
        """What is handed out of them, (N, …): z and w before any edit, w+ and s of the pictures."""
        truncation = self.truncation(samples[0].share)
        if wanted in ("w+", "s"):
            return self.brought(codes, Space(wanted), truncation).rows
        before = from_seeds([sample.seed for sample in samples], self.model.generator)
        return before.rows if wanted == "z" else self.brought(before, Space.W, truncation).rows[:, 0]

    # --- looking at pictures -----------------------------------------------------------------------------

    def read(self, pictures: Tensor) -> dict[str, Tensor]:
        """pictures (N, H, W, C) uint8 -> (N,) by factor, see `FeatureNetwork.factors`."""
        (examiner, network), N = self._reader(), len(pictures)
        seen = self.job.forward(Subject(examiner), look_at_pictures, {"pictures": pictures})
        # Rows of a vector and those left over are computed by different code: leave none over.
        padded = F.pad(seen["readings"], (0, 0, 0, -N % LANES))
        return {name: values[:N] for name, values in network.decode(padded).items()}

    def _reader(self) -> tuple[Examiner, FeatureNetwork]:
        examiner = self.model.examiner
        if examiner is None or examiner.reader is None:
            raise UnsupportedByModel("there is no network that reads the factors of this model's pictures")
        return examiner, examiner.reader

    def parts(self, pictures: Tensor) -> Tensor:
        """pictures (N, H, W, C) uint8 -> (N, H, W) uint8, the part that each pixel shows."""
        if self.model.labelling is None:
            raise UnsupportedByModel("there is no network that sees the parts of this model's pictures")
        labels: Tensor = self.job.forward(
            Subject(self.model.labelling), painting.label_parts, {"pictures": pictures}
        )
        return labels


def grouped(samples: Sequence[Sample]) -> Iterator[tuple[Share | None, list[Sample]]]:
    """By share, each with its samples in order: what may be computed together."""
    groups: dict[str | None, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.share.name if sample.share else None, []).append(sample)
    for members in groups.values():
        yield members[0].share, members


def moved(rows: Tensor, direction: Direction, strength: float, layers: tuple[int, ...] | None) -> Tensor:
    """As an `edit` job moves them. A distance is measured row by row: sums of more round otherwise."""
    if direction.unit != "distance":
        return move(rows, direction, strength, layers)
    return torch.cat([move(row[None], direction, strength, layers) for row in rows])


def misses(readings: Mapping[str, Tensor], required: Mapping[str, bool | str | Range]) -> list[float]:
    """How far each picture is from what is required: 0 where it shows it."""
    wanted = [_miss(readings[name].tolist(), name, value) for name, value in required.items()]
    return [sum(of_picture) for of_picture in zip(*wanted, strict=True)]


def _miss(seen: Sequence[float], name: str, wanted: bool | str | Range) -> list[float]:
    if isinstance(wanted, bool):
        return [0.0 if (value > 0.5) == wanted else abs(value - 0.5) + 1e-6 for value in seen]
    if isinstance(wanted, str):
        place = CATEGORICAL[name].index(wanted)
        return [0.0 if round(value) == place else 1.0 for value in seen]
    low = -float("inf") if wanted.min is None else wanted.min
    high = float("inf") if wanted.max is None else wanted.max
    return [max(low - value, value - high, 0.0) for value in seen]
