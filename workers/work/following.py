"""Listens to an optimisation for the job: progress, previews, checkpoints, and reasons to stop."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from generative.batch import Tensors
from generative.pixels import to_uint8
from generative.program import Outcome
from jobs import tracing
from workers import encode
from workers.engine import Update
from workers.images import Pixels, resize, to_pixels
from workers.job import RunningJob

PREVIEW_SIDE, PREVIEW_QUALITY = 256, 80  # some 20 kB
MAX_FRAMES = 300  # of the film of a picture; then every other one is dropped


class Follower:
    def __init__(
        self,
        job: RunningJob[Any],
        total: int,
        preview_every: int,
        share: tuple[float, float],
        matching: Callable[[Mapping[str, Sequence[float]]], list[float]],
        keep: Tensors | None = None,
    ) -> None:
        """
        Args:
            total: steps.
            share: of the job's progress, from where to where.
            matching: terms of a step to the losses that people are told.
            keep: what a checkpoint needs beside the optimisation's own state.
        """
        self.job, self.total, self.preview_every, self.share = job, total, preview_every, share
        self.matching, self.keep = matching, keep or {}
        self.latest: Update | None = None
        self.frames: list[list[Pixels]] = []
        self._previewed, self._device_s = 0, 0.0

    @contextmanager
    def traced(self, samples: int) -> Iterator[None]:
        """One span of the engine's work for the job, which tells of the company that it had."""
        self.frames = [[] for _ in range(samples)]
        with tracing.span("engine optimise", samples=samples, steps=self.total) as span:
            try:
                yield
            finally:
                if (latest := self.latest) is not None:
                    rows = latest.unit_rows / max(1, latest.units)
                    span.set(units=latest.units, batch_rows=rows, device_s=latest.device_s)

    def on_step(self, update: Update) -> None:
        self.latest = update
        step = _slowest(update, self.total)
        self.job.device_s += update.device_s - self._device_s
        self._device_s = update.device_s
        if self.preview_every and step // self.preview_every > self._previewed:
            self._previewed = step // self.preview_every
            self._preview(update)
        losses = self.matching(update.terms) if update.terms else []
        self.check()
        mean = sum(losses) / max(1, len(losses))
        begin, end = self.share
        value = begin + (end - begin) * step / self.total
        self.job.reporter.report(value, step, self.total, f"loss {mean:.4g}")

    def check(self) -> None:
        """Called often, also when nothing moves. A drain must not end the job before its state is kept."""
        reporter, latest = self.job.reporter, self.latest
        if reporter.checkpoint_due and latest is not None and min(latest.steps) > 0:
            reporter.checkpoint(latest.step, {**latest.tensors(), **self.keep})
        reporter.check()

    def _preview(self, update: Update) -> None:
        for index in range(len(update.steps)):
            picture = update.preview(index)
            if picture is not None:
                small = resize(to_pixels(to_uint8(picture[None]))[0], PREVIEW_SIDE)
                self.job.reporter.preview(index, encode.jpeg(small, PREVIEW_QUALITY, ""))
                frames = self.frames[index]
                frames.append(small)
                if len(frames) > MAX_FRAMES:
                    del frames[::2]


def _slowest(update: Update, total_steps: int) -> int:
    """Steps of the sample that has most of them left."""
    running = [
        s for s, outcome in zip(update.steps, update.outcomes, strict=True) if outcome == Outcome.RUNNING
    ]
    return min(running, default=total_steps)
