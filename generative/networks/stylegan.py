"""StyleGAN, the generator of "A Style-Based Generator Architecture for Generative Adversarial Networks"
(Karras et al., 2019).

Parameter names and numbers are those of genforce/genforce (`StyleGANGenerator`), save for `mapping.w_avg`,
which is `truncation.w_avg` there. So are the names of layers: `layer0` is the constant, then come one more
at 4x4 and two for every resolution; `output0`, ... paint.

Axis letters: N batch, L layers (num_ws), C channels, I channels in, O channels out, H W pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.generator import Hook, Noise, StyleGenerator, pass_on
from generative.networks.limits import check_layers, check_widths
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
from generative.spaces import Space

MAPPING_LR = 0.01  # stored weights and biases of the mapping network are 100 times as large
FUSED_FROM = 128  # pixels, for fused_scale "auto"


@dataclass(frozen=True)
class StyleGANConfig:
    """What the weights do not say. `channels` are those of the resolutions 4, 8, ...

    `fused_scale`: which of the layers that double the size are transposed convolutions; "auto" is those that
    lead to 128 pixels and more.
    """

    img_resolution: int
    channels: tuple[int, ...]
    img_channels: int = 3
    z_dim: int = 512
    c_dim: int = 0
    w_dim: int = 512
    mapping_layers: int = 8
    mapping_fmaps: int = 512
    fused_scale: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        check_channels(self.img_resolution, self.channels)
        check_layers(self.mapping_layers)
        check_widths(img_channels=self.img_channels, mapping_fmaps=self.mapping_fmaps)
        check_widths(z_dim=self.z_dim, w_dim=self.w_dim)
        if self.c_dim:
            check_widths(c_dim=self.c_dim)

    @property
    def num_ws(self) -> int:
        """Layers, each of which takes a w."""
        return 2 * len(self.channels)

    @property
    def mapping_outputs(self) -> int:
        """Numbers that the mapping network makes of a z."""
        return self.w_dim

    def fused_at(self, resolution: int) -> bool:
        """Whether the layer that leads up to this resolution is a transposed convolution."""
        return resolution >= FUSED_FROM if self.fused_scale == "auto" else self.fused_scale


class Dense(nn.Module):
    """Linear layer with equalised learning rate; those of the mapping network are followed by leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, *, mapping: bool) -> None:
        super().__init__()
        self.mapping, self.fan_in = mapping, inputs
        self.lr, self.gain = (MAPPING_LR, LRELU_GAIN) if mapping else (1.0, 1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / self.lr)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, I) -> (N, O)."""
        x = F.linear(x, equalised(self.weight, self.fan_in, self.gain * self.lr), self.bias * self.lr)
        return F.leaky_relu(x, 0.2) if self.mapping else x


class MappingNetwork(nn.Module):
    """z, beside it the embedded label, to w. Holds the mean of w."""

    w_avg: Tensor  # (w_dim,)

    def __init__(self, config: StyleGANConfig) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.num_layers = config.z_dim, config.c_dim, config.mapping_layers
        self.register_buffer("w_avg", torch.zeros(config.w_dim))
        if config.c_dim:
            self.label_weight = nn.Parameter(torch.randn(config.c_dim, config.z_dim))
        widths = [config.z_dim * (2 if config.c_dim else 1)]
        widths += [config.mapping_fmaps] * (config.mapping_layers - 1) + [config.mapping_outputs]
        for i in range(config.mapping_layers):
            self.add_module(f"dense{i}", Dense(widths[i], widths[i + 1], mapping=True))

    def forward(self, z: Tensor, c: Tensor | None) -> Tensor:
        """z: (N, z_dim), c: (N, c_dim) -> (N, mapping_outputs), not truncated."""
        dtype = self.get_parameter("dense0.weight").dtype
        if z.shape[1:] != (self.z_dim,):
            raise ValueError(f"z must be (N, {self.z_dim})")
        x = z.to(dtype)
        if self.c_dim:
            if c is None or c.shape[1:] != (self.c_dim,):
                raise ValueError(f"this model needs a class label c of shape (N, {self.c_dim})")
            x = torch.cat([x, c.to(dtype) @ self.label_weight], dim=1)
        x = pixel_norm(x)
        for i in range(self.num_layers):
            x = self.get_submodule(f"dense{i}")(x)
        return x


class NoiseInput(nn.Module):
    """One noise map for all channels, and how much of it each takes."""

    noise: Tensor  # (1, 1, H, W)

    def __init__(self, channels: int, resolution: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))
        self.register_buffer("noise", torch.randn(1, 1, resolution, resolution))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """x: (N, C, H, W), noise: (N or 1, 1, H, W) -> (N, C, H, W)."""
        return x + noise * self.weight[:, None, None]


class Blur(nn.Module):
    """Softens what was doubled, channel by channel, with the stored binomial kernel."""

    kernel: Tensor  # (C, 1, 3, 3)

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0])
        kernel = torch.outer(row, row) / 16
        self.register_buffer("kernel", kernel.repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        return F.conv2d(x, self.kernel, padding=1, groups=x.shape[1])


class Layer(nn.Module):
    """A convolution, or where there are no channels in, the constant; then noise, bias, leaky ReLU, instance
    norm and style.
    """

    def __init__(
        self, inputs: int, outputs: int, resolution: int, *, up: bool, config: StyleGANConfig
    ) -> None:
        super().__init__()
        self.inputs, self.up, self.fused = inputs, up, up and config.fused_at(resolution)
        if inputs:
            self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        else:
            self.const = nn.Parameter(torch.ones(1, outputs, resolution, resolution))
        if up:
            self.blur = Blur(outputs)
        self.apply_noise = NoiseInput(outputs, resolution)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.style = Dense(config.w_dim, 2 * outputs, mapping=False)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        """x: (N, I, H, W), style: (N, 2 * O), noise: (N or 1, 1, H', W') -> (N, O, H', W')."""
        x = self._convolve(x) if self.inputs else self.const.expand(style.shape[0], -1, -1, -1)
        if noise is not None:
            x = self.apply_noise(x, noise)
        x = F.leaky_relu(x + self.bias[:, None, None], 0.2)
        scale, shift = style[:, :, None, None].chunk(2, dim=1)
        return instance_norm(x) * (scale + 1) + shift

    def _convolve(self, x: Tensor) -> Tensor:
        """(N, I, H, W) -> (N, O, H', W')."""
        weight = equalised(self.weight, 9 * self.inputs)
        if not self.up:
            return F.conv2d(x, weight, padding=1)
        if self.fused:
            return self.blur(fused_up_conv(x, weight.transpose(0, 1)))
        return self.blur(F.conv2d(double(x), weight, padding=1))


class ToRGB(nn.Module):
    """1x1 convolution to the channels of the picture."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) -> (N, img_channels, H, W)."""
        weight = equalised(self.weight, self.weight.shape[1], gain=1)
        return F.conv2d(x, weight, self.bias)


def instance_norm(x: Tensor) -> Tensor:
    """(N, C, H, W) to zero mean and unit variance of every channel of every picture."""
    x = x - x.mean(dim=(2, 3), keepdim=True)
    return x * (x.square().mean(dim=(2, 3), keepdim=True) + 1e-8).rsqrt()


class SynthesisNetwork(Grown):
    """Styles to pictures, layer by layer."""

    def __init__(self, config: StyleGANConfig) -> None:
        super().__init__()
        self.blocks = len(config.channels)
        inputs = 0
        for i, C in enumerate(config.channels):
            self.add_module(f"layer{2 * i}", Layer(inputs, C, 4 << i, up=i > 0, config=config))
            self.add_module(f"layer{2 * i + 1}", Layer(C, C, 4 << i, up=False, config=config))
            self.add_module(f"output{i}", ToRGB(C, config.img_channels))
            inputs = C

    def layer(self, name: str) -> Layer:
        layer = self.get_submodule(name)
        assert isinstance(layer, Layer)
        return layer

    def forward(
        self,
        styles: Mapping[str, Tensor],
        noises: Mapping[str, Tensor | None],
        lod: float | None,
        hook: Hook,
    ) -> Tensor:
        """styles: (N, 2C) and noises: (N or 1, 1, H, W), by layer name -> (N, img_channels, R, R)."""
        lod = float(self.lod) if lod is None else lod
        x: Tensor = self.layer("layer0").const
        before = x
        for i in range(last_block(lod, self.blocks) + 1):
            before = x
            for name in (f"layer{2 * i}", f"layer{2 * i + 1}"):
                x = hook(name, self.layer(name)(x, styles[name], noises[name]))

        def paint(i: int, x: Tensor) -> Tensor:
            return hook(f"output{i}", self.get_submodule(f"output{i}")(x))

        return blended(paint, x, before, lod, self.blocks)


class Generator(StyleGenerator):
    """z -> w -> styles -> picture; see `generative.generator` for what each method promises.

    A hook sees every layer, and what `output0`, ... paint. The style of a layer, (N, 2C), is what its affine
    map makes of w: what each channel is scaled by, less 1, and then how far it is shifted.
    """

    family = "stylegan"
    spaces = (*StyleGenerator.spaces, Space.P, Space.P_PLUS)

    def __init__(self, config: StyleGANConfig) -> None:
        super().__init__()
        self.config = config
        self.z_dim, self.c_dim, self.w_dim = config.z_dim, config.c_dim, config.w_dim
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        self.num_ws = config.num_ws
        self.ws_index = {f"layer{i}": i for i in range(config.num_ws)}
        self.max_lod = float(len(config.channels) - 1)
        self.mapping = MappingNetwork(config)
        self.synthesis = SynthesisNetwork(config)

    @property
    def w_avg(self) -> Tensor:
        return self.mapping.w_avg

    @property
    def noise_sizes(self) -> dict[str, int]:
        return {name: len(noise) for name, noise in self._stored_noise().items()}

    def _stored_noise(self) -> dict[str, Tensor]:
        return {name: self.synthesis.layer(name).apply_noise.noise[0, 0] for name in self.layers}

    def map(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.mapping(z, c)

    def styles(self, ws: Tensor) -> dict[str, Tensor]:
        if ws.shape[1:] != (self.num_ws, self.w_dim):
            raise ValueError(f"ws must be (N, {self.num_ws}, {self.w_dim}), got {tuple(ws.shape)}")
        rows = [w.contiguous() for w in ws.unbind(1)]  # products round differently on other strides
        return {name: self.synthesis.layer(name).style(rows[i]) for name, i in self.ws_index.items()}

    def style_weights(self) -> dict[str, Tensor]:
        return {name: self.synthesis.layer(name).style.weight for name in self.layers}

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
        drawn = self.draw_noises(noise, noises, self._stored_noise(), styles["layer0"].shape[0], rng)
        return self.synthesis(styles, drawn, lod, hook or pass_on)
