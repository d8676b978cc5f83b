"""Changes after which a person should be the same: a turned head, fine styles of somebody else, an edit.

All act on W+. The first two need no direction of a model: where yaw lies in W is found from the samples.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from generative.editing.direction import Direction, move
from generative.worlds import portraits


@dataclass(frozen=True)
class Edit:
    """A move along a direction in W or W+; `layers` overrides those of the direction."""

    direction: Direction
    strength: float
    layers: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        return f"{self.direction.name} {self.strength:+g}"

    def __call__(self, ws: Tensor) -> Tensor:
        """ws: (N, L, w_dim), one w for all layers of a sample. Raises ValueError if it does not fit."""
        return move(ws, self.direction, self.strength, self.layers)


def turned(ws: Tensor, yaw: Tensor) -> Tensor:
    """Heads turned by one standard deviation of yaw, towards the middle and so always within its range.

    w moves as it moves on average with yaw among these samples: along their covariance.

    ws: (N, L, w_dim), one w for all layers of a sample; yaw: (N,), as it was read from their pictures.
    """
    w, centred = ws[:, 0] - ws[:, 0].mean(dim=0), yaw - yaw.mean()
    slope = w.T @ centred / centred.square().sum()  # (w_dim,), for each unit of yaw
    return ws + (turn(yaw)[:, None] * slope)[:, None]


def turn(yaw: Tensor) -> Tensor:
    """(N,) -> (N,): how far to turn, one standard deviation towards the mean."""
    return -torch.where(yaw > yaw.mean(), 1.0, -1.0) * yaw.std(correction=0)


def turned_renders(factors: Tensor) -> Tensor:
    """The same change of the truth, (N, F): it alone changes; whatever else is read differently is error."""
    yaw = factors[:, portraits.index("yaw")]
    return portraits.replace(factors, yaw=(yaw + turn(yaw)).clamp(-0.5, 0.5))


def mixed(ws: Tensor) -> Tensor:
    """Everybody with the upper half of the layers of the next person. ws: (N, L, w_dim)."""
    half = ws.shape[1] // 2
    return torch.cat([ws[:, :half], ws.roll(-1, dims=0)[:, half:]], dim=1)
