"""Optimisation programs: step functions over independent samples, stacked, stopped and resumed at will.

A *program* says what is optimised, by which loss and schedule, and when a sample is done; it knows nothing
of jobs or devices. `advance` takes one Adam step (Kingma and Ba, 2015; the bias-corrected form of
`torch.optim.Adam`) on a whole batch, with a step count and a learning rate for each sample, so that samples
may join and leave between any two steps. `run` is the plain loop; a serving engine drives the same
functions with the samples of many callers. A program with `optimiser = "sgd"` takes plain gradient descent.

Everything that a sample is lies in tensors, and random draws depend on (seed, step) alone. So a run that
goes on from a checkpoint makes the same numbers as one that was never interrupted, as long as it is stacked
with the same company. In other company it differs by rounding, which the optimisation then amplifies.

Axis letters: N samples; every tensor here has it first.
"""

import enum
import math
import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from generative.batch import Batch, Tensors, concatenate

BETAS, EPSILON = (0.9, 0.999), 1e-8  # Adam's usual constants
EXPLOSION = 1e4  # a loss that exceeds 1 + the first loss by this factor will not come back


class Outcome(enum.IntEnum):
    RUNNING = 0  # more steps to take
    FINISHED = 1  # took all its steps
    STOPPED = 2  # reached its target before
    DIVERGED = 3  # its loss exploded or is no number


class Diverged(ArithmeticError):
    """A sample whose loss exploded or is no number; its neighbours are not affected."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(f"the optimisation diverged at step {step}, where the loss was {loss:g}")
        self.step, self.loss = step, loss


@dataclass(frozen=True)
class Evaluation:
    terms: Tensors  # (N,) each; "total" is minimised, the others are for people and for stop rules
    images: Tensor | None = None  # (N, C, H, W), what the losses looked at


class Program(Protocol):
    """What to optimise. Row i of every result depends on row i of the arguments only."""

    @property
    def key(self) -> Hashable:
        """Programs with equal keys step alike: their samples may be stacked if the shapes agree as well."""
        ...

    def constants(self, problems: Tensors) -> Tensors:
        """What stays fixed in a run and follows from the problems alone, such as features of targets."""
        ...

    def begin(self, problems: Tensors) -> Tensors:
        """The parameters before the first step, floating point."""
        ...

    def evaluate(self, params: Tensors, constants: Tensors, step: Tensor) -> Evaluation:
        """Losses, differentiable with respect to every one of `params`. step: (N,) int64, counted from 0."""
        ...

    def learning_rate(self, constants: Tensors, step: Tensor) -> Tensor:
        """(N,) for the step that is about to be taken."""
        ...

    def settle(self, params: Tensors) -> Tensors:
        """The parameters after a step, brought back to where they must lie."""
        ...

    def outcome(self, constants: Tensors, step: Tensor, terms: Tensors) -> Tensor:
        """(N,) int64 of `Outcome` after `step` steps, the last of which saw `terms`; divergence aside."""
        ...


@dataclass(frozen=True)
class Step:
    """What one step did to a batch."""

    batch: Batch  # after it
    terms: Mapping[str, list[float]]  # N losses each, as they were before the parameters moved
    outcomes: list[Outcome]
    images: Tensor | None  # (N, C, H, W) that the losses looked at


def advance(program: Program, batch: Batch) -> Step:
    """One Adam step for every sample of the batch."""
    params = {name: p.detach().requires_grad_() for name, p in batch.params.items()}
    with torch.enable_grad():
        seen = program.evaluate(params, batch.constants, batch.step)
        # Samples are independent, so the gradient of the sum is every sample's own gradient.
        gradients = torch.autograd.grad(seen.terms["total"].sum(), list(params.values()))
    with torch.no_grad():
        terms = {name: t.detach() for name, t in seen.terms.items()}
        first = torch.where(batch.step == 0, terms["total"], batch.first)
        move = _descent if getattr(program, "optimiser", "adam") == "sgd" else _adam
        moved = move(program, batch, dict(zip(params, gradients, strict=True)))
        after = replace(moved, params=program.settle(moved.params), step=batch.step + 1, first=first)
        outcome = program.outcome(batch.constants, after.step, terms)
        sound = torch.isfinite(terms["total"]) & (terms["total"] <= EXPLOSION * (1 + first))
        outcome = torch.where(sound, outcome, int(Outcome.DIVERGED))
    lists = {name: t.tolist() for name, t in terms.items()}
    images = None if seen.images is None else seen.images.detach()
    return Step(after, lists, [Outcome(o) for o in outcome.tolist()], images)


def _adam(program: Program, batch: Batch, gradients: Tensors) -> Batch:
    """Parameters and moments after the step; each sample has its own step count and learning rate."""
    count = batch.step.double() + 1
    size = program.learning_rate(batch.constants, batch.step).double() / (1 - BETAS[0] ** count)
    spread = (1 - BETAS[1] ** count).sqrt()
    params, m, v = {}, {}, {}
    for name, g in gradients.items():
        m[name] = BETAS[0] * batch.m[name] + (1 - BETAS[0]) * g
        v[name] = BETAS[1] * batch.v[name] + (1 - BETAS[1]) * g.square()
        scale = v[name].sqrt() / _beside(spread, g) + EPSILON
        params[name] = batch.params[name] - _beside(size, g) * m[name] / scale
    return replace(batch, params=params, m=m, v=v)


def _descent(program: Program, batch: Batch, gradients: Tensors) -> Batch:
    """Parameters after a step of plain gradient descent, each sample with its own learning rate."""
    rate = program.learning_rate(batch.constants, batch.step)
    params = {name: batch.params[name] - _beside(rate, g) * g for name, g in gradients.items()}
    return replace(batch, params=params)


def _beside(x: Tensor, other: Tensor) -> Tensor:
    """(N,) in the precision of `other`, (N, ...), and broadcast along it."""
    return x.to(other.dtype).reshape(-1, *[1] * (other.ndim - 1))


class Course:
    """What has become of N samples so far: the record of a run, its checkpoint and its result.

    May be read by one thread while another records steps.
    """

    def __init__(self, batch: Batch) -> None:
        N = len(batch)
        self._lock = threading.Lock()  # a checkpoint sees a step of a sample as a whole, or not at all
        self._rows = [(batch, i) for i in range(N)]  # where the latest state of each sample lies
        self._pictures: list[Tensor | None] = [None] * N
        self.outcomes = [Outcome.RUNNING] * N
        self.curves: list[dict[str, list[float]]] = [{} for _ in range(N)]  # loss terms of every step

    @property
    def live(self) -> list[int]:
        return [i for i, outcome in enumerate(self.outcomes) if outcome == Outcome.RUNNING]

    @property
    def steps(self) -> list[int]:
        """Steps that each sample has taken."""
        return [len(curve.get("total", ())) for curve in self.curves]

    @property
    def failures(self) -> dict[int, Diverged]:
        lost = [i for i, outcome in enumerate(self.outcomes) if outcome == Outcome.DIVERGED]
        return {i: Diverged(self.steps[i], self.curves[i]["total"][-1]) for i in lost}

    @property
    def params(self) -> dict[str, Tensor]:
        """The latest parameters of all samples, (N, ...) each, on the CPU."""
        state = concatenate([batch.state(row) for batch, row in self._rows])
        return {n.removeprefix("param/"): t for n, t in state.items() if n.startswith("param/")}

    def latest(self) -> dict[str, list[float]]:
        """The last value of every loss term, for each sample that has taken a step."""
        with self._lock:
            curves = [curve for curve in self.curves if curve]
            return {name: [curve[name][-1] for curve in curves] for name in (curves[0] if curves else ())}

    def preview(self, i: int) -> Tensor | None:
        """(C, H, W) on the CPU: what the losses of sample i looked at last; None before its first step."""
        picture = self._pictures[i]
        return None if picture is None else picture.cpu()

    def record(self, i: int, step: Step, row: int) -> None:
        """Sample i was that row of a step."""
        batch, place, picture = step.batch, row, None if step.images is None else step.images[row]
        if step.outcomes[row] != Outcome.RUNNING:  # its old company need not be kept in memory
            batch, place, picture = batch.select([row]), 0, None if picture is None else picture.clone()
        with self._lock:
            self._rows[i], self._pictures[i], self.outcomes[i] = (batch, place), picture, step.outcomes[row]
            for name, losses in step.terms.items():
                self.curves[i].setdefault(name, []).append(losses[row])

    def tensors(self) -> dict[str, Tensor]:
        """A checkpoint, on the CPU, from which `start` goes on."""
        with self._lock:
            rows, outcomes = list(self._rows), torch.tensor([int(o) for o in self.outcomes])
            curves = {f"curve/{name}": self._curve(name) for name in sorted(set().union(*self.curves))}
        return {**concatenate([batch.state(row) for batch, row in rows]), **curves, "outcome": outcomes}

    def _curve(self, name: str) -> Tensor:
        """(N, steps) float64, NaN past the end of each sample."""
        curves, length = [curve.get(name, []) for curve in self.curves], max(self.steps)
        return torch.tensor([c + [math.nan] * (length - len(c)) for c in curves], dtype=torch.float64)

    @classmethod
    def restore(cls, batch: Batch, tensors: Tensors) -> "Course":
        """What `tensors` wrote. batch: all N samples."""
        course = cls(batch)
        course.outcomes = [Outcome(o) for o in tensors["outcome"].tolist()]
        steps = tensors["sample/step"].tolist()
        for name in [n for n in tensors if n.startswith("curve/")]:
            for curve, row, length in zip(course.curves, tensors[name].tolist(), steps, strict=True):
                curve[name.removeprefix("curve/")] = row[:length]
        return course


def start(program: Program, problems: Tensors, saved: Tensors | None = None) -> tuple[Course, Batch]:
    """The record and the stacked samples of a run that has not begun, or that goes on from `Course.tensors`.

    Both are made one sample at a time: their numbers do not depend on how many there are.

    Raises:
        ValueError: if what was saved is of other problems or of another program.
    """
    constants, params = _each(program.constants, problems), _each(program.begin, problems)
    if saved is not None:
        batch = Batch.from_state(constants, saved)
        if {n: t.shape for n, t in batch.params.items()} != {n: t.shape for n, t in params.items()}:
            raise ValueError("the checkpoint does not fit the program and its problems")
        return Course.restore(batch, saved), batch
    zeros = {name: torch.zeros_like(p) for name, p in params.items()}
    some = next(iter(params.values()))
    step, first = some.new_zeros(len(some), dtype=torch.int64), some.new_zeros(len(some))
    batch = Batch(constants, params, zeros, zeros, step, first)
    return Course(batch), batch


def run(
    program: Program,
    problems: Tensors,
    on_step: Callable[[Course], None] | None = None,
    saved: Tensors | None = None,
) -> Course:
    """The plain loop: all samples in one batch, which shrinks as they finish. `on_step` may raise."""
    course, batch = start(program, problems, saved)
    live = course.live
    batch = batch.select(live)
    while live:
        step = advance(program, batch)
        for row, i in enumerate(live):
            course.record(i, step, row)
        going = [row for row, outcome in enumerate(step.outcomes) if outcome == Outcome.RUNNING]
        batch, live = step.batch.select(going), [live[row] for row in going]
        if on_step is not None:
            on_step(course)
    return course


def _each(function: Callable[[Tensors], Tensors], problems: Tensors) -> dict[str, Tensor]:
    """Apply to one sample at a time and stack."""
    N = len(next(iter(problems.values())))
    with torch.no_grad():
        return concatenate([function({name: t[i : i + 1] for name, t in problems.items()}) for i in range(N)])
