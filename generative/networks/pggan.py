"""PGGAN, the generator of "Progressive Growing of GANs for Improved Quality, Stability, and Variation"
(Karras et al., 2018).

Parameter names and numbers are those of genforce/genforce (`PGGANGenerator`). Layers are named as there:
`layer0` makes 4x4 out of z, then come two layers for every resolution; `output0`, ... paint.

Axis letters: N batch, I channels in, O channels out, H W pixels, k kernel.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.generator import Generator as Base
from generative.generator import Hook
from generative.networks.limits import check_widths
from generative.networks.progressive import (
    LRELU_GAIN,
    Grown,
    blended,
    check_channels,
    double,
    equalised,
    fused_up_conv,
    last_block,
    pixel_norm,
)


@dataclass(frozen=True)
class PGGANConfig:
    """`channels` are those of the resolutions 4, 8, ... `fused_scale`: every layer that doubles the size is a
    transposed convolution, whose weight is (I, O, k, k).
    """

    img_resolution: int
    channels: tuple[int, ...]
    img_channels: int = 3
    z_dim: int = 512
    c_dim: int = 0
    fused_scale: bool = False

    def __post_init__(self) -> None:
        check_channels(self.img_resolution, self.channels)
        check_widths(img_channels=self.img_channels, z_dim=self.z_dim)
        if self.c_dim:
            check_widths(c_dim=self.c_dim)


class Layer(nn.Module):
    """Pixel norm, perhaps twice the size, convolution, bias, and leaky ReLU if it is not an output."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, *, up: bool = False, fused: bool = False
    ) -> None:
        super().__init__()
        self.up, self.fused, self.fan_in = up, up and fused, inputs * kernel**2
        self.padding = 3 if kernel == 4 else kernel // 2  # the kernel of 4 makes 4x4 out of 1x1
        self.paints = kernel == 1
        shape = (inputs, outputs) if self.fused else (outputs, inputs)
        self.weight = nn.Parameter(torch.randn(*shape, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) -> (N, O, H', W')."""
        x, weight = pixel_norm(x), equalised(self.weight, self.fan_in, 1 if self.paints else LRELU_GAIN)
        if self.fused:
            x = fused_up_conv(x, weight)
        else:
            x = F.conv2d(double(x) if self.up else x, weight, padding=self.padding)
        x = x + self.bias[:, None, None]
        return x if self.paints else F.leaky_relu(x, 0.2)


class Generator(Grown, Base):
    """z -> picture. `layer0` ... and `output0` ... are the names of its layers."""

    family = "pggan"

    def __init__(self, config: PGGANConfig) -> None:
        super().__init__()
        self.config = config
        self.z_dim, self.c_dim = config.z_dim, config.c_dim
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        self.blocks = len(config.channels)
        self.max_lod = float(self.blocks - 1)
        inputs, fused = config.z_dim + config.c_dim, config.fused_scale
        for i, outputs in enumerate(config.channels):
            first = Layer(inputs, outputs, up=True, fused=fused) if i else Layer(inputs, outputs, kernel=4)
            self.add_module(f"layer{2 * i}", first)
            self.add_module(f"layer{2 * i + 1}", Layer(outputs, outputs))
            self.add_module(f"output{i}", Layer(outputs, config.img_channels, kernel=1))
            inputs = outputs

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        psi: Tensor | float = 1.0,
        *,
        lod: float | None = None,
        hook: Hook | None = None,
    ) -> Tensor:
        """z: (N, z_dim), c: (N, c_dim) for a conditional model -> (N, img_channels, R, R)."""
        if bool((torch.as_tensor(psi) != 1).any()):
            raise ValueError("this family has no truncation: psi must be 1")
        lod = float(self.lod) if lod is None else lod
        before = x = self._input(z, c)
        for i in range(last_block(lod, self.blocks) + 1):
            before = x
            x = self._run(f"layer{2 * i}", x, hook)
            x = self._run(f"layer{2 * i + 1}", x, hook)
        return blended(lambda i, x: self._run(f"output{i}", x, hook), x, before, lod, self.blocks)

    def _run(self, name: str, x: Tensor, hook: Hook | None) -> Tensor:
        x = self.get_submodule(name)(x)
        return x if hook is None else hook(name, x)

    def _input(self, z: Tensor, c: Tensor | None) -> Tensor:
        """(N, z_dim + c_dim, 1, 1). `layer0` normalises it once more, together with the label."""
        dtype = self.get_parameter("layer0.weight").dtype
        if z.shape[1:] != (self.z_dim,):
            raise ValueError(f"z must be (N, {self.z_dim})")
        x = pixel_norm(z.to(dtype))
        if self.c_dim:
            if c is None or c.shape[1:] != (self.c_dim,):
                raise ValueError(f"this model needs a class label c of shape (N, {self.c_dim})")
            x = torch.cat([x, c.to(dtype)], dim=1)
        return x[:, :, None, None]
