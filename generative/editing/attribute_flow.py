"""A trained StyleFlow with what is needed to edit by it: which attributes it knows, how they are measured,
and the layers of W+ that an edit changes.

The flow sees every attribute in standard deviations of the samples that it was trained on.

Axis letters: N pictures, L layers, D w_dim, A attributes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from generative.discovery.styleflow import Flow, StyleFlowConfig
from generative.discovery.styleflow import edit as flow_edit
from generative.editing.layers import format_layers, read_layers


@dataclass(frozen=True)
class FlowAttribute:
    """One number that a flow is told of a picture."""

    name: str
    kind: Literal["continuous", "binary"]
    """A value of the world, or the probability that something is there."""
    mean: float
    std: float
    """Of the samples: the flow sees (value - mean) / std."""
    range: tuple[float, float]
    """Values that samples have; further, the flow was never asked."""


@dataclass(frozen=True, eq=False)
class AttributeFlow:
    """A named flow, its weights frozen."""

    type: ClassVar = "flow"

    name: str
    flow: Flow
    attributes: tuple[FlowAttribute, ...]
    layers: tuple[int, ...] | None = None  # that change unless told otherwise; None for all
    method: str = ""
    description: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.flow.config.attributes != len(self.attributes):
            raise ValueError(
                f"a flow of {self.flow.config.attributes} attributes, {len(self.attributes)} named"
            )
        if not all(bool(t.isfinite().all()) for t in self.flow.state_dict().values()):
            raise ValueError(f"the flow {self.name!r} holds NaN or infinity")

    @property
    def img_resolution(self) -> int:
        """Of pictures that cost as much as the way of a latent does."""
        return 64

    def values(self, readings: Mapping[str, Tensor]) -> Tensor:
        """What a network read in pictures, (N,) by name -> (N, A) in the order of the attributes."""
        return torch.stack([readings[attribute.name] for attribute in self.attributes], dim=1)

    def wanted(self, current: Tensor, targets: Mapping[str, float]) -> Tensor:
        """`current` (N, A) with some attributes set to values in their own unit.

        Raises:
            ValueError: for names that the flow does not know.
        """
        names = [attribute.name for attribute in self.attributes]
        if unknown := sorted(set(targets) - set(names)):
            raise ValueError(f"the flow {self.name!r} knows {', '.join(names)}, not {unknown[0]!r}")
        changed = current.clone()
        for name, value in targets.items():
            changed[:, names.index(name)] = value
        return changed

    @torch.no_grad()
    def edit(
        self, ws: Tensor, current: Tensor, wanted: Tensor, layers: Sequence[int] | None = None
    ) -> Tensor:
        """The latents of pictures with other attributes.

        Args:
            ws: (N, L, D) or (N, D), float32.
            current, wanted: (N, A), from `values` and `wanted`. What stays the same is held.
            layers: instead of the flow's own; only for (N, L, D).

        Returns:
            New latents of the same shape.
        """
        rows = ws[:, None] if ws.ndim == 2 else ws
        chosen = layers if layers is not None else self.layers
        if chosen is None or ws.ndim == 2:
            chosen = range(rows.shape[1])
        known = list(chosen)  # the others need no way there and back
        moved = flow_edit(
            self.flow, rows[:, known], self._seen(current), self._seen(wanted), range(len(known))
        )
        edited = rows.clone()
        edited[:, known] = moved
        return edited.view_as(ws)

    @torch.no_grad()
    def sample(self, z: Tensor, wanted: Tensor) -> Tensor:
        """Latents (N, D) of pictures with attributes (N, A), from standard normal z (N, D)."""
        return self.flow.inverse(z[:, None], self._seen(wanted))[:, 0]

    def _seen(self, values: Tensor) -> Tensor:
        """(N, A) -> (N, A) in standard deviations."""
        mean = values.new_tensor([attribute.mean for attribute in self.attributes])
        std = values.new_tensor([attribute.std for attribute in self.attributes])
        return (values - mean) / std

    def entry(self) -> dict[str, Any]:
        """All but the weights, as JSON."""
        return {
            "name": self.name,
            "layers": None if self.layers is None else format_layers(self.layers),
            "attributes": [asdict(attribute) for attribute in self.attributes],
            "hidden": list(self.flow.config.hidden),
            "w_dim": self.flow.config.w_dim,
            "description": self.description,
            "provenance": self.provenance,
        }

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.flow.state_dict())

    @classmethod
    def read(cls, entry: Mapping[str, Any], method: str, tensors: Mapping[str, Tensor]) -> Self:
        """From what `entry` and `tensors` gave. Raises ValueError, KeyError for what is not right."""
        attributes = tuple(
            FlowAttribute(**given | {"range": tuple(given["range"])}) for given in entry["attributes"]
        )
        flow = Flow(StyleFlowConfig(entry["w_dim"], len(attributes), tuple(entry["hidden"])))
        try:
            flow.load_state_dict(dict(tensors))
        except RuntimeError as error:
            raise ValueError(f"the weights of the flow {entry['name']!r} do not fit") from error
        return cls(
            name=entry["name"],
            flow=flow.eval().requires_grad_(False),
            attributes=attributes,
            layers=read_layers(entry["layers"]),
            method=method,
            description=entry["description"],
            provenance=entry["provenance"],
        )
