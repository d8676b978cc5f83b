"""What the gateway knows of a model: the part of its card that requests are checked against."""

import difflib
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from jobs.errors import BadRequest, Conflict, UnknownDirection, UnsupportedByModel


class Direction(BaseModel):
    """A named edit of a model. More keys than these are kept and shown."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    space: Literal["z", "w", "w+", "s"]
    set: str | None = None
    layers: str | None = None
    """Where it acts unless a request says otherwise; None for all."""
    unit: Literal["sigma", "distance", "raw"] = "raw"
    """What a strength of 1 means."""
    model_sha256: str | None = None
    """The weights that it is for; None for those that come with a model."""


class Card(BaseModel):
    """What a model is and can do. More keys than these are kept and shown."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    family: str
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
    style_size: int | None = None
    """Length of S, for models that have it."""
    sha256: str
    channels: int = 3
    training: dict[str, Any] = {}
    directions: tuple[Direction, ...] = ()

    @property
    def world(self) -> str | None:
        """The rendered world that it was trained on, if that is known."""
        world = self.training.get("world")
        return world if isinstance(world, str) else None

    def direction(self, name: str) -> Direction:
        """Raises UnknownDirection, and Conflict for one that was made for other weights."""
        for direction in self.directions:
            if direction.name == name:
                self.refuse_weights(direction.model_sha256, f"the direction {name!r}")
                return direction
        known = [direction.name for direction in self.directions]
        raise UnknownDirection(
            f"The model {self.name!r} has no direction {name!r}.{did_you_mean(name, known)}"
        )

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
