"""Axes of the latents along which the generator's Hessian is nearly diagonal, those that move most first."""

from dataclasses import dataclass

import torch
from torch import Tensor

from generative.batch import Tensors
from generative.discovery.hessian_directions import HessianTraining, learn_axes, penalties
from generative.editing.direction import Direction
from generative.generator import Generator, StyleGenerator
from generative.spaces import Space, broadcast
from jobs.discovery import HessianInput
from jobs.errors import JobFailed
from workers.models import LoadedModel
from workers.work.discovery.samples import FOUND, Job, names_of, statistics_of, truncation_for
from workers.work.sources import from_seeds, mapping_inputs, to_ws

LEARNT = 0.4  # of the progress; then the axes are ranked
TRIED = 4  # latents that axes are ranked on
CHUNK = 64  # pictures between two looks at the clock


def find(job: Job, model: LoadedModel) -> list[Direction]:
    wanted = job.request.input
    assert isinstance(wanted, HessianInput)
    points = _Points(job, model, wanted)
    settings = HessianTraining(wanted.steps, wanted.batch, seed=wanted.seed)
    axes = learn_axes(points.draw, points.dim, points.slope, settings, points.report)
    moved = points.activity(axes)
    if not bool(moved.isfinite().all()) or not bool((moved > 0).any()):
        raise JobFailed("the axes move nothing, or pictures broke on the way")
    best = moved.argsort(descending=True)[: wanted.count].tolist()
    return [
        Direction(
            name,
            points.space,
            axes[i],
            unit="sigma",
            sigma=points.sigma(axes[i]),
            method="hessian",
            description="axis of a basis along which the Hessian is nearly diagonal",
            provenance={"activity": float(moved[i]), "penalty": [points.first, points.last]},
        )
        for name, i in zip(names_of(wanted.name, len(best)), best, strict=True)
    ]


@dataclass(frozen=True)
class _Penalty:
    """An operation of the engine: latents, axes and signs, a set for each row -> `penalty` (N,), and its
    `slope` (N, D, D) for the row's axes.
    """

    space: Space

    def __call__(self, generator: Generator, inputs: Tensors) -> dict[str, Tensor]:
        with torch.enable_grad():
            axes = inputs["axes"].detach().requires_grad_()
            found = penalties(
                lambda latents: _paint(generator, self.space, latents, inputs.get("c")),
                inputs["latents"],
                axes,
                inputs["signs"],
            )
            [slope] = torch.autograd.grad(found.sum(), axes)
        return {"penalty": found.detach(), "slope": slope}


@dataclass(frozen=True)
class _Change:
    """latents and `others` (N, D) -> (N,) mean square of the difference between their pictures."""

    space: Space

    def __call__(self, generator: Generator, inputs: Tensors) -> Tensor:
        c = inputs.get("c")
        here, there = (_paint(generator, self.space, inputs[name], c) for name in ("latents", "others"))
        return (here - there).square().mean(dim=(1, 2, 3))


def _paint(generator: Generator, space: Space, latents: Tensor, c: Tensor | None) -> Tensor:
    """The whole way, without the noise that the penalty would see."""
    if not isinstance(generator, StyleGenerator):
        return generator(latents, c)
    w = latents if space is Space.W else generator.map(latents, c)
    return generator.synthesize(broadcast(w, generator.num_ws), noise="none")


class _Points:
    """Latents of the space that is asked for, and what the engine says of them."""

    def __init__(self, job: Job, model: LoadedModel, wanted: HessianInput) -> None:
        self._job, self._model, self._wanted = job, model, wanted
        self.space = Space(wanted.space)
        z_dim = model.generator.z_dim
        self.dim = z_dim if self.space is Space.Z else getattr(model.generator, "w_dim", z_dim)
        self.first, self.last = 0.0, 0.0

    def draw(self, step: int, count: int) -> Tensor:
        start = self._wanted.seed + step * count
        latents = from_seeds(range(start, start + count), self._model.generator)
        if self.space is Space.Z:
            return latents.rows
        truncation = truncation_for(self._model, self._wanted)
        return to_ws(self._job, self._model, latents, truncation)[:, 0]

    def slope(self, latents: Tensor, axes: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
        rows = {"latents": latents, "axes": axes.expand(len(latents), -1, -1), "signs": signs}
        found = self._job.forward(self._model, _Penalty(self.space), rows | self._classes(len(latents)))
        return found["penalty"], found["slope"].mean(dim=0)

    def report(self, step: int, penalty: float) -> None:
        self.first, self.last = (penalty if step == 1 else self.first), round(penalty, 6)
        steps = self._wanted.steps
        self._job.reporter.report(LEARNT * step / steps, step, steps, message="turning the axes")

    def activity(self, axes: Tensor) -> Tensor:
        """(D,): how much pictures change along each axis, over one standard deviation."""
        people = self.draw(self._wanted.steps, TRIED)
        steps = torch.stack([axis * self.sigma(axis) for axis in axes])
        latents = people.repeat(len(axes), 1)
        others = latents + steps.repeat_interleave(TRIED, dim=0)
        changes = []
        for first in range(0, len(latents), CHUNK):
            rows = {"latents": latents[first : first + CHUNK], "others": others[first : first + CHUNK]}
            rows |= self._classes(len(rows["latents"]))
            changes.append(self._job.forward(self._model, _Change(self.space), rows))
            done = min(first + CHUNK, len(latents))
            value = LEARNT + (FOUND - LEARNT) * done / len(latents)
            self._job.reporter.report(value, done, len(latents), message="ranking the axes")
        return torch.cat(changes).view(len(axes), TRIED).mean(dim=1)

    def sigma(self, axis: Tensor) -> float:
        """Standard deviation of the latents along a unit vector."""
        return 1.0 if self.space is Space.Z else statistics_of(self._model).sigma_along(axis)

    def _classes(self, count: int) -> dict[str, Tensor]:
        if not self._model.generator.c_dim:
            return {}
        latents = from_seeds(range(count), self._model.generator)
        inputs = mapping_inputs(self._model, latents, truncation_for(self._model, self._wanted))
        return {"c": inputs["c"]}
