"""Stacked samples of an optimisation program, and what a checkpoint holds of them.

Axis letters: N samples; every tensor has it first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """Stacked samples between two steps. Never changed in place, so a reference to it is a snapshot."""

    constants: Tensors
    params: Tensors
    m: Tensors  # Adam's first and second moment of each parameter
    v: Tensors
    step: Tensor  # (N,) int64, steps taken
    first: Tensor  # (N,), total loss of the first step

    def __len__(self) -> int:
        return len(self.step)

    def select(self, rows: Sequence[int]) -> "Batch":
        if list(rows) == list(range(len(self))):
            return self
        index = torch.tensor(rows, dtype=torch.int64, device=self.step.device)

        def pick(tensors: Tensors) -> dict[str, Tensor]:
            return {name: t.index_select(0, index) for name, t in tensors.items()}

        groups = pick(self.constants), pick(self.params), pick(self.m), pick(self.v)
        return Batch(*groups, step=self.step.index_select(0, index), first=self.first.index_select(0, index))

    @staticmethod
    def stack(batches: Sequence["Batch"]) -> "Batch":
        if len(batches) == 1:
            return batches[0]
        return Batch(
            constants=concatenate([b.constants for b in batches]),
            params=concatenate([b.params for b in batches]),
            m=concatenate([b.m for b in batches]),
            v=concatenate([b.v for b in batches]),
            step=torch.cat([b.step for b in batches]),
            first=torch.cat([b.first for b in batches]),
        )

    def state(self, row: int) -> dict[str, Tensor]:
        """All of one sample but its constants, (1, ...) each, on the CPU, under flat names."""
        counts = {"step": self.step, "first": self.first}
        groups = {"param": self.params, "m": self.m, "v": self.v, "sample": counts}
        named = ((f"{group}/{name}", t) for group, tensors in groups.items() for name, t in tensors.items())
        return {name: t[row : row + 1].cpu() for name, t in named}

    @staticmethod
    def from_state(constants: Tensors, state: Tensors) -> "Batch":
        """The inverse of `state`, for any number of samples, on the device of the constants."""
        device = next(iter(constants.values())).device

        def group(name: str) -> dict[str, Tensor]:
            prefix = f"{name}/"
            return {n.removeprefix(prefix): t.to(device) for n, t in state.items() if n.startswith(prefix)}

        return Batch(constants, group("param"), group("m"), group("v"), **group("sample"))


def concatenate(groups: Sequence[Tensors]) -> dict[str, Tensor]:
    """Tensors of the same names, joined along N."""
    return {name: torch.cat([g[name] for g in groups]) for name in groups[0]}
