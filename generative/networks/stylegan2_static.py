"""The synthesis of StyleGAN2 for pictures only: nothing that depends on weights alone is computed twice, no
hooks, no gradients. What exports trace, and what the prepared torch backend runs.

Its slow twin is `SynthesisNetwork` of `generative.networks.stylegan2`. Leaky ReLU is positively homogeneous,
so its gain moves into demodulation, noise strength and bias; what a sample's style does to a layer is then
one scale of the input and one of the output, around a convolution whose kernel the batch shares.

Axis letters: N batch, I channels in, O channels out, H W pixels, S length of all styles.
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.networks.mapping import SQRT2
from generative.networks.stylegan2 import Generator, SynthesisBlock, SynthesisLayer, ToRGB
from generative.ops.polyphase import polyphase_kernel
from generative.ops.upfirdn2d import upsample2d

Upsampling = Literal["transposed", "polyphase"]
"""transposed: a strided convolution, then the filter: the fewest products, best on CPUs. polyphase: both as
one plain convolution to four times the channels: four times the products, no second pass over the picture."""


class StaticLayer(nn.Module):
    """Convolution, noise, bias, leaky ReLU, with what styles do to them."""

    noise_strength: Tensor  # ()
    weight: Tensor
    power: Tensor  # (I, O), energy of the kernel between two channels
    bias: Tensor  # (O, 1, 1)
    kernel: Tensor  # (O, 1, k, k), the resampling filter

    def __init__(
        self, layer: SynthesisLayer, gain: float, dtype: torch.dtype, upsampling: Upsampling
    ) -> None:
        super().__init__()
        gain *= SQRT2
        self.up, self.gain, self.dtype = layer.up, gain, dtype
        self.polyphase = layer.up and upsampling == "polyphase"
        self.fp16 = dtype == torch.float16
        self.clamp = None if layer.clamp is None else layer.clamp * gain / SQRT2
        weight = layer.weight.detach()
        if self.fp16:  # against overflow; demodulation takes the factors out again
            weight = weight * (weight[0].numel() ** -0.5 / weight.abs().amax(dim=(1, 2, 3), keepdim=True))
        self.register_buffer("power", weight.square().sum(dim=(2, 3)).T.contiguous())
        self.register_buffer("weight", self._arranged(weight, layer.resample_filter).to(dtype))
        self.register_buffer("bias", (layer.bias.detach() * gain)[:, None, None].to(dtype))
        if self.up and not self.polyphase:
            k = (4 * layer.resample_filter).flip((0, 1)).expand(len(weight), 1, -1, -1)
            self.register_buffer("kernel", k.contiguous().to(dtype))
        if layer.use_noise:
            self.register_buffer("noise_strength", layer.noise_strength.detach() * gain)

    def _arranged(self, weight: Tensor, resample_filter: Tensor) -> Tensor:
        if self.polyphase:
            return polyphase_kernel(weight, resample_filter)
        return weight.transpose(0, 1).contiguous() if self.up else weight

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        """x: (N, I, H, W), style: (N, I) float32, noise: (N or 1, 1, H', W') -> (N, O, H', W')."""
        if self.fp16:
            style = style / style.abs().amax(dim=1, keepdim=True)
        scale = (style.square() @ self.power + 1e-8).rsqrt() * self.gain  # (N, O)
        y = self._convolve(x * style[:, :, None, None].to(self.dtype))
        y = y * scale[:, :, None, None].to(self.dtype) + self.bias
        if noise is not None:
            y = y + (noise * self.noise_strength).to(self.dtype)
        y = F.leaky_relu(y, 0.2)
        return y if self.clamp is None else y.clamp(-self.clamp, self.clamp)

    def _convolve(self, x: Tensor) -> Tensor:
        if self.polyphase:
            return F.pixel_shuffle(F.conv2d(x, self.weight, padding=1), 2)
        if not self.up:
            return F.conv2d(x, self.weight, padding=1)
        x = F.conv_transpose2d(x, self.weight, stride=2)  # (N, O, 2H + 1, 2W + 1)
        return F.conv2d(x, self.kernel, padding=1, groups=self.kernel.shape[0])


class StaticToRGB(nn.Module):
    """The picture of a block: each sample's own 1x1 kernel, as a matrix product over the pixels."""

    weight: Tensor  # (img_channels, I)
    bias: Tensor

    def __init__(self, layer: ToRGB, dtype: torch.dtype) -> None:
        super().__init__()
        self.clamp, self.dtype = layer.clamp, dtype
        self.register_buffer("weight", layer.weight.detach()[:, :, 0, 0] * layer.weight_gain)
        self.register_buffer("bias", layer.bias.detach()[:, None].clone())

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x: (N, I, H, W), style: (N, I) -> (N, img_channels, H, W), float32."""
        kernels = (self.weight * style[:, None]).to(self.dtype)  # (N, img_channels, I)
        y = (kernels @ x.flatten(2)).float() + self.bias
        y = y.unflatten(2, x.shape[2:])
        return y if self.clamp is None else y.clamp(-self.clamp, self.clamp)


class StaticSynthesis(nn.Module):
    """Styles to pictures, for one generator, which may be forgotten."""

    layer_type: type[StaticLayer] = StaticLayer
    to_rgb_type: type[StaticToRGB] = StaticToRGB

    def __init__(
        self,
        generator: Generator,
        dtype: torch.dtype = torch.float32,
        upsampling: Upsampling = "transposed",
    ) -> None:
        super().__init__()
        self.resolutions, self.dtype = generator.config.resolutions, dtype
        blocks = {r: generator.synthesis.block(r) for r in self.resolutions}
        self.register_buffer("const", blocks[4].const.detach()[None].to(dtype))
        self.layers, self.skips = nn.ModuleDict(), nn.ModuleDict()
        for r, block in blocks.items():
            self.register_buffer(f"filter{r}", block.resample_filter.clone())
            if hasattr(block, "skip"):
                self.skips[str(r)] = block.skip
            for name, layer in block.named_children():
                if isinstance(layer, SynthesisLayer):
                    gain = _gain(block) if name == "conv1" else 1.0
                    self.layers[_key(r, name)] = self.layer_type(layer, gain, dtype, upsampling)
                elif isinstance(layer, ToRGB):
                    self.layers[_key(r, name)] = self.to_rgb_type(layer, dtype)

    def forward(self, styles: Mapping[str, Tensor], noises: Mapping[str, Tensor | None]) -> Tensor:
        """styles: (N, I) and noises: (N or 1, 1, H, W), by layer name -> (N, img_channels, R, R), float32."""
        N = styles["b4.conv1"].shape[0]
        x = self.get_buffer("const").expand(N, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        image: Tensor | None = None
        for r in self.resolutions:
            before = x
            for name in ("conv0", "conv1"):
                if (key := _key(r, name)) in self.layers:
                    x = self.layers[key](x, styles[f"b{r}.{name}"], noises.get(f"b{r}.{name}"))
            if str(r) in self.skips:
                x = self.skips[str(r)](before, math.sqrt(0.5)) + x
            if image is not None:
                image = upsample2d(image, self.get_buffer(f"filter{r}"))
            if (key := _key(r, "torgb")) in self.layers:
                y = self.layers[key](x, styles[f"b{r}.torgb"])
                image = y if image is None else image + y
        assert image is not None
        return image


def _gain(block: SynthesisBlock) -> float:
    """Of the last layer of a block: a residual sum is to keep its variance."""
    return math.sqrt(0.5) if hasattr(block, "skip") else 1.0


def _key(resolution: int, name: str) -> str:
    """Names of modules have no dots."""
    return f"b{resolution}_{name}"
