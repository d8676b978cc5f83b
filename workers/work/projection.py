"""Pictures to latents, by the projector on the engine; for `invert`, and for `edit` of pictures."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from safetensors.torch import load as load_tensors
from torch import Tensor

from generative.inversion.projector import Projector, ProjectorOptions
from generative.pixels import to_uint8
from generative.program import Course, Outcome
from generative.spaces import Space
from jobs import tracing
from jobs.errors import JobFailed, NotFound, UnknownImage, UnsupportedByModel
from jobs.schemas import Inversion, LossWeights
from workers import encode
from workers.engine import Update
from workers.images import Pixels, decode, fit_square, resize, to_pixels, to_tensor
from workers.job import RunningJob
from workers.latents import Latents
from workers.models import LoadedModel
from workers.work import painting
from workers.work.sources import with_w

logger = logging.getLogger(__name__)

PREVIEW_SIDE, PREVIEW_QUALITY = 256, 80  # some 20 kB
PEAK = 255.0


@dataclass(frozen=True)
class Inverted:
    """What was found for N pictures."""

    originals: Pixels  # (N, H, W, 3), as the projector saw them
    reconstructions: Pixels  # (N, H, W, 3)
    latents: Latents
    inputs: dict[str, Tensor]  # what the reconstructions were painted from: ws and noise maps
    curves: list[list[float]]  # loss of every step, by `matching`
    about: list[dict[str, Any]]  # of each picture: psnr_db, perceptual, loss, steps, stopped


def read_images(job: RunningJob[Any], model: LoadedModel, ids: Sequence[str]) -> Pixels:
    """Uploaded pictures, their middle squares in the size of the model: (N, H, W, 3). Raises UnknownImage."""
    return np.stack([fit_square(decode(_read_image(job, id)), model.generator.img_resolution) for id in ids])


def _read_image(job: RunningJob[Any], id: str) -> bytes:
    try:
        return job.context.blobs.read(job.context.store.get_image(job.tenant, id).key)
    except NotFound as error:
        raise UnknownImage(f"there is no image {id}") from error


def project(
    job: RunningJob[Any],
    model: LoadedModel,
    originals: Pixels,
    how: Inversion,
    *,
    preview_every: int,
    share: float,
) -> Inverted:
    """Find latents that paint `originals`, (N, H, W, 3). `share`: how much of the job's progress this is.

    Raises JobFailed `diverged` if a picture's loss explodes, and UnsupportedByModel.
    """
    program = _program(model, how)
    targets = to_tensor(originals, model.generator.img_channels)
    follower = _Follower(job, how, preview_every, share)
    with follower.traced(len(originals)):
        course = job.context.engine.optimise(
            program,
            program.problems(targets, _options(how)),
            on_step=follower.on_step,
            check=follower.check,
            saved=_saved(job),
        )
    if course.failures:
        index, error = next(iter(course.failures.items()))
        raise JobFailed(f"picture {index}: {error}", code="diverged")
    inputs = program.painting(course.params)
    return _inverted(originals, to_pixels(job.forward(model, painting.Paint(), inputs)), course, inputs, how)


def _program(model: LoadedModel, how: Inversion) -> Projector:
    if model.perceptual is None and (how.losses.perceptual or how.stop is not None):
        raise UnsupportedByModel(
            "this model has no perceptual network: set losses.perceptual to 0, without stop"
        )
    return Projector(with_w(model.generator), model.perceptual, model.w_mean, model.w_std, how.space)


def _options(how: Inversion) -> ProjectorOptions:
    return ProjectorOptions(
        steps=how.steps,
        learning_rate=how.learning_rate,
        pixel=how.losses.pixel,
        perceptual=how.losses.perceptual,
        noise_regularization=how.losses.noise_regularization,
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


def _inverted(
    originals: Pixels, painted: Pixels, course: Course, inputs: dict[str, Tensor], how: Inversion
) -> Inverted:
    N = len(originals)
    curves = [matching(curve, how.losses) for curve in course.curves]
    about = [
        _quality(originals[i], painted[i], course, i) | {"loss": round(curves[i][-1], 5)} for i in range(N)
    ]
    noises = {n.removeprefix(painting.NOISE): t for n, t in inputs.items() if n.startswith(painting.NOISE)}
    space = Space(how.space)
    rows = inputs["ws"][:, 0] if space is Space.W else inputs["ws"]
    latents = Latents(space, rows.contiguous(), tuple({"picture": i} for i in range(N)), noises)
    return Inverted(originals, painted, latents, inputs, curves, about)


def matching(terms: Mapping[str, Sequence[float]], weights: LossWeights) -> list[float]:
    """How far the picture is from its target, at every step: the loss without the regulariser of the noise.

    That one begins in the thousands and says nothing of the picture.
    """
    pairs = zip(terms["pixel"], terms["perceptual"], strict=True)
    return [weights.pixel * pixel + weights.perceptual * perceptual for pixel, perceptual in pairs]


def _quality(original: Pixels, painted: Pixels, course: Course, index: int) -> dict[str, Any]:
    curve = course.curves[index]
    return {
        "psnr_db": round(psnr_db(original, painted), 2),
        "perceptual": round(curve["perceptual"][-1], 5),
        "steps": course.steps[index],
        "stopped": "target" if course.outcomes[index] == Outcome.STOPPED else "steps",
    }


def psnr_db(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio of two pictures of bytes; 99 for equal ones, for which it has no bound."""
    error = np.square(a.astype(np.float64) - b.astype(np.float64)).mean()
    return 99.0 if error == 0 else float(10 * np.log10(PEAK**2 / error))


@dataclass
class _Follower:
    """Listens to the optimisation for the job: progress, previews, checkpoints, and reasons to stop."""

    job: RunningJob[Any]
    how: Inversion
    preview_every: int
    share: float
    latest: Update | None = None
    previewed: int = field(default=0)
    device_s: float = 0.0

    @contextmanager
    def traced(self, samples: int) -> Iterator[None]:
        """One span of the engine's work for the job, which tells of the company that it had."""
        with tracing.span("engine optimise", samples=samples, steps=self.how.steps) as span:
            try:
                yield
            finally:
                if (latest := self.latest) is not None:
                    rows = latest.unit_rows / max(1, latest.units)
                    span.set(units=latest.units, batch_rows=rows, device_s=latest.device_s)

    def on_step(self, update: Update) -> None:
        self.latest, total = update, self.how.steps
        step = _slowest(update, total)
        self.job.device_s += update.device_s - self.device_s
        self.device_s = update.device_s
        if self.preview_every and step // self.preview_every > self.previewed:
            self.previewed = step // self.preview_every
            self._preview(update)
        losses = matching(update.terms, self.how.losses) if update.terms else []
        self.check()
        mean = sum(losses) / max(1, len(losses))
        self.job.reporter.report(self.share * step / total, step, total, f"loss {mean:.4g}")

    def check(self) -> None:
        """Called often, also when nothing moves. A drain must not end the job before its state is kept."""
        reporter, latest = self.job.reporter, self.latest
        if reporter.checkpoint_due and latest is not None and min(latest.steps) > 0:
            reporter.checkpoint(latest.step, latest.tensors())
        reporter.check()

    def _preview(self, update: Update) -> None:
        for index in range(len(update.steps)):
            picture = update.preview(index)
            if picture is not None:
                small = resize(to_pixels(to_uint8(picture[None]))[0], PREVIEW_SIDE)
                self.job.reporter.preview(index, encode.jpeg(small, PREVIEW_QUALITY, ""))


def _slowest(update: Update, total_steps: int) -> int:
    """Steps of the sample that has most of them left."""
    running = [
        s for s, outcome in zip(update.steps, update.outcomes, strict=True) if outcome == Outcome.RUNNING
    ]
    return min(running, default=total_steps)
