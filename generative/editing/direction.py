"""A direction in a latent space, with everything that is needed to apply it as its author meant it.

The unit of a strength is part of the direction:

* `raw`: multiples of the stored vector;
* `sigma`: multiples of the vector times `sigma`, the standard deviation of the latents along it;
* `distance`: where to go, not how far: the signed distance from the hyperplane through the origin whose unit
normal
  is the vector (InterFaceGAN). For W+ it is a plain offset, as in the official code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from generative.editing.layers import format_layers, read_layers
from generative.spaces import Space, broadcast

Unit = Literal["sigma", "distance", "raw"]
PLUS = (Space.W_PLUS, Space.P_PLUS)
LAYERED = (Space.W, Space.P, *PLUS)


@dataclass(frozen=True)
class Direction:
    """A named edit. `vector` is (dim,), or (L, w_dim) for W+ and P+ with a part for each layer."""

    type: ClassVar = "direction"

    name: str
    space: Space
    vector: Tensor
    layers: tuple[int, ...] | None = None  # where it acts unless told otherwise; None for all
    unit: Unit = "raw"
    sigma: float = 1.0
    range: tuple[float, float] = (-3.0, 3.0)  # strengths that look sensible
    method: str = ""
    description: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.vector.ndim not in (1, 2) or (self.vector.ndim == 2 and self.space not in PLUS):
            raise ValueError(f"a direction in {self.space} cannot have the shape {tuple(self.vector.shape)}")
        if self.layers is not None and self.space not in LAYERED:
            raise ValueError(f"a direction in {self.space} has no layers")
        if not bool(self.vector.isfinite().all()):
            raise ValueError(f"the direction {self.name!r} holds NaN or infinity")

    def entry(self) -> dict[str, Any]:
        """All but the vector, as JSON."""
        return {
            "name": self.name,
            "space": self.space.value,
            "layers": None if self.layers is None else format_layers(self.layers),
            "unit": self.unit,
            "sigma": self.sigma,
            "range": list(self.range),
            "description": self.description,
            "provenance": self.provenance,
        }

    def tensors(self) -> dict[str, Tensor]:
        return {"": self.vector}

    @classmethod
    def read(cls, entry: Mapping[str, Any], method: str, tensors: Mapping[str, Tensor]) -> Self:
        """From what `entry` and `tensors` gave. Raises ValueError, KeyError for what is not right."""
        low, high = entry["range"]
        return cls(
            name=entry["name"],
            space=Space(entry["space"]),
            vector=tensors[""],
            layers=read_layers(entry["layers"]),
            unit=entry["unit"],
            sigma=float(entry["sigma"]),
            range=(float(low), float(high)),
            method=method,
            description=entry["description"],
            provenance=entry["provenance"],
        )


def apply(
    latents: Tensor, direction: Direction, strength: float | Tensor, layers: tuple[int, ...] | None = None
) -> Tensor:
    """Move latents along a direction.

    Args:
        latents: (N, L, w_dim) for directions in W, W+, P and P+; (N, w_dim) is also taken for W and P,
            (N, dim) for Z and S.
        strength: in the direction's unit; one number, or (N,).
        layers: instead of those that the direction names; only for (N, L, w_dim).

    Returns:
        New latents of the same shape.

    Raises:
        ValueError: if the shapes do not go together.
    """
    _check(latents, direction, layers)
    vector = direction.vector.to(latents)
    amount = torch.as_tensor(strength, dtype=latents.dtype, device=latents.device)
    amount = amount.reshape(-1, *[1] * (latents.ndim - 1))
    if direction.unit == "sigma":
        amount = amount * direction.sigma
    if direction.unit == "distance" and latents.ndim == 2:
        amount = amount - (latents @ vector)[:, None]
    offset = (amount * vector).expand_as(latents)
    chosen = layers if layers is not None else direction.layers
    if chosen is None or latents.ndim == 2:
        return latents + offset
    moved = latents.clone()
    moved[:, list(chosen)] += offset[:, list(chosen)]
    return moved


def move(
    latents: Tensor, direction: Direction, strength: float, layers: tuple[int, ...] | None = None
) -> Tensor:
    """As `apply`; but where a distance moves all layers of latents in W or P, and these agree, there is one
    latent to measure.
    """
    everywhere = layers is None and direction.layers is None and direction.space not in PLUS
    measured = direction.unit == "distance" and latents.ndim == 3
    if measured and everywhere and bool((latents == latents[:, :1]).all()):
        return broadcast(apply(latents[:, 0], direction, strength), latents.shape[1])
    return apply(latents, direction, strength, layers)


def _check(latents: Tensor, direction: Direction, layers: tuple[int, ...] | None) -> None:
    layered = direction.space in LAYERED
    dimensions = (3,) if direction.space in PLUS else (2, 3) if layered else (2,)
    if latents.ndim not in dimensions or latents.shape[-1] != direction.vector.shape[-1]:
        raise ValueError(f"{direction.name!r} of {direction.space} does not fit {tuple(latents.shape)}")
    if direction.vector.ndim == 2 and latents.shape[1] != direction.vector.shape[0]:
        raise ValueError(f"{direction.name!r} has {direction.vector.shape[0]} layers, not {latents.shape[1]}")
    if layers is not None and (not layered or latents.ndim != 3):
        raise ValueError(f"{direction.name!r} of {direction.space} has no layers to choose")
    if layers is not None and layers and not 0 <= min(layers) <= max(layers) < latents.shape[1]:
        raise ValueError(f"the layers are outside of 0-{latents.shape[1] - 1}")
