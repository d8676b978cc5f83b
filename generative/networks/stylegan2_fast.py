"""The static synthesis of StyleGAN2 on CPUs: fewer passes over memory, and oneDNN's kernels as they like it.

Its slow twin is `generative.networks.stylegan2_static`. Where a layer's kernel has fewer numbers than its
maps, mostly from 64 pixels on, what a style does to a layer goes into a kernel for each sample, so that
scale, demodulation, gain and bias cost no pass: convolution with bias, noise added in place, leaky ReLU in
place. Below, the kernel is the larger one: it stays shared, in oneDNN's own layout, which is made once.

bfloat16 is as fast as the CPU's instructions for it: AMX, AVX512-BF16; without any it is slower than float32.

Axis letters: N batch, I channels in, O channels out, H W pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from generative.networks.stylegan2 import Generator, SynthesisLayer
from generative.networks.stylegan2_static import StaticLayer, StaticSynthesis, Upsampling


class FastLayer(StaticLayer):
    """As `StaticLayer`, channels last."""

    def __init__(
        self, layer: SynthesisLayer, gain: float, dtype: torch.dtype, upsampling: Upsampling
    ) -> None:
        super().__init__(layer, gain, dtype, upsampling)
        self.folds = 9 * layer.weight.shape[1] < layer.resolution**2
        self.raw = self._arranged(layer.weight.detach(), layer.resample_filter)  # float32, for folding
        self.packed = None if self.folds or self.up else _packed(self.weight)
        self.offset = self.bias[:, 0, 0].contiguous()

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        scale = (style.square() @ self.power + 1e-8).rsqrt() * self.gain  # (N, O)
        maps = None if noise is None else (noise * self.noise_strength).to(self.dtype)
        if not self.folds:
            return self._shared(x, style, scale, maps)
        rows = [self._folded(x[i : i + 1], style[i], scale[i]) for i in range(len(x))]
        return self._finished(rows[0] if len(rows) == 1 else torch.cat(rows), maps)

    def _folded(self, x: Tensor, style: Tensor, scale: Tensor) -> Tensor:
        """One sample with a kernel of its own: x (1, I, H, W), style (I,), scale (O,)."""
        if not self.up:
            w = self.raw * (scale[:, None] * style)[:, :, None, None]
            return F.conv2d(x, _last(w.to(self.dtype)), self.offset, padding=1)
        w = self.raw * (style[:, None] * scale)[:, :, None, None]
        x = F.conv_transpose2d(x, w.to(self.dtype), stride=2)
        return F.conv2d(x, self.kernel, self.offset, padding=1, groups=len(self.kernel))

    def _shared(self, x: Tensor, style: Tensor, scale: Tensor, maps: Tensor | None) -> Tensor:
        x = x * style[:, :, None, None].to(self.dtype)
        y = self._convolve(x) if self.packed is None else _convolved(x, self.packed)
        return self._finished(y.mul_(scale[:, :, None, None].to(self.dtype)).add_(self.bias), maps)

    def _finished(self, y: Tensor, maps: Tensor | None) -> Tensor:
        """Noise, leaky ReLU and limits, in place."""
        if maps is not None:
            y.add_(maps)
        F.leaky_relu_(y, 0.2)
        return y if self.clamp is None else y.clamp_(-self.clamp, self.clamp)


class FastSynthesis(StaticSynthesis):
    """As `StaticSynthesis`, for CPUs, in float32 or bfloat16."""

    layer_type = FastLayer

    def __init__(self, generator: Generator, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(generator, dtype)


def _last(weight: Tensor) -> Tensor:
    return weight.contiguous(memory_format=torch.channels_last)


def _packed(weight: Tensor) -> Tensor | None:
    """A 3x3 kernel (O, I, 3, 3) in oneDNN's layout; None where torch has no oneDNN for its type."""
    try:
        ones = [1, 1]
        packed: Tensor = torch._C._nn.mkldnn_reorder_conv2d_weight(weight.to_mkldnn(), ones, ones, ones, 1)
    except (AttributeError, RuntimeError):
        return None
    return packed


def _convolved(x: Tensor, packed: Tensor) -> Tensor:
    """(N, I, H, W) -> (N, O, H, W), with what `_packed` made."""
    ones = [1, 1]
    y: Tensor = torch.ops.mkldnn._convolution_pointwise(x, packed, None, ones, ones, ones, 1, "none", [], "")
    return y
