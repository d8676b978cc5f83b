"""How pictures are turned into latents: the methods by name, with their published constants, and what a
request may say otherwise.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from jobs.words import ClassRef, Finite, ImageId, Seed, Strict

Method = Literal[
    "hybrid",
    "projector",
    "image2stylegan",
    "ii2s",
    "pulse",
    "stylespace",
    "encoder",
    "in_domain",
    "diffusion",
    "multi_code",
    "pti",
]
SearchSpace = Literal["z", "w", "w+", "s", "p", "p+", "features"]
Schedule = Literal["constant", "ramp", "cycle"]
FEATURES_LATENT = 0.1  # weight of the distance of features to their start (measured in docs/inversion.md)


@dataclass(frozen=True)
class Defaults:
    """Of a method: what holds unless a request says otherwise, and what it cannot be without."""

    space: SearchSpace
    steps: int
    learning_rate: float
    schedule: Schedule = "constant"
    jitter: float = 0.0
    noise_maps: bool = False
    pixel: float = 1.0
    perceptual: float = 1.0
    identity: float = 0.0
    latent: float = 0.0
    in_domain: float = 0.0
    noise_regularization: float = 0.0
    spaces: tuple[SearchSpace, ...] = ()
    """Those that may be asked for; none: only its own."""
    encoder: bool = False
    """Whether the search begins at what the model's encoder finds."""
    needs: tuple[str, ...] = ()
    """Degradations of which it needs one."""
    unseen: SearchSpace | None = None
    """Its space where something cannot be seen, and is left to what the model finds likely."""

    def space_in(self, spaces: Collection[str]) -> SearchSpace:
        """Its own space; z, if it may search there, in a family that has no other."""
        return "z" if self.space not in spaces and "z" in self.spaces else self.space

    def behind(self, degradation: "Degradation | None") -> "Defaults":
        """What holds for pictures that are degraded so (measured in docs/inversion.md)."""
        if isinstance(degradation, NoiseDegradation):  # the perceptual distance wants it painted
            return replace(self, pixel=self.pixel or 1.0, perceptual=0.0)
        if isinstance(degradation, MaskDegradation | GrayDegradation | JpegDegradation):
            return replace(self, space=self.unseen or self.space)
        return self

    def within(self, space: str | None) -> "Defaults":
        """What holds in a space: features are held near their start, and there is no noise beside them."""
        if space != "features":
            return self
        latent = self.latent or FEATURES_LATENT
        return replace(self, latent=latent, jitter=0.0, noise_maps=False, noise_regularization=0.0)

    def allows(self, space: str) -> bool:
        return space == self.space or space in self.spaces


METHODS: Mapping[str, Defaults] = {
    "hybrid": Defaults(
        "w+",
        100,
        0.05,
        "ramp",
        noise_maps=True,
        noise_regularization=1e5,
        encoder=True,
        spaces=("w", "s", "p+", "features"),
        unseen="w",
    ),
    "projector": Defaults(
        "w",
        1000,
        0.1,
        "ramp",
        0.05,
        True,
        0.0,
        1.0,
        noise_regularization=1e5,
        spaces=("z", "w+", "s", "p", "p+", "features"),
    ),
    "image2stylegan": Defaults("w+", 5000, 0.01),
    "ii2s": Defaults("w+", 1300, 0.01, latent=0.001, spaces=("w",)),
    "pulse": Defaults("p+", 100, 0.4, "cycle", pixel=100.0, perceptual=0.0, latent=0.05),
    "stylespace": Defaults("s", 500, 0.1, "ramp"),
    "multi_code": Defaults("w", 3000, 1.0, spaces=("z",)),
    "pti": Defaults("w", 450, 0.01, "ramp", 0.05, pixel=0.0, spaces=("w+",)),
    "encoder": Defaults("w+", 0, 0.01, encoder=True, spaces=("w", "s")),
    "in_domain": Defaults("w+", 100, 0.01, in_domain=2.0, encoder=True),
    "diffusion": Defaults("w+", 100, 0.01, encoder=True, needs=("mask",)),
}


def sight(encoder: Mapping[str, Any]) -> Literal["w+", "s"] | None:
    """The space in which a model's encoder sees pictures, by its card; None without one."""
    if not encoder:
        return None
    return "s" if encoder.get("network") == "ghfeat_encoder" else "w+"


class StopRule(Strict):
    perceptual: Annotated[float, Field(gt=0)]
    """Stop a picture as soon as its perceptual distance is at most this."""


Weight = Annotated[float | None, Field(ge=0, le=1e4)]


class LossWeights(Strict):
    """Left out: as the method has them."""

    distance: Literal["shipped", "lpips-vgg", "lpips-alex"] = "shipped"
    """What `perceptual` and `stop` mean; LPIPS needs weights that the operator has to give."""
    pixel: Weight = None
    perceptual: Weight = None
    identity: Weight = None
    """Of ArcFace's distance, 1 minus the cosine; needs weights that the operator has to give."""
    latent: Weight = None
    """Of how unusual the code is."""
    in_domain: Weight = None
    """Of how far the code is from what the encoder sees in its picture."""
    noise_regularization: Annotated[float | None, Field(ge=0, le=1e8)] = None

    @model_validator(mode="after")
    def _something_to_match(self) -> "LossWeights":
        if self.pixel == 0 and self.perceptual == 0:
            raise ValueError("pixel and perceptual cannot both be 0")
        return self


class MaskDegradation(Strict):
    """Inpainting."""

    type: Literal["mask"]
    image: ImageId
    """An uploaded picture, white where the pictures are to be painted anew."""
    feather: Annotated[int, Field(ge=0, le=64)] = 0
    """Pixels over which the known part fades in."""


class GrayDegradation(Strict):
    """Colourisation."""

    type: Literal["gray"]


class DownsampleDegradation(Strict):
    """Super-resolution: pictures are taken to be `factor` times smaller than those of the model."""

    type: Literal["downsample"]
    factor: Annotated[int, Field(ge=2, le=16)]
    filter: Literal["mean", "bilinear"] = "mean"
    """Means of blocks, or what lies in their middle, as bilinear sampling has it."""


class NoiseDegradation(Strict):
    """Denoising: what the generator cannot paint is noise. It lives on an early end and a small space."""

    type: Literal["noise"]


class JpegDegradation(Strict):
    """Repair of JPEG artefacts."""

    type: Literal["jpeg"]
    quality: Annotated[int, Field(ge=1, le=100)]
    subsampled: bool = True
    """4:2:0, else 4:4:4."""


Degradation = Annotated[
    MaskDegradation | GrayDegradation | DownsampleDegradation | NoiseDegradation | JpegDegradation,
    Field(discriminator="type"),
]


Point = tuple[Finite, Finite]
Face = Annotated[tuple[Point, ...], Field(min_length=68, max_length=68)]


class MultiCode(Strict):
    """For the method `multi_code`."""

    codes: Annotated[int, Field(ge=1, le=64)] = 20
    layer: Annotated[str | None, Field(max_length=64)] = None
    """Whose features are mixed, by its name in the model; left out: the sixth."""
    start: Literal["random", "zero"] = "random"
    """Of the z that the codes come from."""


class FeatureSpace(Strict):
    """For the space `features`."""

    layer: Annotated[str | None, Field(max_length=64)] = None
    """Whose output is searched for, by its name in the model; left out: the last with maps of at most 32
    pixels and a quarter of the picture."""
    styles: Literal["searched", "held"] = "searched"
    """What becomes of the ws of the layers behind it. Those before it are held in any case."""


class Tuning(Strict):
    """For the method `pti`: how the generator is bent, after its pivot was found."""

    steps: Annotated[int, Field(ge=1, le=2000)] = 350
    learning_rate: Annotated[float, Field(gt=0, le=0.1)] = 3e-4
    stop: Annotated[float | None, Field(gt=0)] = None
    """Stop at this perceptual distance. The paper's 0.06 is on the scale of LPIPS (AlexNet)."""


class Inversion(Strict):
    """How pictures are turned into latents. What is left out is as the method has it."""

    method: Method | None = None
    """Left out: `hybrid` where the model has an encoder, else `projector`."""
    space: SearchSpace | None = None
    class_index: Annotated[ClassRef | None, Field(alias="class")] = None
    """Of a model with classes: in which the search begins; z is searched in one class. Index or name."""
    steps: Annotated[int | None, Field(ge=0, le=5000)] = None
    learning_rate: Annotated[float | None, Field(gt=0, le=1)] = None
    """Peak of the schedule."""
    losses: LossWeights = LossWeights()
    stop: StopRule | None = None
    degradation: Degradation | None = None
    """What has become of the pictures: the search undoes it."""
    align: Literal["none", "auto", "ffhq"] = "none"
    """none: the middle square. auto: where the model's own network sees a portrait. ffhq: as StyleGAN's data
    set, by `landmarks`, or where the operator's detector sees a face."""
    landmarks: Annotated[tuple[Face, ...], Field(min_length=1, max_length=16)] | None = None
    """For `ffhq`, of each picture: 68 points (x, y) in pixels, as dlib and others find them. Left out: the
    service looks for them, if it has a detector."""
    features: FeatureSpace = FeatureSpace()
    multi_code: MultiCode = MultiCode()
    tuning: Tuning = Tuning()
    seed: Seed = 0

    @property
    def defaults(self) -> Defaults:
        """Those of the method in its space, which must be known by now."""
        assert self.method is not None
        return METHODS[self.method].within(self.space)

    def completed(self, seen_in: SearchSpace | None, spaces: Collection[str]) -> Self:
        """With what was left out, as it is for a model of these spaces. Once complete, it stays so.

        seen_in: `sight` of its encoder.
        """
        method = self.method or ("hybrid" if seen_in else "projector")
        rest = METHODS[method].behind(self.degradation)
        space = self.space or rest.space_in(spaces)
        if self.space is None and rest.encoder and seen_in == "s":
            space = "s"
        rest = rest.within(space)
        losses = {
            name: getattr(rest, name) if value is None else value
            for name, value in self.losses.model_dump().items()
        }
        found = {
            "method": method,
            "space": space,
            "steps": rest.steps if self.steps is None else self.steps,
            "learning_rate": self.learning_rate or rest.learning_rate,
            "losses": self.losses.model_copy(update=losses),
        }
        return self.model_copy(update=found)
