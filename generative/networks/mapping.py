"""The mapping network of StyleGAN2 (Karras et al., 2020): latents and labels to w.

Agrees with NVlabs/stylegan2-ada-pytorch. Axis letters: N batch, C features.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.ops.linear import linear

SQRT2 = math.sqrt(2)  # gain that makes up for the half that leaky ReLU damps


class FullyConnected(nn.Module):
    """Linear layer with equalised learning rate: the stored weights have the variance `1 / lr_multiplier²`.

    It runs in the precision of its weights even under autocast: it costs little, and the rounding of w shows.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        lr_multiplier: float = 1.0,
        bias: float = 0.0,
        activate: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((outputs,), bias / lr_multiplier))
        self.weight_gain = lr_multiplier / math.sqrt(inputs)
        self.bias_gain = lr_multiplier
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) -> (N, outputs)."""
        with torch.autocast(x.device.type, enabled=False):
            x = linear(x.to(self.weight.dtype), self.weight * self.weight_gain, self.bias * self.bias_gain)
        return F.leaky_relu(x, 0.2) * SQRT2 if self.activate else x


class MappingNetwork(nn.Module):
    """z, a class label, or both, to w. With `w_avg_beta` it keeps the running mean of w, for truncation."""

    w_avg: Tensor  # (w_dim,)

    def __init__(
        self, z_dim: int, c_dim: int, w_dim: int, layers: int, lr_multiplier: float, w_avg_beta: float | None
    ) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.num_layers, self.w_avg_beta = z_dim, c_dim, layers, w_avg_beta
        features = z_dim
        if c_dim:
            self.embed = FullyConnected(c_dim, w_dim)
            features += w_dim
        for i in range(layers):
            self.add_module(
                f"fc{i}", FullyConnected(features, w_dim, lr_multiplier=lr_multiplier, activate=True)
            )
            features = w_dim
        if w_avg_beta is not None:
            self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor | None, c: Tensor | None = None) -> Tensor:
        """z: (N, z_dim), c: (N, c_dim) one-hot -> w: (N, w_dim), not truncated."""
        dtype = self.get_parameter("fc0.weight").dtype
        parts = []
        if self.z_dim:
            if z is None or z.shape[1:] != (self.z_dim,):
                raise ValueError(f"z must be (N, {self.z_dim})")
            parts.append(_normalize(z.to(dtype)))
        if self.c_dim:
            if c is None or c.shape[1:] != (self.c_dim,):
                raise ValueError(f"this model needs a class label c of shape (N, {self.c_dim})")
            parts.append(_normalize(self.embed(c.to(dtype))))
        x = torch.cat(parts, dim=1)
        for i in range(self.num_layers):
            x = self.get_submodule(f"fc{i}")(x)
        return x

    @torch.no_grad()
    def update_average(self, w: Tensor) -> None:
        """Move `w_avg` towards the mean of a training batch w, (N, w_dim)."""
        assert self.w_avg_beta is not None
        self.w_avg.lerp_(w.detach().to(self.w_avg.dtype).mean(dim=0), 1 - self.w_avg_beta)


def _normalize(x: Tensor) -> Tensor:
    """(N, C) to unit mean square."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
