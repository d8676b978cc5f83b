"""What the gateway knows of a model: the part of its card that requests are checked against."""

import difflib
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter

from jobs.errors import BadRequest, Conflict, UnknownDirection, UnsupportedByModel

WORLD = "portraits"  # the world that can be rendered, and whose factors can be read


class Member(BaseModel):
    """What a set holds. More keys than these are kept and shown."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    set: str | None = None
    layers: str | None = None
    """Where it acts unless a request says otherwise; None for all."""
    model_sha256: str | None = None
    """The weights that it is for; None for those that come with a model."""
    strip: str | None = None
    """A small picture of what it does: its name among the set's files, in answers its address."""


class Direction(Member):
    """A named edit of a model."""

    words: ClassVar = "direction"

    type: Literal["direction"] = "direction"
    space: Literal["z", "w", "w+", "s"]
    unit: Literal["sigma", "distance", "raw"] = "raw"
    """What a strength of 1 means."""


class FlowAttribute(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    kind: Literal["continuous", "binary"]
    range: tuple[float, float]
    """Values that the model's samples have."""


class Flow(Member):
    """A trained StyleFlow: a picture's attributes can be set to values."""

    words: ClassVar = "flow"

    type: Literal["flow"]
    attributes: tuple[FlowAttribute, ...]


class Units(Member):
    """A dissected layer: which units go with which part of pictures."""

    words: ClassVar = "table of units"

    type: Literal["units"]
    layer: str
    units: int = Field(gt=0)
    """How many the layer has."""
    parts: tuple[str, ...]


def _type_of(given: Any) -> str:
    return str(given.get("type", "direction") if isinstance(given, dict) else given.type)


AnyMember = Annotated[
    Annotated[Direction, Tag("direction")] | Annotated[Flow, Tag("flow")] | Annotated[Units, Tag("units")],
    Discriminator(_type_of),
]
read_member: TypeAdapter[Direction | Flow | Units] = TypeAdapter(AnyMember)
Kind = TypeVar("Kind", Direction, Flow, Units)


class Layer(BaseModel):
    """A layer with a style. More keys than this are kept and shown."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    channels: int = 0
    """Length of its style."""


class Feature(BaseModel):
    """The output of a layer, which edits can reach."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    channels: int
    height: int
    width: int


class Card(BaseModel):
    """What a model is and can do. More keys than these are kept and shown."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    family: str
    network: str = ""
    architecture: dict[str, Any] = {}
    """The network and the fields of its configuration: equal for models whose layers can be exchanged."""
    resolution: int = Field(gt=0)
    z_dim: int = Field(gt=0)
    w_dim: int = Field(default=0, ge=0)
    """0: the family has no W."""
    num_ws: int = Field(default=0, ge=0)
    classes: int = Field(default=0, ge=0)
    """0: unconditional."""
    class_names: tuple[str, ...] = ()
    truncation: Literal["w", "z", "none"] = "w"
    """What `psi` acts on."""
    encoder: dict[str, Any] = {}
    """Of the network that finds latents; empty without one."""
    max_lod: float = 0
    """The largest level of detail that can be left out."""
    spaces: tuple[str, ...]
    layers: tuple[Layer, ...] = ()
    """Coarse to fine; none in a family without W."""
    style_size: int | None = None
    """Length of S, for models that have it."""
    features: tuple[Feature, ...] = ()
    sha256: str
    channels: int = 3
    training: dict[str, Any] = {}
    directions: tuple[AnyMember, ...] = ()
    """What its sets hold: directions, and what is told apart by its `type`."""

    @property
    def world(self) -> str | None:
        """The rendered world that it was trained on, if that is known."""
        world = self.training.get("world")
        return world if isinstance(world, str) else None

    def direction(self, name: str) -> Direction:
        """Raises UnknownDirection, and Conflict for one that was made for other weights."""
        return self._member(Direction, name)

    def flow(self, name: str) -> Flow:
        """Raises as `direction`."""
        return self._member(Flow, name)

    def units(self, name: str) -> Units:
        """Raises as `direction`."""
        return self._member(Units, name)

    def _member(self, kind: type[Kind], name: str) -> Kind:
        for member in self.directions:
            if member.name != name:
                continue
            if not isinstance(member, kind):
                raise UnknownDirection(f"{name!r} of {self.name!r} is a {member.words}, no {kind.words}.")
            self.refuse_weights(member.model_sha256, f"the {kind.words} {name!r}")
            return member
        known = [member.name for member in self.directions if isinstance(member, kind)]
        raise UnknownDirection(
            f"The model {self.name!r} has no {kind.words} {name!r}.{did_you_mean(name, known)}"
        )

    def feature(self, name: str, where: str) -> Feature:
        """The output of a layer. Raises UnsupportedByModel."""
        for feature in self.features:
            if feature.name == name:
                return feature
        hint = did_you_mean(name, [feature.name for feature in self.features])
        listed = "." if self.features else ": its card lists none; import it again."
        raise UnsupportedByModel(f"{where}: the model {self.name!r} has no layer {name!r}{listed}{hint}")

    def refuse_weights(self, sha256: str | None, what: str) -> None:
        """Raises Conflict `model_mismatch` for something made for other weights than the model has."""
        if sha256 not in (None, self.sha256):
            raise Conflict(
                f"{what} is for the weights {sha256}; those of {self.name!r} are {self.sha256}.",
                code="model_mismatch",
            )

    def refuse_set(self, name: str) -> None:
        """Raises Conflict `name_taken` for a name that comes with the model.

        Whether a set of the tenant has it is for the store to say: a submit may be the repetition of another.
        """
        own = [direction for direction in self.directions if direction.model_sha256 is None]
        if any(name in (direction.set, direction.name) for direction in own):
            raise Conflict(f"Directions {name!r} come with the model {self.name!r}.", code="name_taken")

    def class_number(self, wanted: int | str, where: str) -> int:
        """The index of a class that was given by index or by name. Raises UnsupportedByModel, BadRequest."""
        if self.classes == 0:
            raise UnsupportedByModel(f"The model {self.name!r} has no classes.")
        if isinstance(wanted, int):
            if wanted >= self.classes:
                raise BadRequest(f"{where} is {wanted}: the model has classes 0 to {self.classes - 1}")
            return wanted
        if wanted not in self.class_names:
            hint = did_you_mean(wanted, self.class_names) or f" Give an index, 0 to {self.classes - 1}."
            raise BadRequest(f"{where}: the model {self.name!r} has no class {wanted!r}.{hint}")
        return self.class_names.index(wanted)


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A sentence for an error message, with a space in front; empty when nothing is close."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
