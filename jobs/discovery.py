"""The input of a `discover` job: one schema for each method, chosen by `method`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from jobs.words import MAX_SEED, ClassRef, LayerName, Layers, Name, Sha256Hex, Strict, Text

MAX_DIRECTIONS = 512  # of one set: every card of the model lists them
MIN_SIDE = 10  # pictures on each side of a boundary
MAX_MAPPED, MAX_PAINTED, MAX_STYLES = 1_000_000, 100_000, 20_000  # samples of each kind
MAX_DISSECTED = 2000  # pictures whose part maps are kept


def _no_dots(name: str) -> str:
    if ".." in name:
        raise ValueError("must not hold two dots in a row")
    return name


SetName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,55}$"), AfterValidator(_no_dots)]
"""Short enough that a number fits after it: directions are named after their set."""


class Discovery(Strict):
    name: SetName
    """Of the set; its directions are `<name>_0`, `<name>_1`, …, or `<name>` where there is but one."""
    class_index: Annotated[ClassRef | None, Field(alias="class")] = None
    """For a model with classes: what is found is found in pictures of this one."""
    seed: Annotated[int, Field(ge=0, le=MAX_SEED - MAX_MAPPED)] = 0
    """Samples have the seeds `seed`, `seed + 1`, …"""


class SefaInput(Discovery):
    """Eigenvectors of the style weights (Shen and Zhou, 2021)."""

    method: Literal["sefa", "sefa_rosinality"]
    """The second as in rosinality's code: rows of the weights are not scaled, and ToRGB layers are others."""
    layers: Layers | None = None
    """Whose weights are factorised, and where the directions act; all without it."""
    count: Annotated[int, Field(ge=1, le=MAX_DIRECTIONS)] = 8


class GanspaceInput(Discovery):
    """Principal components of W (Härkönen et al., 2020)."""

    method: Literal["ganspace"]
    samples: Annotated[int, Field(ge=100, le=MAX_MAPPED)] = 300_000
    components: Annotated[int, Field(ge=1, le=MAX_DIRECTIONS)] = 80


class GanspaceFeaturesInput(Discovery):
    """Principal components of a layer's output, with latents by regression (Härkönen et al., 2020)."""

    method: Literal["ganspace_features"]
    layer: LayerName
    samples: Annotated[int, Field(ge=100, le=MAX_STYLES)] = 5000
    """As many again are painted for the regression."""
    components: Annotated[int, Field(ge=1, le=MAX_DIRECTIONS)] = 20


class PicturesInput(Discovery):
    """A method that looks at pictures of a world whose factors a network reads."""

    samples: Annotated[int, Field(ge=100, le=MAX_STYLES)] = 2000
    """Pictures that are looked at."""
    psi: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Truncation of the samples."""


class FactorInput(PicturesInput):
    """A method that looks for one factor."""

    factor: Name


class InterfaceganInput(FactorInput):
    """The normal of the boundary between high and low scores (Shen et al., 2020)."""

    method: Literal["interfacegan"]
    samples: Annotated[int, Field(ge=200, le=MAX_PAINTED)] = 10_000
    chosen: Annotated[float, Field(ge=0.005, le=0.5)] = 0.02
    """Share of the samples on each side that the boundary is found from."""
    keep: Annotated[tuple[Name, ...], Field(max_length=8)] = ()
    """Factors to stay as they are: their own normals are taken out of the direction."""

    @model_validator(mode="after")
    def _enough(self) -> "InterfaceganInput":
        if self.samples * self.chosen < MIN_SIDE:
            raise ValueError(f"chosen and samples leave fewer than {MIN_SIDE} pictures on each side")
        if self.factor in self.keep or len(set(self.keep)) < len(self.keep):
            raise ValueError("keep names other factors, each once")
        return self


class StylespaceInput(FactorInput):
    """Style channels that are unusual in pictures with a factor (Wu et al., 2021)."""

    method: Literal["stylespace"]
    examples: Annotated[int, Field(ge=5, le=100)] = 30
    """Pictures with most of the factor, which the others are compared with."""
    channels: Annotated[int, Field(ge=1, le=64)] = 8


class StyleflowInput(PicturesInput):
    """A flow that sets attributes, each with the others held (Abdal et al., 2021)."""

    method: Literal["styleflow"]
    attributes: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)]
    """Factors that the flow is told of: those to set, and those to hold."""
    samples: Annotated[int, Field(ge=200, le=MAX_PAINTED)] = 10_000
    steps: Annotated[int, Field(ge=10, le=50_000)] = 4000
    """Of the training."""
    layers: Layers | None = None
    """Of W+ that edits change; all without it."""

    @model_validator(mode="after")
    def _once(self) -> "StyleflowInput":
        if len(set(self.attributes)) < len(self.attributes):
            raise ValueError("attributes names factors, each once")
        return self


class HiganInput(FactorInput):
    """The boundary of a factor, and the layers that carry it (Yang et al., 2021)."""

    method: Literal["higan"]
    samples: Annotated[int, Field(ge=200, le=MAX_PAINTED)] = 10_000
    chosen: Annotated[int, Field(ge=MIN_SIDE, le=MAX_PAINTED // 2)] = 2000
    """Pictures on each side that the boundary is found from, at most half of the samples."""
    rescored: Annotated[int, Field(ge=16, le=2000)] = 256
    """Of the samples, pictures that are moved layer by layer and read again."""


class HessianInput(Discovery):
    """Axes along which the Hessian is nearly diagonal (Peebles et al., 2020)."""

    method: Literal["hessian"]
    space: Literal["z", "w"] = "z"
    count: Annotated[int, Field(ge=1, le=MAX_DIRECTIONS)] = 8
    """Of the basis that is learnt, the axes that move most."""
    steps: Annotated[int, Field(ge=1, le=10_000)] = 100
    batch: Annotated[int, Field(ge=1, le=64)] = 8


class EigenganInput(Discovery):
    """The dimensions of an EigenGAN's subspaces (He et al., 2021)."""

    method: Literal["eigengan"]


class StylespaceLocalInput(PicturesInput):
    """Style channels whose effect stays within a part of the picture (Wu et al., 2021)."""

    method: Literal["stylespace_local"]
    part: Annotated[str, Field(pattern=r"^[a-z][a-z ]{0,31}$")]
    channels: Annotated[int, Field(ge=1, le=64)] = 8
    looked: Annotated[int, Field(ge=8, le=2000)] = 128
    """Of the samples, pictures that are searched for the part."""
    pictures: Annotated[int, Field(ge=1, le=64)] = 8
    """Of those, in which every channel is moved alone."""


class AttfindInput(FactorInput):
    """Style channels that a factor's reading depends on most (Lang et al., 2021)."""

    method: Literal["attfind"]
    samples: Annotated[int, Field(ge=50, le=MAX_STYLES)] = 200
    channels: Annotated[int, Field(ge=1, le=64)] = 8


class DissectInput(PicturesInput):
    """Units of layers, and the parts of pictures that they go with (Bau et al., 2019)."""

    method: Literal["dissect"]
    features: Annotated[tuple[LayerName, ...], Field(min_length=1, max_length=4)]
    """Layers whose units are looked at, as the card lists them."""
    samples: Annotated[int, Field(ge=50, le=MAX_DISSECTED)] = 300
    ablate: Annotated[int, Field(ge=1, le=64)] = 8
    """How many of the best units of each part are turned off together, to see what is lost."""

    @model_validator(mode="after")
    def _once(self) -> "DissectInput":
        if len(set(self.features)) < len(self.features):
            raise ValueError("features names layers, each once")
        return self


class DirectionsImport(Strict):
    """Made by `POST /v1/models/{name}/directions`, never sent by a caller."""

    method: Literal["import"]
    name: SetName
    upload: Annotated[str, Field(max_length=256)]
    """Key of the quarantined file."""
    sha256: Sha256Hex
    space: Literal["z", "w", "w+"] | None = None
    """Of the vectors, where the file does not say."""
    first: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Coordinates of z that a square matrix smaller than z is for."""
    licence: Text | None = None


AnyDiscovery = (
    SefaInput
    | GanspaceInput
    | GanspaceFeaturesInput
    | InterfaceganInput
    | HiganInput
    | StylespaceInput
    | StylespaceLocalInput
    | AttfindInput
    | StyleflowInput
    | HessianInput
    | EigenganInput
    | DissectInput
)
DiscoverInput = Annotated[AnyDiscovery, Field(discriminator="method")]
"""What a caller may post."""
DirectionsInput = Annotated[AnyDiscovery | DirectionsImport, Field(discriminator="method")]
"""What may stand in a row."""
