"""Latents of pictures by the methods that `invert` jobs offer, with the constants of `jobs.inversion`.

Axis letters: N pictures, C H W of a picture.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.inversion_study.subjects import Model
from generative.batch import Tensors
from generative.editing.direction import apply
from generative.generator import sample_z
from generative.inversion import weight_delta
from generative.inversion.degradations import Degradation
from generative.inversion.feature_space import carried, standing
from generative.inversion.multi_code import MultiCode, MultiCodeOptions
from generative.inversion.pti import PivotalTuning, TuningOptions
from generative.inversion.search import NOISE, Search, SearchOptions
from generative.program import Course, Program, run
from generative.spaces import Space, broadcast
from jobs.inversion import METHODS, Defaults, Method
from jobs.inversion import MultiCode as MultiCodeDefaults
from jobs.inversion import Tuning as TuningDefaults
from workers.work.inversion import FORMS, SCHEDULES
from workers.work.multi_codes import sixth_layer

STRENGTH = 2.0  # of the edit along the smile


@dataclass(frozen=True)
class Variant:
    """A method in one of its spaces."""

    method: Method
    space: str
    changes: tuple[tuple[str, int | float], ...] = ()
    """Fields of `SearchOptions` that are not as the method has them."""

    @property
    def name(self) -> str:
        return "-".join([self.method, self.space, *(f"{field}={value:g}" for field, value in self.changes)])

    @property
    def place(self) -> str:
        """The space, as people write it."""
        return self.space if self.space == "features" else self.space.upper()

    @property
    def defaults(self) -> Defaults:
        return METHODS[self.method].within(self.space)

    @property
    def needs_encoder(self) -> bool:
        return self.defaults.encoder


@dataclass(frozen=True)
class Task:
    """Observations (N, C, h, w) with what has become of the pictures."""

    model: Model
    observed: Tensor
    degradation: Degradation | None = None
    constants: Mapping[str, Tensor] = field(default_factory=dict)

    def search(self, variant: Variant) -> Search:
        defaults, model = variant.defaults, self.model
        return Search(
            model.generator,
            model.codes.get(Space(variant.space), FORMS.get(variant.method, "plain")),
            model.distance,
            noise=defaults.noise_maps,
            degradation=self.degradation,
            encoder=model.encode if defaults.in_domain else None,
        )

    @torch.no_grad()
    def look(self, search: Search) -> Tensor:
        """(N, *shape): where the encoder sees the observations, the small ones blown up."""
        side, observed = self.model.generator.img_resolution, self.observed
        if observed.shape[2] < side:
            observed = F.interpolate(observed, size=(side, side), mode="bicubic").clamp(-1, 1)
        assert self.model.encode is not None and search.code.encode is not None
        return search.code.encode(self.model.encode(observed.to(self.model.device)))


@dataclass
class Found:
    """What a method made of N pictures."""

    images: Tensor  # (N, C, H, W)
    smiling: Tensor | None
    """The same with a smile; None where directions in W do not act."""
    evaluations: int  # of the generator, with gradients, for each picture
    curves: dict[str, list[float]]
    """Means over the pictures before each step, of the distance by pixels and of the perceptual one."""
    seconds: float = 0.0  # of one processor, for each picture


def invert(task: Task, variant: Variant) -> Found:
    """Find what paints the observations."""
    began = time.process_time()
    found = WAYS.get(variant.method, searched)(task, variant)
    found.seconds = (time.process_time() - began) / len(task.observed)
    return found


def searched(task: Task, variant: Variant) -> Found:
    """One search, or none after a look of the encoder."""
    search, options = task.search(variant), _options(variant)
    start = task.look(search) if variant.needs_encoder else None
    if options.steps == 0:
        assert start is not None
        return _painted(task.model, search, {search.code.parameter: start}, 0, {})
    problems = search.problems(task.observed, options, start=start, constants=task.constants)
    params, curves = _run(task.model, search, problems)
    return _painted(task.model, search, params, options.steps, curves)


def tuned(task: Task, variant: Variant) -> Found:
    """Pivotal tuning: a search, then a generator for each picture."""
    search, options = task.search(variant), _options(variant)
    params, begun = _run(task.model, search, search.problems(task.observed, options))
    with torch.no_grad():
        ws = search.painting(params)["ws"].contiguous()
    rest, program = TuningDefaults(), PivotalTuning(task.model.generator, task.model.distance)
    tuning = TuningOptions(steps=rest.steps, learning_rate=rest.learning_rate, stop=rest.stop)
    weights, gone_on = _run(task.model, program, program.problems(task.observed, ws, tuning))
    curves = {name: begun[name] + gone_on[name] for name in begun}
    both = torch.stack([ws, apply(ws, task.model.smile, STRENGTH)])  # (2, N, L, D)
    images = [_painted_by_tuned(program, weights, i, both[:, i]) for i in range(len(ws))]
    before, after = torch.stack(images, dim=1)
    return Found(before, after, options.steps + rest.steps, curves)


@torch.no_grad()
def _painted_by_tuned(program: PivotalTuning, weights: Tensors, i: int, ws: Tensor) -> Tensor:
    """ws (M, L, D) by the generator of picture i, as it comes out of the file of latents."""
    return weight_delta.apply(program.generator, weight_delta.compress(program.delta(weights, i))).synthesize(
        ws
    )


def composed(task: Task, variant: Variant) -> Found:
    """Multi-code prior."""
    model, defaults, rest = task.model, variant.defaults, MultiCodeDefaults()
    layer = rest.layer or sixth_layer(model.generator)
    program = MultiCode(model.generator, layer, rest.codes, model.distance, task.degradation)
    options = MultiCodeOptions(steps=defaults.steps, learning_rate=defaults.learning_rate)
    params, curves = _run(model, program, program.problems(task.observed, options, task.constants))
    with torch.no_grad():
        return Found(program.compose(params), None, options.steps, curves)


WAYS: dict[str, Callable[[Task, Variant], Found]] = {"pti": tuned, "multi_code": composed}


@torch.no_grad()
def smiling_samples(model: Model, count: int) -> tuple[Tensor, Tensor]:
    """Samples of the generator (N, C, H, W) before and after the same edit."""
    G = model.generator
    ws = broadcast(G.map(sample_z(range(count), G).to(model.device)), G.num_ws)
    return G.synthesize(ws), G.synthesize(apply(ws, model.smile, STRENGTH))


def _run(
    model: Model, program: Program, problems: Tensors
) -> tuple[dict[str, Tensor], dict[str, list[float]]]:
    """Parameters on the model's device, and the curves."""
    course = run(program, problems)
    params = {name: t.to(model.device) for name, t in course.params.items()}
    return params, {name: _mean(course, name) for name in ("pixel", "perceptual")}


def _mean(course: Course, name: str) -> list[float]:
    return torch.tensor([curve[name] for curve in course.curves]).mean(dim=0).tolist()


@torch.no_grad()
def _painted(
    model: Model, search: Search, params: dict[str, Tensor], steps: int, curves: dict[str, list[float]]
) -> Found:
    painting, smiling = search.painting(params), None
    if "ws" in painting:
        noises = {name.removeprefix(NOISE): t for name, t in painting.items() if name.startswith(NOISE)}
        ws = apply(painting["ws"], model.smile, STRENGTH)
        hook = standing(carried(model.generator, painting, ws))
        smiling = model.generator.synthesize(ws, noises=noises, hook=hook)
    return Found(search.paint(params), smiling, steps, curves)


def _options(variant: Variant) -> SearchOptions:
    defaults = variant.defaults
    given: dict[str, Any] = {
        "steps": defaults.steps,
        "learning_rate": defaults.learning_rate,
        "schedule": SCHEDULES[defaults.schedule],
        "jitter": defaults.jitter,
        "pixel": defaults.pixel,
        "perceptual": defaults.perceptual,
        "latent": defaults.latent,
        "in_domain": defaults.in_domain,
        "noise_regularization": defaults.noise_regularization,
    }
    return SearchOptions(**{**given, **dict(variant.changes)})
