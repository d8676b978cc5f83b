"""How far an edit moves the factor that it is for, how far all others, and whether it does so step by step.

All edits are compared where they do the same: at the strength that moves the factor by one standard deviation
in the mean, or, if it is binary, gives it to half of the people who lack it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.editing_study.editors import Editor
from bench.editing_study.people import Model, People
from generative.discovery.annotation import LEAST, Look, movement, strangeness
from generative.metrics.identity import IDENTITY, identity

TRIAL = 2.0  # deviations, both ways, at which candidates are compared
FARTHEST, HALVINGS = 6.0, 6  # deviations; of the interval that the strength is sought in
STEPS = (-1.0, -2 / 3, -1 / 3, 0.0, 1 / 3, 2 / 3, 1.0)  # of a sweep, in the strength found
STILL = 0.02  # a factor that moves back by less than this between two steps has not moved back
WANTED = {"continuous": 1.0, "binary": 0.5}


@dataclass(frozen=True)
class Score:
    """Of one edit. Movements are in standard deviations, also of binary factors; of categorical ones they are
    the share of people whose class changes.
    """

    words: str
    strength: float  # in deviations of the latents
    moves: dict[str, float]  # of each factor, in the mean
    others: float  # how far another factor moves in one person, on average over factors and people
    identity: float  # share of what makes a person that stays, without the factor itself
    monotone: float  # share of steps of a sweep that go onward, over all people
    strangeness: float  # of the pictures' features, 1 for samples

    def ratio(self, factor: str) -> float:
        """How many times farther the factor moves than any other."""
        second = max(abs(value) for name, value in self.moves.items() if name != factor)
        return abs(self.moves[factor]) / max(second, 1e-6)


@dataclass(frozen=True)
class Trial:
    """What a candidate moves, at `TRIAL` deviations: half of what lies between both ends."""

    editor: Editor
    moves: dict[str, float]

    def rank(self, factor: str) -> tuple[bool, float]:
        """A candidate that hardly moves the factor is worse than any that does."""
        moved = abs(self.moves[factor])
        second = max(abs(value) for name, value in self.moves.items() if name != factor)
        return moved >= LEAST, moved / max(second, 1e-6) if moved >= LEAST else moved


def tried(model: Model, people: People, candidates: Sequence[Editor]) -> list[Trial]:
    """Every candidate. Categorical factors, whose changes have no sign, count as at the upper end."""
    found = []
    for editor in candidates:
        low, high = (moved(model, people, model.look(editor.move(people, t))) for t in (-TRIAL, TRIAL))
        moves = {
            name: high[name] if readout.kind == "categorical" else (high[name] - low[name]) / 2
            for name, readout in model.readouts.items()
        }
        found.append(Trial(editor, moves))
    return found


def moved(model: Model, people: People, after: Look) -> dict[str, float]:
    """As `annotation.movement`, with binary factors in deviations of the world too."""
    found = movement(people.seen, after, list(model.readouts.values()))
    return {name: value / model.spreads.get(name, 1.0) for name, value in found.items()}


def best(trials: Sequence[Trial], factor: str) -> Editor:
    """The candidate that moves the factor farthest beyond any other, turned so that the factor grows."""
    chosen = max(trials, key=lambda trial: trial.rank(factor))
    return chosen.editor if chosen.moves[factor] >= 0 else chosen.editor.backwards()


def score(model: Model, people: People, editor: Editor, factor: str, samples: Tensor) -> Score:
    """samples: features (M, D) of pictures of the model."""
    readouts = model.readouts
    strength = _strength(model, people, editor, factor)
    after = model.look(editor.move(people, strength))
    moves = moved(model, people, after)
    kinds = {name: readouts[name].kind for name in IDENTITY if name != factor}
    return Score(
        editor.words,
        strength,
        moves,
        _others(model, people, after.readings, factor),
        identity(people.seen.readings, after.readings, kinds).consistency,
        _monotone(model, people, editor, factor, strength),
        strangeness(after.features, samples),
    )


def _strength(model: Model, people: People, editor: Editor, factor: str) -> float:
    """The one that moves the factor as far as `WANTED`; the farthest that was tried if none does."""
    readout = model.readouts[factor]

    def reached(amount: float) -> bool:
        after = model.look(editor.move(people, amount))
        return movement(people.seen, after, [readout])[factor] >= WANTED[readout.kind]

    low, high = 0.0, FARTHEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _others(model: Model, people: People, after: Mapping[str, Tensor], factor: str) -> float:
    changes = []
    for name, readout in model.readouts.items():
        if name == factor:
            continue
        change = after[name] - people.seen.readings[name]
        if readout.kind == "continuous":
            changes.append((change / readout.std).abs().mean())
        else:
            changes.append((change.abs() > 0.5).float().mean())
    return float(torch.stack(changes).mean())


def _monotone(model: Model, people: People, editor: Editor, factor: str, strength: float) -> float:
    readout = model.readouts[factor]
    sweep = [model.look(editor.move(people, step * strength)).readings[factor] for step in STEPS]
    steps = torch.stack(sweep).diff(dim=0) / (readout.std if readout.kind == "continuous" else 1)
    return float((steps > -STILL).float().mean())
