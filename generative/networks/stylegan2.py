"""StyleGAN2 generator, from "Analyzing and Improving the Image Quality of StyleGAN" (Karras et al., 2020) and
"Training Generative Adversarial Networks with Limited Data" (Karras et al., 2020).

Parameter names are those of NVlabs/stylegan2-ada-pytorch; its numbers are reproduced to 1e-5 of the range.
A layer is named by its path without "synthesis.": `b4.conv1`, `b4.torgb`, `b8.conv0`, ...

Axis letters: N batch, I channels in, O channels out, H W pixels, k kernel.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.generator import Hook, Noise, StyleGenerator, pass_on
from generative.networks.limits import (
    MAX_RESOLUTION,
    MAX_WIDTH,
    check_layers,
    check_resolution,
    check_widths,
)
from generative.networks.mapping import SQRT2, FullyConnected, MappingNetwork
from generative.ops.modulated_conv2d import modulated_conv2d
from generative.ops.upfirdn2d import fir_filter, upsample2d
from generative.spaces import Space

Architecture = Literal["skip", "resnet", "orig"]


def resolutions(img_resolution: int) -> tuple[int, ...]:
    """4, 8, ... up to the resolution of the image."""
    return tuple(2**i for i in range(2, img_resolution.bit_length()))


@dataclass(frozen=True)
class StyleGAN2Config:
    """What the weights do not say. Fields mean what the arguments of the official constructors mean.

    `channels`, pairs (resolution, channels), overrides `channel_base` and `channel_max`.
    """

    img_resolution: int
    img_channels: int = 3
    z_dim: int = 512
    c_dim: int = 0
    w_dim: int = 512
    mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.01
    w_avg_beta: float = 0.995
    channel_base: int = 32768
    channel_max: int = 512
    channels: tuple[tuple[int, int], ...] | None = None
    architecture: Architecture = "skip"
    resample_filter: tuple[int, ...] = (1, 3, 3, 1)
    conv_clamp: float | None = None
    use_noise: bool = True
    num_fp16_res: int = 0

    def __post_init__(self) -> None:
        check_resolution(self.img_resolution)
        if self.channels is not None and tuple(r for r, _ in self.channels) != self.resolutions:
            raise ValueError(f"channels must be given for the resolutions {self.resolutions}")
        check_widths(z_dim=self.z_dim, w_dim=self.w_dim, img_channels=self.img_channels)
        check_widths(channel_max=self.channel_max, **{f"b{r}": c for r, c in self.channels or ()})
        check_layers(self.mapping_layers)
        possible = (
            0 <= self.c_dim <= MAX_WIDTH
            and self.img_resolution <= self.channel_base <= MAX_WIDTH * MAX_RESOLUTION
            and len(self.resample_filter) == 4  # what the padding of the networks is made for
            and all(0 <= tap <= 1000 for tap in self.resample_filter)
            and any(self.resample_filter)
            and 0 <= self.num_fp16_res <= 16
            and 0 <= self.w_avg_beta <= 1
            and 0 < self.mapping_lr_multiplier <= 1000
            and (self.conv_clamp is None or 0 < self.conv_clamp <= 1e9)
        )
        if not possible:
            raise ValueError("a size or factor in the configuration that no network has")

    @property
    def resolutions(self) -> tuple[int, ...]:
        return resolutions(self.img_resolution)

    @property
    def num_ws(self) -> int:
        """Style vectors that one image takes."""
        return 2 * len(self.resolutions)

    def channels_at(self, resolution: int) -> int:
        if self.channels is not None:
            return dict(self.channels)[resolution]
        return min(self.channel_base // resolution, self.channel_max)


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU."""

    noise_const: Tensor  # (resolution, resolution)
    resample_filter: Tensor  # (4, 4)

    def __init__(self, inputs: int, outputs: int, resolution: int, up: bool, config: StyleGAN2Config) -> None:
        super().__init__()
        self.resolution, self.up = resolution, up
        self.use_noise, self.clamp = config.use_noise, config.conv_clamp
        self.affine = FullyConnected(config.w_dim, inputs, bias=1.0)  # styles start at 1, a plain convolution
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        if config.use_noise:
            self.register_buffer("noise_const", torch.randn(resolution, resolution))
            self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("resample_filter", fir_filter(config.resample_filter))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None, gain: float = 1.0) -> Tensor:
        """x: (N, I, H, W), style: (N, I), noise: (N or 1, 1, H', W') -> (N, O, H', W')."""
        x = modulated_conv2d(x, self.weight, style, resample_filter=self.resample_filter if self.up else None)
        if noise is not None:
            x = x + (noise * self.noise_strength).to(x.dtype)
        x = F.leaky_relu(x + self.bias[:, None, None].to(x.dtype), 0.2) * (SQRT2 * gain)
        return x if self.clamp is None else x.clamp(-self.clamp * gain, self.clamp * gain)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to the channels of the picture; no demodulation, no noise."""

    def __init__(self, inputs: int, config: StyleGAN2Config) -> None:
        super().__init__()
        self.clamp = config.conv_clamp
        self.affine = FullyConnected(config.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(config.img_channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(config.img_channels))
        self.weight_gain = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x: (N, I, H, W), style: (N, I) -> (N, img_channels, H, W)."""
        x = modulated_conv2d(x, self.weight, style * self.weight_gain, demodulate=False)
        x = x + self.bias[:, None, None].to(x.dtype)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class SkipConv(nn.Module):
    """1x1 convolution to twice the size: the residual path of the `resnet` architecture. No bias."""

    resample_filter: Tensor

    def __init__(self, inputs: int, outputs: int, config: StyleGAN2Config) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.register_buffer("resample_filter", fir_filter(config.resample_filter))
        self.weight_gain = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor, gain: float) -> Tensor:
        """(N, I, H, W) -> (N, O, 2H, 2W)."""
        x = F.conv2d(x, (self.weight * (self.weight_gain * gain)).to(x.dtype))
        return upsample2d(x, self.resample_filter)


class SynthesisBlock(nn.Module):
    """Everything at one resolution: one or two layers, and ToRGB where the architecture has it."""

    const: Tensor
    resample_filter: Tensor

    def __init__(self, resolution: int, config: StyleGAN2Config) -> None:
        super().__init__()
        self.architecture = config.architecture
        first, last = resolution == 4, resolution == config.img_resolution
        outputs = config.channels_at(resolution)
        inputs = 0 if first else config.channels_at(resolution // 2)
        self.register_buffer("resample_filter", fir_filter(config.resample_filter))
        if first:
            self.const = nn.Parameter(torch.randn(outputs, 4, 4))
        else:
            self.conv0 = SynthesisLayer(inputs, outputs, resolution, True, config)
        self.conv1 = SynthesisLayer(outputs, outputs, resolution, False, config)
        if config.architecture == "skip" or last:
            self.torgb = ToRGB(outputs, config)
        if config.architecture == "resnet" and not first:
            self.skip = SkipConv(inputs, outputs, config)


class SynthesisNetwork(nn.Module):
    """Styles to pictures, block by block."""

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__()
        self.config = config
        for resolution in config.resolutions:
            self.add_module(f"b{resolution}", SynthesisBlock(resolution, config))
        #: layer name -> which of the ws it takes. ToRGB shares its w with the first layer of the next block.
        self.ws_index: dict[str, int] = {}
        first = 0
        for resolution in config.resolutions:
            convs = ["conv1"] if resolution == 4 else ["conv0", "conv1"]
            for i, name in enumerate(convs):
                self.ws_index[f"b{resolution}.{name}"] = first + i
            first += len(convs)
            if hasattr(self.block(resolution), "torgb"):
                self.ws_index[f"b{resolution}.torgb"] = first

    def block(self, resolution: int) -> SynthesisBlock:
        block = self.get_submodule(f"b{resolution}")
        assert isinstance(block, SynthesisBlock)
        return block

    def layer(self, name: str) -> SynthesisLayer | ToRGB:
        layer = self.get_submodule(name)
        assert isinstance(layer, SynthesisLayer | ToRGB)
        return layer

    def styles(self, ws: Tensor) -> dict[str, Tensor]:
        """ws: (N, num_ws, w_dim) -> the input scales (N, I) of every layer."""
        rows = [w.contiguous() for w in ws.unbind(1)]  # products round differently on other strides
        return {name: self.layer(name).affine(rows[i]) for name, i in self.ws_index.items()}

    def forward(
        self,
        styles: Mapping[str, Tensor],
        noises: Mapping[str, Tensor | None],
        hook: Hook,
        half: bool = False,
    ) -> Tensor:
        """styles: (N, I) and noises: (N or 1, 1, H, W), by layer name -> (N, img_channels, H, W)."""
        N = styles["b4.conv1"].shape[0]
        x = self.block(4).const.expand(N, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        image: Tensor | None = None
        for resolution in self.config.resolutions:
            x = x.to(self._dtype(resolution, half, x.dtype))
            x = hook(f"b{resolution}", self._features(resolution, x, styles, noises, hook))
            image = self._add_rgb(resolution, x, image, styles, hook)
        assert image is not None
        return image

    def _dtype(self, resolution: int, half: bool, dtype: torch.dtype) -> torch.dtype:
        first_half = max(2 * self.config.img_resolution >> self.config.num_fp16_res, 8)
        return torch.float16 if half and resolution >= first_half else dtype

    def _features(
        self,
        resolution: int,
        x: Tensor,
        styles: Mapping[str, Tensor],
        noises: Mapping[str, Tensor | None],
        hook: Hook,
    ) -> Tensor:
        """(N, I, H/2, W/2) -> (N, O, H, W); the block at 4x4 keeps the size."""
        block, b = self.block(resolution), f"b{resolution}"
        residual = hasattr(block, "skip")
        y = block.skip(x, math.sqrt(0.5)) if residual else None
        if resolution > 4:
            x = hook(f"{b}.conv0", block.conv0(x, styles[f"{b}.conv0"], noises[f"{b}.conv0"]))
        gain = math.sqrt(0.5) if residual else 1.0
        x = hook(f"{b}.conv1", block.conv1(x, styles[f"{b}.conv1"], noises[f"{b}.conv1"], gain))
        return x if y is None else y + x

    def _add_rgb(
        self, resolution: int, x: Tensor, image: Tensor | None, styles: Mapping[str, Tensor], hook: Hook
    ) -> Tensor | None:
        """The picture so far, twice the size, plus what this block paints. Kept in float32 under autocast."""
        block, b = self.block(resolution), f"b{resolution}"
        if image is not None:
            with torch.autocast(image.device.type, enabled=False):
                image = upsample2d(image, block.resample_filter)
        if not hasattr(block, "torgb"):
            return image
        y = hook(f"{b}.torgb", block.torgb(x, styles[f"{b}.torgb"]))
        y = y.to(block.torgb.weight.dtype)
        return hook(f"{b}.img", y if image is None else image + y)


class Generator(StyleGenerator):
    """z -> w -> styles -> picture; see `generative.generator` for what each method promises.

    A hook sees every layer (`b8.conv0`), block (`b8`) and running picture (`b8.img`).
    """

    family = "stylegan2"
    spaces = (*StyleGenerator.spaces, Space.P, Space.P_PLUS)

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__()
        self.config: StyleGAN2Config = config
        self.num_ws = config.num_ws
        self.z_dim, self.w_dim, self.c_dim = config.z_dim, config.w_dim, config.c_dim
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        self.mapping = MappingNetwork(
            config.z_dim,
            config.c_dim,
            config.w_dim,
            config.mapping_layers,
            config.mapping_lr_multiplier,
            config.w_avg_beta,
        )
        self.synthesis = SynthesisNetwork(config)
        self.ws_index = self.synthesis.ws_index

    @property
    def w_avg(self) -> Tensor:
        return self.mapping.w_avg

    @property
    def noise_sizes(self) -> dict[str, int]:
        return {name: len(noise) for name, noise in self.stored_noise().items()}

    def stored_noise(self) -> dict[str, Tensor]:
        """The (H, W) maps of the noise "const", by layer."""
        layers = {name: self.synthesis.layer(name) for name in self.layers}
        return {n: m.noise_const for n, m in layers.items() if isinstance(m, SynthesisLayer) and m.use_noise}

    def map(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.mapping(z, c)

    def styles(self, ws: Tensor) -> dict[str, Tensor]:
        if ws.shape[1:] != (self.num_ws, self.w_dim):
            raise ValueError(f"ws must be (N, {self.num_ws}, {self.w_dim}), got {tuple(ws.shape)}")
        return self.synthesis.styles(ws)

    def style_weights(self) -> dict[str, Tensor]:
        return {name: self.synthesis.layer(name).affine.weight for name in self.layers}

    def synthesize_styles(
        self,
        styles: Mapping[str, Tensor],
        noise: Noise = "const",
        noises: Mapping[str, Tensor] | None = None,
        rng: torch.Generator | None = None,
        *,
        lod: float | None = None,
        hook: Hook | None = None,
    ) -> Tensor:
        N = len(styles["b4.conv1"])
        drawn = self.draw_noises(noise, noises, self.stored_noise(), N, rng)
        return self.synthesis(styles, drawn, hook or pass_on)

    def synthesize_half(self, ws: Tensor, noise: Noise = "const") -> Tensor:
        """As `synthesize`, with the `num_fp16_res` finest resolutions in float16, as the official code runs
        them on GPUs.
        """
        drawn = self.draw_noises(noise, None, self.stored_noise(), len(ws), None)
        return self.synthesis(self.styles(ws), drawn, pass_on, half=True)
