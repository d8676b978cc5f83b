"""Generators that z alone decides: one space, no classes."""

import torch
from torch import Tensor

from generative.generator import Generator, Hook, pass_on


class ZOnlyGenerator(Generator):
    """Checks the arguments of `forward` once for all such families, which write `paint`."""

    def paint(self, z: Tensor, lod: float | None, hook: Hook) -> Tensor:
        """z: (N, z_dim), truncated where the family truncates -> (N, img_channels, R, R)."""
        raise NotImplementedError

    def truncate(self, z: Tensor, psi: Tensor | float) -> Tensor:
        """z: (N, z_dim), psi: for all or (N,) -> (N, z_dim). Families without truncation keep this."""
        if not torch.all(torch.as_tensor(psi) == 1):
            raise ValueError("this family has no truncation: psi must be 1")
        return z

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        psi: Tensor | float = 1.0,
        *,
        lod: float | None = None,
        hook: Hook | None = None,
    ) -> Tensor:
        """See `Generator.forward`. Raises ValueError for what this family or model does not have."""
        if z.shape[1:] != (self.z_dim,):
            raise ValueError(f"z must be (N, {self.z_dim}), got {tuple(z.shape)}")
        if c is not None:
            raise ValueError("this model has no classes")
        if lod is not None and not 0 <= lod <= self.max_lod:
            raise ValueError(f"lod must be from 0 to {self.max_lod}, got {lod}")
        return self.paint(self.truncate(z, psi), lod, hook or pass_on)
