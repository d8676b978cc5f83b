"""The input of an `evaluate` job."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from jobs.words import (
    MAX_IMAGES,
    MAX_SAMPLES,
    MAX_SEED,
    MIN_PICTURES,
    ClassRef,
    ImageId,
    JobId,
    Layers,
    MetricName,
    Name,
    Psi,
    Strict,
)


class PathOptions(Strict):
    """How the perceptual path length is sampled."""

    space: Literal["w", "z"] = "w"
    sampling: Literal["full", "end"] = "full"
    """full: anywhere between two latents; end: at the first of them."""


class Pictures(Strict):
    """Exactly one of the two."""

    images: Annotated[tuple[ImageId, ...], Field(min_length=MIN_PICTURES, max_length=MAX_IMAGES)] | None = (
        None
    )
    job: JobId | None = None
    """The pictures of an earlier job of the same tenant, those with the role `image`."""

    @model_validator(mode="after")
    def _exactly_one(self) -> "Pictures":
        if (self.images is None) == (self.job is None):
            raise ValueError("give images or job")
        if self.images is not None and len(set(self.images)) < len(self.images):
            raise ValueError("every picture counts once")
        return self


class EditStep(Strict):
    """A direction of the model in W or W+, and how far."""

    name: Name
    strength: Annotated[float, Field(ge=-100, le=100)] = 1.0
    layers: Layers | None = None
    """Overrides the layers that the direction recommends."""


class EvaluateInput(Strict):
    metrics: Annotated[tuple[MetricName, ...], Field(min_length=1, max_length=6)] = (
        "fid",
        "kid",
        "pr",
        "factors",
    )
    count: Annotated[int, Field(ge=MIN_PICTURES, le=MAX_SAMPLES)] = 2000
    """Samples, and renders of the world; path lengths too."""
    reference: Literal["world"] | Pictures = "world"
    """world: unseen renders of the world that the model was trained on, with two controls beside."""
    psi: Psi = 1.0
    class_index: Annotated[ClassRef | None, Field(alias="class")] = None
    """For a model with classes; without it they are drawn at random."""
    seed: Annotated[int, Field(ge=0, le=MAX_SEED - MAX_SAMPLES)] = 0
    """Samples have the seeds `seed`, `seed + 1`, …; renders and subsets follow from it too."""
    path: PathOptions = PathOptions()
    """For `ppl`."""
    edits: Annotated[tuple[EditStep, ...], Field(max_length=16)] = ()
    """For `identity`: whether people stay who they are along these directions, each by itself."""

    @model_validator(mode="after")
    def _edits_are_for_identity(self) -> "EvaluateInput":
        if self.edits and "identity" not in self.metrics:
            raise ValueError("edits are for the metric identity")
        return self
