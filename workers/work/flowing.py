"""Latents that a trained flow moves, as operations of the engine: see `workers.work.painting`.

N pictures, L layers, D w_dim, A attributes of the flow.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from generative.editing.attribute_flow import AttributeFlow

Inputs = Mapping[str, Tensor]


@dataclass(frozen=True)
class Edit:
    """ws (N, L, D) or (N, D), attributes (N, A) as they are, `current`, and as they are `wanted` -> ws."""

    layers: tuple[int, ...] | None = None
    """In place of the flow's own."""

    def __call__(self, flow: AttributeFlow, inputs: Inputs) -> Tensor:
        return flow.edit(inputs["ws"], inputs["current"], inputs["wanted"], self.layers)


def sample(flow: AttributeFlow, inputs: Inputs) -> Tensor:
    """z (N, D) and `wanted` attributes (N, A) -> w (N, D)."""
    return flow.sample(inputs["z"], inputs["wanted"])
