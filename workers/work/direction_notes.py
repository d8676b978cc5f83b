"""What is said of directions that were found or brought: a strip of pictures along each, and what it moves.

The measures are those of `generative.discovery.annotation`; factors are read where the pictures are of a
world that the feature network knows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from generative.discovery.annotation import STEPS, Annotation, Look, annotate, shifted, sigma_of, stride
from generative.editing.direction import Direction
from generative.editing.files import Member
from generative.editing.layers import format_layers
from generative.generator import StyleGenerator
from generative.metrics.examiner import Examiner, Inputs, Outputs, look_at_pictures
from generative.networks.feature_network import Readout
from generative.spaces import Space
from jobs.cards import WORLD
from workers import encode
from workers.blocks import Subject
from workers.images import resize, to_pixels
from workers.job import RunningJob
from workers.latents import Latents
from workers.models import LoadedModel
from workers.provenance import provenance
from workers.work import painting
from workers.work.gallery import put_png, sized
from workers.work.sources import Truncation, class_number, from_seeds, paintable, psi_of, to_ws

PEOPLE, SAMPLES = 16, 64  # that directions are tried on; whose features are what pictures should look like
PSI = 0.7
MEASURED = 32  # directions of a set, the first ones; each costs some 200 pictures
SMALL = 512  # longest side of a picture for lists
SHOWN = 0.05  # movements below are left out of lists
TRUSTED = 0.5  # least score, R² or accuracy, of a factor's read-out

Noted = TypeVar("Noted", bound=Member)


@dataclass(frozen=True)
class Notes(Generic[Noted]):
    """What was found, a direction with its usable range; and what lists say beside, nothing where nothing was
    measured.
    """

    member: Noted
    entry: dict[str, Any]
    picture: encode.Pixels | None = None
    """Small, for lists."""


@dataclass(frozen=True)
class _LookAtCodes:
    """What `painting.Paint` takes -> what an examiner sees in the pictures."""

    paint: painting.Paint

    def __call__(self, examiner: Examiner, inputs: Inputs) -> Outputs:
        return look_at_pictures(examiner, {"pictures": self.paint(examiner.generator, inputs)})


def trusted(model: LoadedModel) -> tuple[Readout, ...]:
    """The factors that can be read from the model's pictures; none for a model of no known world."""
    if model.examiner is None or model.examiner.reader is None:
        return ()
    if (model.card.training or {}).get("world") != WORLD:
        return ()
    readouts = model.examiner.reader.record.readouts
    return tuple(r for r in readouts if r.score is None or r.score >= TRUSTED)


def look(job: RunningJob[Any], model: LoadedModel, codes: dict[str, Tensor]) -> Look:
    """What the feature network sees in the pictures of `codes`, which `painting.Paint` takes."""
    examiner = model.examiner
    assert examiner is not None and examiner.reader is not None
    op = _LookAtCodes(painting.Paint("const", psi=psi_of(model.generator, Truncation(PSI))))
    seen = job.forward(Subject(examiner), op, codes)
    return Look(seen["features"], examiner.reader.decode(seen["readings"]))


def take_notes(
    job: RunningJob[Any], model: LoadedModel, found: Sequence[Direction], begin: float
) -> list[Notes[Direction]]:
    """Measure the first directions, and put out a strip of each. Progress goes from `begin` to 1."""
    trial = Trial(job, model)
    notes = []
    for i, direction in enumerate(found[:MEASURED]):
        strip, about = trial.strip(direction), trial.about(direction.name)
        put_png(job, f"strip_{i:04d}.png", strip, about, role="strip", index=i)
        notes.append(replace(trial.notes(direction), picture=small(strip)))
        done, count = i + 1, min(len(found), MEASURED)
        job.reporter.report(begin + (1 - begin) * done / count, done, count, message="measuring")
    return notes + [Notes(direction, {}) for direction in found[MEASURED:]]


def small(pixels: encode.Pixels) -> encode.Pixels:
    """A picture for a list."""
    return resize(pixels, min(SMALL, max(pixels.shape[:2])))


def put_report(job: RunningJob[Any], model: LoadedModel, notes: Sequence[Notes[Direction]]) -> None:
    """`directions.md`: a table of what each direction moves."""
    lines = [f"# {job.request.input.name}: directions of {model.name}", ""]
    if not trusted(model):
        lines += [
            "No network reads the factors of this model's pictures, so directions have no names.",
            "",
        ]
    lines += ["| direction | moves | name | best layers | range |", "| --- | --- | --- | --- | --- |"]
    for note in notes:
        entry = note.entry
        moves = ", ".join(f"{name} {value:+.2f}" for name, value in list(entry.get("moves", {}).items())[:5])
        low, high = note.member.range
        words = (
            moves or "-",
            entry.get("proposed_name") or "-",
            entry.get("best_layers") or "-",
            f"{low:g} to {high:g} {note.member.unit}" if entry else "not measured",
        )
        lines.append(f"| {note.member.name} | {' | '.join(words)} |")
    put_text(job, lines)


def shown(moves: Mapping[str, float]) -> dict[str, float]:
    """The movements worth telling, the largest first."""
    told = {name: round(value, 3) for name, value in moves.items() if abs(value) >= SHOWN}
    return dict(sorted(told.items(), key=lambda item: -abs(item[1])))


def put_text(job: RunningJob[Any], lines: Sequence[str]) -> None:
    """The report of the job, in Markdown."""
    text = "\n".join(lines) + "\n"
    job.outbox.put("directions.md", text.encode, role="report", media_type=encode.MEDIA_TYPES["md"])


class Trial:
    """People that directions are tried on, in every space."""

    def __init__(self, job: RunningJob[Any], model: LoadedModel) -> None:
        wanted = job.request.input
        chosen = class_number(model.card, getattr(wanted, "class_index", None))
        if chosen is None and model.card.classes:
            chosen = 0
        self._job, self._model, self._truncation = job, model, Truncation(PSI, class_index=chosen)
        first = getattr(wanted, "seed", 0)
        self._z = from_seeds(range(first, first + SAMPLES), model.generator)
        self._rows: dict[Space, Tensor] = {}
        self._samples: Look | None = None

    def rows(self, space: Space) -> Tensor:
        """(SAMPLES, ...) in the space that a direction moves in; W is moved as W+."""
        if space is Space.Z:
            return self._z.rows
        space = Space.W_PLUS if space is Space.W else space
        if space not in self._rows:
            ws = to_ws(self._job, self._model, self._z, self._truncation)
            self._rows[Space.W_PLUS] = ws
            if space is Space.S:
                self._rows[space] = self._job.forward(self._model, painting.style_rows, {"ws": ws})
        return self._rows[space]

    def strip(self, direction: Direction) -> encode.Pixels:
        """One person, from three standard deviations down to three up."""
        steps = (*STEPS[:3], 0.0, *STEPS[3:])
        return self.painted(direction.space, self._moved(direction, 1, steps, None))

    def painted(self, space: Space, rows: Tensor) -> encode.Pixels:
        """Pictures of latents (n, ...), side by side."""
        op = painting.Paint("const", psi=psi_of(self._model.generator, self._truncation))
        tiles = to_pixels(self._job.forward(self._model, op, self._codes(space, rows)))
        return encode.strip([sized(tile, self._job.request.output) for tile in tiles])

    def seen(self, space: Space, rows: Tensor) -> Look:
        """What the feature network sees in the pictures of latents (n, ...)."""
        return look(self._job, self._model, self._codes(space, rows))

    def about(self, name: str) -> dict[str, Any]:
        """The provenance of a picture of a direction, or of another thing of that name."""
        job, model = self._job, self._model
        words = job.request.input.model_dump(mode="json", exclude={"upload"}, exclude_none=True)
        return provenance(job.kind, model.name, model.sha256, words, direction=name)

    def notes(self, direction: Direction) -> Notes[Direction]:
        """Measured, where there is a network that sees the model's pictures."""
        if self._model.examiner is None:
            return Notes(direction, {})
        found = self._annotation(direction)
        entry = {
            "moves": shown(found.effects),
            "proposed_name": found.name,
            "best_layers": None if found.layers is None else format_layers(found.layers),
        }
        measured = replace(direction, range=self._range(direction, found.reach))
        return Notes(measured, entry | {"name": direction.name, "range": list(measured.range)})

    def _annotation(self, direction: Direction) -> Annotation:
        readouts = trusted(self._model)
        if self._samples is None:
            self._samples = self.seen(direction.space, self.rows(direction.space))
        seen = self._samples
        before = Look(seen.features[:PEOPLE], {n: v[:PEOPLE] for n, v in seen.readings.items()})
        after = self._looks(direction, STEPS, None)
        groups = {}
        for layers in self._groups(direction) if readouts else ():
            low, high = self._looks(direction, (STEPS[0], STEPS[-1]), layers)
            groups[layers] = (low, high)
        return annotate(before, seen.features, after, groups, readouts)

    def _groups(self, direction: Direction) -> list[tuple[int, ...]]:
        """Coarse, middle and fine thirds of the layers that a direction acts on."""
        generator = self._model.generator
        if direction.space not in (Space.W, Space.W_PLUS) or not isinstance(generator, StyleGenerator):
            return []
        own = direction.layers if direction.layers is not None else tuple(range(generator.num_ws))
        parts = torch.tensor(own).tensor_split(3)
        return [tuple(part.tolist()) for part in parts if 0 < len(part) < len(own)]

    def _looks(
        self, direction: Direction, steps: Sequence[float], layers: Sequence[int] | None
    ) -> list[Look]:
        moved = self._moved(direction, PEOPLE, steps, layers)
        seen = self.seen(direction.space, moved)
        cuts = [slice(i * PEOPLE, (i + 1) * PEOPLE) for i in range(len(steps))]
        return [Look(seen.features[cut], {n: v[cut] for n, v in seen.readings.items()}) for cut in cuts]

    def _moved(
        self, direction: Direction, people: int, steps: Sequence[float], layers: Sequence[int] | None
    ) -> Tensor:
        """(steps * people, ...)"""
        rows = self.rows(direction.space)[:people]
        sigma = sigma_of(direction, self._model.statistics) * stride(direction)
        return torch.cat([shifted(rows, direction, step * sigma, layers) for step in steps])

    def _codes(self, space: Space, rows: Tensor) -> dict[str, Tensor]:
        space = Space.W_PLUS if space is Space.W else space
        latents = Latents(space, rows, tuple({} for _ in rows))
        return paintable(self._job, self._model, latents, self._truncation)

    def _range(self, direction: Direction, reach: tuple[float, float]) -> tuple[float, float]:
        """In the direction's unit. Distances are of places, and W has a middle."""
        sigma, statistics, centre = sigma_of(direction, self._model.statistics), self._model.statistics, 0.0
        reach = reach[0] * stride(direction), reach[1] * stride(direction)
        if direction.unit == "sigma":
            return round(reach[0], 4), round(reach[1], 4)
        if direction.unit == "distance" and direction.space is Space.W and statistics is not None:
            centre = float(statistics.mean @ direction.vector)
        low, high = (round(centre + end * sigma, 4) for end in reach)
        return low, high
