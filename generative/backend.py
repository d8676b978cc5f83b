"""What runs the plain paths of one generator, from z to w to styles to pictures, wherever it computes.

Every backend gives the numbers of `TorchBackend` up to the error that its record states, and is tested by one
suite. Gradients, hooks, levels of detail and transforms are torch's alone.

Axis letters: N batch, L layers that take a w, S length of all styles, C channels, H W pixels.
"""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from generative.generator import Noise


class BackendError(Exception):
    """This backend does not answer: it is away, its export is, or it lacks the path."""


class Backend(Protocol):
    """All tensors are float32, N rows each, any N >= 1. They are on the CPU or where the backend computes, as
    results are.

    Every method raises `BackendError` where another backend may do better, and MemoryError when the device is
    full: half of the rows may fit then.
    """

    @property
    def name(self) -> str:
        """torch, prepared, onnx or triton."""

    @property
    def where(self) -> str:
        """What computes, for logs: a device, a provider of ONNX Runtime, the address of a server."""

    def map(self, z: Tensor, c: Tensor | None, psi: Tensor) -> Tensor:
        """z: (N, z_dim), c: (N, c_dim) with classes, psi: (N, L) -> truncated ws (N, L, w_dim)."""

    def styles(self, ws: Tensor) -> Tensor:
        """(N, L, w_dim) -> (N, S), of all layers, coarse to fine."""

    def paint(
        self, codes: Mapping[str, Tensor], noise: Noise, noises: Mapping[str, Tensor], psi: float = 1.0
    ) -> Tensor:
        """Bytes of pictures.

        Args:
            codes: `ws` (N, L, w_dim) or `styles` (N, S); `z` (N, z_dim) and perhaps `c` without W.
            noise: "const" or "none", of the layers whose noise is not given.
            noises: (N, 1, H, W) by layer.
            psi: of families that scale z.

        Returns:
            (N, H, W, C) uint8.
        """

    def unload(self) -> None:
        """Give back what it holds of memory; the next call loads again."""
