"""Pictures to latents: an encoder's look, a search on the engine, or one after the other; for `invert`, and
for `edit` of pictures.

With a degradation the pictures are observations: what is found is painted whole, and what the observation
knows for certain is put back.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load as load_tensors
from torch import Tensor

from generative.batch import Tensors
from generative.inversion import weight_delta
from generative.inversion.codes import Code, Form
from generative.inversion.feature_space import FEATURES
from generative.inversion.likeness import Perceptual
from generative.inversion.multi_code import MultiCode, MultiCodeOptions
from generative.inversion.pti import PivotalTuning, TuningOptions
from generative.inversion.search import CONSTANT, CYCLE, RAMP, Search, SearchOptions
from generative.program import Course, Outcome, Program
from generative.spaces import Space
from jobs.errors import JobFailed, NotFound, UnsupportedByModel
from jobs.inversion import Inversion, LossWeights, sight
from workers.images import Pixels, to_pixels, to_tensor
from workers.job import RunningJob
from workers.latents import Latents
from workers.models import LoadedModel, Subject
from workers.work import multi_codes, painting
from workers.work.following import Follower
from workers.work.observations import Observation, observe
from workers.work.sources import Painter, class_number, one_hot, tuned_by, with_w

logger = logging.getLogger(__name__)

PEAK = 255.0
SCHEDULES = {"constant": CONSTANT, "ramp": RAMP, "cycle": CYCLE}
FORMS: dict[str, Form] = {"ii2s": "p_norm", "pulse": "sphere"}
PIVOT = "pivot"  # in a checkpoint: the codes that were found before tuning began


@dataclass(frozen=True)
class Inverted:
    """What was found for N pictures."""

    originals: Pixels  # (N, h, w, 3), what was given; smaller than the rest where that is the degradation
    reconstructions: Pixels  # (N, H, W, 3), with what the observation knows put back
    latents: Latents | dict[str, Tensor]  # a dict, of no space: codes that only their method understands
    inputs: dict[str, Tensor]  # what they were painted from: ws, styles or z, features, and noise maps
    curves: list[list[float]]  # loss of every step, by `matching`; empty without steps
    about: list[dict[str, Any]]  # of each picture: psnr_db, perceptual, loss, steps, stopped
    frames: list[list[Pixels]]  # of each picture, what previews showed


def invert_pictures(
    job: RunningJob[Any],
    model: LoadedModel,
    originals: Pixels,
    given: Inversion,
    *,
    preview_every: int,
    share: float,
) -> Inverted:
    """Find latents that paint `originals`, (N, H, W, 3). `share`: how much of the job's progress this is.

    Raises JobFailed `diverged` if a picture's loss explodes, and UnsupportedByModel.
    """
    how = given.completed(sight(model.card.encoder), model.card.spaces)
    task = _Task(job, model, how, observe(job, model, how, originals), preview_every)
    if how.method == "multi_code":
        return task.composed(share)
    start = task.start() if how.defaults.encoder else None
    if how.steps == 0:
        return task.looked(start)
    return task.tuned(share) if how.method == "pti" else task.searched(start, (0, share))


@dataclass(frozen=True)
class _Run:
    """What the engine made of a program."""

    course: Course
    frames: list[list[Pixels]]

    def stopped(self, i: int) -> str:
        return "target" if self.course.outcomes[i] == Outcome.STOPPED else "steps"


class _Task:
    """One call of `invert_pictures`."""

    def __init__(
        self,
        job: RunningJob[Any],
        model: LoadedModel,
        how: Inversion,
        observation: Observation,
        preview_every: int,
    ) -> None:
        assert how.steps is not None
        self.job, self.model, self.how, self.steps = job, model, how, how.steps
        self.observation, self.preview_every = observation, preview_every
        self.code = _code(model, how) if how.method != "multi_code" else None
        self.distance: Perceptual | None = model.perceptual
        if how.losses.distance != "shipped":
            self.distance = job.context.losses.get(how.losses.distance)

    # --- the ways ----------------------------------------------------------------------------------------

    def start(self) -> Tensor:
        """(N, *shape): where the encoder sees the pictures; a small observation is blown up for it."""
        model, observed = self.model, self.observation.images
        if model.encode is None:
            raise UnsupportedByModel(f"the model {model.name!r} has no encoder: take the method projector")
        side = model.generator.img_resolution
        if observed.shape[2] < side:
            observed = F.interpolate(observed, size=(side, side), mode="bicubic").clamp(-1, 1)
        ws = self.job.forward(Subject(model.encode), _look, {"images": observed})
        assert self.code is not None and self.code.encode is not None
        if model.encode.space is Space.S:
            if self.code.space is not Space.S:
                raise UnsupportedByModel(f"the encoder of {model.name!r} sees styles: take the space s")
            return ws
        with torch.no_grad():
            return self.code.encode(ws.to(next(model.generator.parameters()))).cpu()

    def looked(self, start: Tensor | None) -> Inverted:
        """What an encoder found, without a step."""
        assert start is not None and self.code is not None
        program = self._search()
        inputs = self._inputs(program, {self.code.parameter: start})
        return self._inverted(self._paint(inputs, program), self._latents(start, inputs), inputs, None)

    def searched(self, start: Tensor | None, share: tuple[float, float]) -> Inverted:
        """What a search found, from `start` or from the middle of the space."""
        assert self.code is not None
        program = self._search()
        run = self._run(program, self._problems(program, start), self.steps, share, _saved(self.job))
        inputs = self._inputs(program, run.course.params)
        latents = self._latents(run.course.params[self.code.parameter], inputs)
        return self._inverted(self._paint(inputs, program), latents, inputs, run)

    def tuned(self, share: float) -> Inverted:
        """Pivotal tuning: a search for the pivots, then a generator for each of them."""
        assert self.code is not None
        how, saved = self.how, _saved(self.job)
        half = share * self.steps / (self.steps + how.tuning.steps)
        if saved is not None and PIVOT in saved:
            code = saved.pop(PIVOT)
        else:
            search = self._search()
            run = self._run(search, self._problems(search, None), self.steps, (0, half), saved)
            code, saved = run.course.params[self.code.parameter], None
        inputs = self._inputs(self._search(), {self.code.parameter: code})
        program = PivotalTuning(with_w(self.model.generator), self.distance)
        options = _tuning_options(how, self.distance is not None)
        problems = program.problems(self.observation.images, inputs["ws"].contiguous(), options)
        run = self._run(program, problems, options.steps, (half, share), saved, {PIVOT: code})
        N = len(code)
        tunings = tuple(weight_delta.compress(program.delta(run.course.params, i)) for i in range(N))
        latents = replace(self._latents(code, inputs), tunings=tunings)
        one = ({"ws": inputs["ws"][i : i + 1]} for i in range(N))
        painted = [self._paint(w, None, tuned_by(self.model, t)) for w, t in zip(one, tunings, strict=True)]
        return self._inverted(np.concatenate(painted), latents, inputs, run)

    def composed(self, share: float) -> Inverted:
        """Multi-code prior: pictures, and codes that no other job understands."""
        how, model = self.how, self.model
        options = _multi_code_options(how)
        distance = self.distance if options.perceptual or options.stop is not None else None
        try:
            layer = how.multi_code.layer or multi_codes.sixth_layer(model.generator)
            degradation = self.observation.degradation
            program = MultiCode(model.generator, layer, how.multi_code.codes, distance, degradation)
            given = self.observation.constants | self._label()
            problems = program.problems(self.observation.images, options, given)
        except ValueError as error:
            raise UnsupportedByModel(str(error)) from error
        run = self._run(program, problems, options.steps, (0, share), _saved(self.job))
        found = run.course.params
        painted = to_pixels(
            self.job.forward(multi_codes.painter(program), multi_codes.compose, found | self._label())
        )
        return self._inverted(painted, {name: t.contiguous() for name, t in found.items()}, {}, run)

    # --- their parts -------------------------------------------------------------------------------------

    def _label(self) -> dict[str, Tensor]:
        """The class of every picture, (N, c_dim), for a multi-code prior; empty without one."""
        label, N = class_number(self.model.card, self.how.class_index), len(self.observation.images)
        return {} if label is None else {"label": one_hot(label, N, self.model.generator.c_dim)}

    def _search(self) -> Search:
        model, how = self.model, self.how
        if self.distance is None and (how.losses.perceptual or how.stop is not None):
            raise UnsupportedByModel(
                "this model has no perceptual network: set losses.perceptual to 0, without stop"
            )
        assert self.code is not None
        return Search(
            model.generator,
            self.code,
            self.distance,
            noise=how.defaults.noise_maps,
            identity=self.job.context.losses.get("identity") if how.losses.identity else None,
            degradation=self.observation.degradation,
            encoder=model.encode if how.losses.in_domain else None,
        )

    def _problems(self, program: Search, start: Tensor | None) -> Tensors:
        observation = self.observation
        return program.problems(
            observation.images, _options(self.how), start=start, constants=observation.constants
        )

    def _run(
        self,
        program: Program,
        problems: Tensors,
        steps: int,
        share: tuple[float, float],
        saved: Tensors | None,
        keep: Tensors | None = None,
    ) -> _Run:
        """The program to its end on the engine. Raises JobFailed `diverged`."""
        follower = Follower(self.job, steps, self.preview_every, share, self._matching, keep)
        with follower.traced(len(self.observation.images)):
            course = self.job.context.engine.optimise(
                program, problems, on_step=follower.on_step, check=follower.check, saved=saved
            )
        if course.failures:
            index, error = next(iter(course.failures.items()))
            raise JobFailed(f"picture {index}: {error}", code="diverged")
        return _Run(course, follower.frames)

    def _matching(self, terms: Mapping[str, Sequence[float]]) -> list[float]:
        return matching(terms, self.how.losses)

    def _inputs(self, program: Search, params: Tensors) -> dict[str, Tensor]:
        """What the pictures are painted from."""
        device = next(self.model.generator.parameters()).device
        with torch.no_grad():
            found = program.painting({name: t.to(device) for name, t in params.items()})
        return {name: t.cpu() for name, t in found.items()}

    def _paint(
        self, inputs: dict[str, Tensor], program: Search | None, painter: Painter | None = None
    ) -> Pixels:
        op = painting.Paint("none" if program is not None and program.noise_sizes else "const")
        return to_pixels(self.job.forward(painter or self.model, op, inputs))

    def _latents(self, code: Tensor, inputs: dict[str, Tensor]) -> Latents:
        """In the space of the search; in W+ for those of PULSE, whose codes mean something to it alone."""
        noises = {
            n.removeprefix(painting.NOISE): t for n, t in inputs.items() if n.startswith(painting.NOISE)
        }
        origins = tuple({"picture": i} for i in range(len(code)))
        if self.how.method == "pulse":
            return Latents(Space.W_PLUS, inputs["ws"].contiguous(), origins, noises)
        assert self.code is not None
        if self.code.space is Space.FEATURES:
            maps = {n.removeprefix(FEATURES): t for n, t in inputs.items() if n.startswith(FEATURES)}
            return Latents(Space.FEATURES, inputs["ws"].contiguous(), origins, noises, features=maps)
        one = self.code.space in (Space.W, Space.P)
        rows = (code[:, 0] if one else code).cpu().contiguous()
        return Latents(self.code.space, rows, origins, noises)

    def _inverted(
        self,
        painted: Pixels,
        latents: Latents | dict[str, Tensor],
        inputs: dict[str, Tensor],
        run: _Run | None,
    ) -> Inverted:
        N, observation = len(painted), self.observation
        seen = observation.of(painted)
        distances = self._distances(seen)
        curves = [self._matching(curve) for curve in run.course.curves] if run else [[] for _ in range(N)]
        about = [
            {
                "psnr_db": round(psnr_db(observation.originals[i], seen[i]), 2),
                "perceptual": None if distances is None else round(float(distances[i]), 5),
                "loss": round(curves[i][-1], 5) if curves[i] else None,
                "steps": run.course.steps[i] if run else 0,
                "stopped": run.stopped(i) if run else "encoder",
            }
            for i in range(N)
        ]
        restored = painted if self.how.method == "diffusion" else observation.completed(painted)
        frames = run.frames if run else [[] for _ in range(N)]
        return Inverted(observation.originals, restored, latents, inputs, curves, about, frames)

    def _distances(self, seen: Pixels) -> Tensor | None:
        """(N,), of the pictures as they were observed to what was given."""
        model = self.model
        if model.perceptual is None:
            return None
        side = model.generator.img_resolution
        pairs = to_tensor(seen, model.generator.img_channels), self.observation.images
        a, b = (F.interpolate(x, size=(side, side)) if x.shape[2] < side else x for x in pairs)
        found: Tensor = self.job.forward(Subject(model.comparing), _compare, {"a": a, "b": b})
        return found


def matching(terms: Mapping[str, Sequence[float]], weights: LossWeights) -> list[float]:
    """How far the picture is from its target, at every step: the terms that compare them, weighted.

    Regularisers are left out: that of the noise begins in the thousands and says nothing of the picture.
    """
    pixel, perceptual = weights.pixel or 0.0, weights.perceptual or 0.0
    pairs = zip(terms["pixel"], terms["perceptual"], strict=True)
    return [pixel * p + perceptual * d for p, d in pairs]


def psnr_db(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio of two pictures of bytes; 99 for equal ones, for which it has no bound."""
    error = np.square(a.astype(np.float64) - b.astype(np.float64)).mean()
    return 99.0 if error == 0 else float(10 * np.log10(PEAK**2 / error))


def _look(subject: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """images (N, C, H, W) -> ws (N, L, D)."""
    found: Tensor = subject(inputs["images"])
    return found


def _compare(subject: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """a, b (N, C, H, W) -> (N,)."""
    found: Tensor = subject(inputs["a"], inputs["b"])
    return found


def _code(model: LoadedModel, how: Inversion) -> Code:
    try:
        label = class_number(model.card, how.class_index)
        if how.space == "features":
            return model.codes.features(how.features.layer, how.features.styles == "held", label)
        return model.codes.get(Space(str(how.space)), FORMS.get(str(how.method), "plain"), label)
    except ValueError as error:
        raise UnsupportedByModel(str(error)) from error


def _options(how: Inversion) -> SearchOptions:
    rest, losses = how.defaults, how.losses
    assert how.steps is not None and how.learning_rate is not None
    return SearchOptions(
        steps=how.steps,
        learning_rate=how.learning_rate,
        schedule=SCHEDULES[rest.schedule],
        jitter=rest.jitter,
        pixel=losses.pixel or 0.0,
        perceptual=losses.perceptual or 0.0,
        identity=losses.identity or 0.0,
        latent=losses.latent or 0.0,
        in_domain=losses.in_domain or 0.0,
        noise_regularization=losses.noise_regularization or 0.0,
        stop=None if how.stop is None else how.stop.perceptual,
        seed=how.seed,
    )


def _tuning_options(how: Inversion, perceptual: bool) -> TuningOptions:
    return TuningOptions(
        steps=how.tuning.steps,
        learning_rate=how.tuning.learning_rate,
        perceptual=1.0 if perceptual else 0.0,
        stop=how.tuning.stop if perceptual else None,
        seed=how.seed,
    )


def _multi_code_options(how: Inversion) -> MultiCodeOptions:
    assert how.steps is not None and how.learning_rate is not None
    return MultiCodeOptions(
        steps=how.steps,
        learning_rate=how.learning_rate,
        pixel=how.losses.pixel or 0.0,
        perceptual=how.losses.perceptual or 0.0,
        spread=0.0 if how.multi_code.start == "zero" else 1.0,
        stop=None if how.stop is None else how.stop.perceptual,
        seed=how.seed,
    )


def _saved(job: RunningJob[Any]) -> dict[str, Tensor] | None:
    """The state that an earlier attempt left."""
    if job.claim.checkpoint_key is None:
        return None
    try:
        saved = load_tensors(job.context.blobs.read(job.claim.checkpoint_key))
        logger.info("job %s goes on from %s", job.claim.job_id, job.claim.checkpoint_key)
        return saved
    except NotFound:
        logger.warning("job %s: its checkpoint is gone, starting over", job.claim.job_id)
        return None
