"""The input of an `edit` job: a list of operations, one schema for each, chosen by `op`, and a sweep.

docs/edits.md has an example, the formula and the source of each.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from jobs.inversion import Inversion
from jobs.sources import Latents, LatentSource, Numbers, Source
from jobs.words import ClassRef, Finite, ImageId, LayerName, Layers, Name, Psi, Seed, Strict

MAX_OPERATIONS = 16
PARTS = (
    "background", "skin", "hair", "left eye", "right eye", "brows", "nose", "mouth", "glasses", "beard",
    "ears", "neck", "shirt", "hat", "earrings",
)  # fmt: skip
"""Of pictures of the portraits world, by the names of the network that finds them."""

Share = Annotated[float, Field(ge=0, le=1)]
Pair = tuple[float, float]


class Operation(Strict):
    limits: ClassVar[Pair] = (-100.0, 100.0)
    """Of its strength."""

    @property
    def sources(self) -> tuple[LatentSource, ...]:
        """Where it takes other latents from."""
        return ()

    @property
    def masks(self) -> "tuple[Mask | ImageId, ...]":
        return ()


class WithOthers(Operation):
    others: Annotated[LatentSource, Field(alias="with")]

    @property
    def sources(self) -> tuple[LatentSource, ...]:
        return (self.others,)


# --- where in the picture --------------------------------------------------------------------------------


class Box(Strict):
    """In shares of the picture's sides, from the upper left corner."""

    left: Share
    top: Share
    width: Annotated[float, Field(gt=0, le=1)]
    height: Annotated[float, Field(gt=0, le=1)]


class Mask(Strict):
    """Exactly one of `image`, `box` and `parts`, and what becomes of it."""

    image: ImageId | None = None
    """An uploaded picture, white inside; its middle square is brought to the model's size."""
    box: Box | None = None
    parts: Annotated[tuple[str, ...] | None, Field(min_length=1, max_length=15)] = None
    """Of the picture as it is before the edit, where the model has a network that finds them."""
    invert: bool = False
    grow: Annotated[int, Field(ge=0, le=256)] = 0
    """Pixels of the model's picture by which the mask is larger, after `invert`."""
    feather: Annotated[int, Field(ge=0, le=256)] = 0
    """Pixels over which its edge fades, after `grow`."""

    @model_validator(mode="after")
    def _exactly_one(self) -> "Mask":
        if sum(given is not None for given in (self.image, self.box, self.parts)) != 1:
            raise ValueError("give exactly one of image, box, parts")
        if unknown := sorted(set(self.parts or ()) - set(PARTS)):
            raise ValueError(f"there is no part {unknown[0][:40]!r}; parts are {', '.join(PARTS)}")
        return self


AnyMask = ImageId | Mask


def image_of(mask: AnyMask) -> str | None:
    """The uploaded picture that a mask is."""
    return mask if isinstance(mask, str) else mask.image


# --- operations ------------------------------------------------------------------------------------------


class Channel(Strict):
    """One number of S."""

    layer: LayerName
    index: Annotated[int, Field(ge=0)]


class FeatureVector(Numbers):
    """What is added to the output of a layer: a number for each channel, or an array (C, h, w)."""

    layer: LayerName


class DirectionOperation(Operation):
    """Exactly one of `name`, `vector`, `dimension`, `channel` and `features` says along what."""

    op: Literal["direction"]
    name: Name | None = None
    """A direction of `GET /v1/models/{name}/directions`."""
    vector: Latents | None = None
    """One of your own: one row of its space."""
    dimension: Annotated[int, Field(ge=0)] | None = None
    """A coordinate of Z, such as a dimension of EigenGAN."""
    channel: Channel | None = None
    """A style channel; strengths are in its standard deviations."""
    features: FeatureVector | None = None
    strength: Annotated[float, Field(ge=-100, le=100)] = 1.0
    """In the unit that the direction states: sigma, distance or raw."""
    mode: Literal["offset", "boundary", "coordinate"] | None = None
    """offset: how far to go. boundary: the distance from the hyperplane at which to arrive. coordinate: the
    place along the direction at which to arrive, from the mean. Left out: as the direction's unit says."""
    keep: Annotated[tuple[Name, ...], Field(max_length=8)] = ()
    """Directions that this one shall not move along: they are projected out of it."""
    layers: Layers | None = None
    """Overrides the layers that the direction recommends."""

    @model_validator(mode="after")
    def _along_one(self) -> "DirectionOperation":
        names = ("name", "vector", "dimension", "channel", "features")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(names)} (got {given or 'none'})")
        if self.features is not None and (self.mode or self.keep or self.layers):
            raise ValueError("features are offsets in one layer: mode, keep and layers do not apply")
        if self.name in self.keep or len(set(self.keep)) < len(self.keep):
            raise ValueError("keep names other directions, each once")
        return self


class AttributesOperation(Operation):
    """Set attributes to values, and hold the others (StyleFlow)."""

    limits = (-3.0, 3.0)
    op: Literal["attributes"]
    flow: Name
    """Of a `discover` job with the method styleflow."""
    set: Annotated[dict[Name, Finite], Field(min_length=1, max_length=32)]
    """In the attributes' own units."""
    mode: Literal["edit", "sample"] = "edit"
    """edit: the picture's latent with other attributes. sample: a new latent with them."""
    seed: Seed = 0
    """Of the samples."""
    layers: Layers | None = None
    """Of W+ that change; those that the flow recommends without it."""
    strength: Annotated[float, Field(ge=-3, le=3)] = 1.0
    """How far from what is read in the picture to the values."""


class UnitsOperation(Operation):
    """Switch units of a layer, everywhere or in a part of the picture (GAN Dissection).

    They are named by `layer` and `units`, or by a part of a dissected layer: `table` and `part`.
    """

    limits = (0.0, 1.0)
    op: Literal["units"]
    layer: LayerName | None = None
    units: Annotated[
        tuple[Annotated[int, Field(ge=0, le=65535)], ...] | None, Field(min_length=1, max_length=4096)
    ] = None
    table: Name | None = None
    """Of a `discover` job with the method dissect."""
    part: Annotated[str | None, Field(min_length=1, max_length=64)] = None
    count: Annotated[int, Field(ge=1, le=4096)] = 20
    """Of a part: so many of the units that go with it most."""
    action: Literal["off", "on", "value"] = "off"
    """on: as strong as they are where the part shows."""
    value: Annotated[Finite | None, Field(ge=-1e4, le=1e4)] = None
    """For the action of that name."""
    strength: Share = 1.0
    """How much of the new value replaces the old one."""
    mask: AnyMask | None = None

    @model_validator(mode="after")
    def _named_once(self) -> "UnitsOperation":
        pairs = [(self.layer, self.units), (self.table, self.part)]
        given = [sum(x is not None for x in pair) for pair in pairs]
        if sorted(given) != [0, 2]:
            raise ValueError("name units by layer and units, or by table and part")
        if self.action == "on" and self.table is None:
            raise ValueError("only a table knows how strong units are when they are on: give a value")
        if (self.action == "value") != (self.value is not None):
            raise ValueError("value goes with the action value, which needs it")
        return self

    @property
    def masks(self) -> tuple[AnyMask, ...]:
        return () if self.mask is None else (self.mask,)


class MixOperation(WithOthers):
    """Layers of another latent (StyleGAN's style mixing)."""

    limits = (0.0, 1.0)
    op: Literal["mix"]
    layers: Layers
    strength: Share = 1.0


class TransferOperation(Operation):
    """Add what lies between two others, such as an expression (Image2StyleGAN)."""

    limits = (-10.0, 10.0)
    op: Literal["transfer"]
    begin: Annotated[LatentSource, Field(alias="from")]
    end: Annotated[LatentSource, Field(alias="to")]
    layers: Layers | None = None
    strength: Annotated[float, Field(ge=-10, le=10)] = 1.0

    @property
    def sources(self) -> tuple[LatentSource, ...]:
        return self.begin, self.end


class InterpolateOperation(WithOthers):
    """A place on the way to another latent; beyond 0 and 1 before and behind it."""

    limits = (-2.0, 3.0)
    op: Literal["interpolate"]
    mode: Literal["linear", "spherical"] = "linear"
    """linear: in W+, or where latents are in S there, or in Z without a W. spherical: in Z."""
    layers: Layers | None = None
    strength: Annotated[float, Field(ge=-2, le=3)] = 0.5

    @model_validator(mode="after")
    def _layers_fit(self) -> "InterpolateOperation":
        if self.mode == "spherical" and self.layers is not None:
            raise ValueError("the sphere of z has no layers")
        return self


class AverageOperation(WithOthers):
    """The mean with all of some others."""

    limits = (0.0, 1.0)
    op: Literal["average"]
    weights: Annotated[tuple[Annotated[float, Field(gt=0, le=1e4)], ...] | None, Field(min_length=1)] = None
    """Of the others, where the picture's own is 1; all 1 without it."""
    layers: Layers | None = None
    strength: Share = 1.0


class SwapLayersOperation(Operation):
    """Weights of some layers from another generator of the same architecture (layer swapping)."""

    limits = (0.0, 1.0)
    op: Literal["swap_layers"]
    model: Name
    layers: Layers
    strength: Share = 1.0
    """How much of the other's weights."""


class StructureOperation(Operation):
    """The picture of another generator with the coarse layers of this one (FreezeSG)."""

    limits = (0.0, 1.0)
    op: Literal["structure"]
    model: Name
    layers: Layers
    """Those that stay: their weights, and what w they take."""
    strength: Share = 1.0
    """How much of the other in the layers that do not stay."""


Inside = Annotated[
    DirectionOperation
    | AttributesOperation
    | UnitsOperation
    | MixOperation
    | TransferOperation
    | InterpolateOperation
    | AverageOperation,
    Field(discriminator="op"),
]
"""What may be done in a region."""


class RegionOperation(Operation):
    """Operations inside a mask alone: features are blended layer by layer."""

    limits = (0.0, 1.0)
    op: Literal["region"]
    mask: AnyMask
    operations: Annotated[tuple[Inside, ...], Field(min_length=1, max_length=8)]
    blend: Literal["features", "styles"] = "features"
    """features: outside the mask, every layer's output is that of the picture before. styles: every layer
    takes the edited style inside and the other outside, from the same input (Paint by Word)."""
    strength: Share = 1.0
    """Opacity of the mask."""

    @property
    def sources(self) -> tuple[LatentSource, ...]:
        return tuple(source for operation in self.operations for source in operation.sources)

    @property
    def masks(self) -> tuple[AnyMask, ...]:
        return (self.mask, *(mask for operation in self.operations for mask in operation.masks))


AnyOperation = (
    DirectionOperation
    | AttributesOperation
    | UnitsOperation
    | MixOperation
    | TransferOperation
    | InterpolateOperation
    | AverageOperation
    | RegionOperation
    | SwapLayersOperation
    | StructureOperation
)
OneOperation = Annotated[AnyOperation, Field(discriminator="op")]


# --- the job's input -------------------------------------------------------------------------------------


class Sweep(Strict):
    """Repeat the edit with one operation's strength replaced, one picture for each."""

    operation: Annotated[int, Field(ge=0, lt=MAX_OPERATIONS)] = 0
    inside: Annotated[int, Field(ge=0, lt=8)] | None = None
    """Of a region: which of its operations; without it the region's own strength."""
    strengths: Annotated[
        tuple[Annotated[float, Field(ge=-100, le=100)], ...], Field(min_length=1, max_length=33)
    ]


Shown = Literal["before", "change", "strip"]


class EditInput(Strict):
    source: Source
    operations: Annotated[tuple[OneOperation, ...], Field(min_length=1, max_length=MAX_OPERATIONS)]
    sweep: Sweep | None = None
    psi: Psi = 0.7
    cutoff: Annotated[int, Field(ge=0, le=64)] | None = None
    class_index: Annotated[ClassRef | None, Field(alias="class")] = None
    inversion: Inversion = Inversion()
    """For a source of images."""
    preview_every: Annotated[int, Field(ge=0, le=5000)] = 20
    show: tuple[Shown, ...] = ("before", "change", "strip")
    """Pictures to put out beside the edits."""
    measure: bool = True
    """Say what the edits moved and how well they kept identity, where the model's pictures can be read."""

    @model_validator(mode="after")
    def _sweep_fits(self) -> "EditInput":
        if self.sweep is None:
            return self
        if self.sweep.operation >= len(self.operations):
            raise ValueError(
                f"sweep.operation is {self.sweep.operation}: there are {len(self.operations)} operations"
            )
        low, high = self._swept(self.sweep).limits
        if not low <= min(self.sweep.strengths) <= max(self.sweep.strengths) <= high:
            raise ValueError(f"sweep.strengths: that operation takes strengths of {low:g} to {high:g}")
        return self

    def _swept(self, sweep: Sweep) -> AnyOperation:
        outer = self.operations[sweep.operation]
        if sweep.inside is None:
            return outer
        if not isinstance(outer, RegionOperation) or sweep.inside >= len(outer.operations):
            raise ValueError("sweep.inside counts the operations of a region")
        return outer.operations[sweep.inside]

    def variants(self) -> Iterator[tuple[AnyOperation, ...]]:
        """The operations, once for each strength of the sweep."""
        if self.sweep is None:
            yield self.operations
            return
        at, inside = self.sweep.operation, self.sweep.inside
        for strength in self.sweep.strengths:
            changed = self._swept(self.sweep).model_copy(update={"strength": strength})
            outer = self.operations[at]
            if inside is not None and isinstance(outer, RegionOperation):
                inner = (*outer.operations[:inside], changed, *outer.operations[inside + 1 :])
                changed = outer.model_copy(update={"operations": inner})
            yield (*self.operations[:at], changed, *self.operations[at + 1 :])

    def everything(self) -> Iterator[AnyOperation]:
        """All operations, those of a region after it."""
        for operation in self.operations:
            yield operation
            if isinstance(operation, RegionOperation):
                yield from operation.operations
