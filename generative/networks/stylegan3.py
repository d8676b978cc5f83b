"""StyleGAN3 generator, from "Alias-Free Generative Adversarial Networks" (Karras et al., 2021): pictures that
move and turn with their input, without details that stick to pixels.

Parameter names are those of NVlabs/stylegan3; its numbers are reproduced to 1e-5 of the range. A layer is
named by its path without "synthesis.": `input`, then `L0_36_512`, ... (index, size, channels).

Axis letters: N batch, C channels, I channels in, O channels out, H W pixels, S samples by side, k kernel.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.generator import Hook, Noise, StyleGenerator, pass_on
from generative.networks.mapping import FullyConnected, MappingNetwork
from generative.networks.stylegan3_filters import lowpass_filter
from generative.networks.stylegan3_geometry import Band, Layer, StyleGAN3Config, bands, layers
from generative.ops.filtered_lrelu import filtered_lrelu
from generative.spaces import Space

W_AVG_BETA = 0.998  # of training; pictures do not depend on it


class SynthesisInput(nn.Module):
    """The feature map that everything starts from: waves over the plane, which w shifts and turns."""

    freqs: Tensor  # (C, 2), cycles by side of the picture
    phases: Tensor  # (C,), in cycles
    transform: Tensor  # (3, 3), from positions in the picture to those in the unmoved one
    positions: Tensor  # (S,) of the samples along an axis; the picture ends at -1/2 and 1/2

    def __init__(self, w_dim: int, channels: int, band: Band) -> None:
        super().__init__()
        self.band = band
        self.weight = nn.Parameter(torch.randn(channels, channels))
        self.affine = FullyConnected(w_dim, 4)
        nn.init.zeros_(self.affine.weight)
        with torch.no_grad():
            self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        radius, angle = band.cutoff * torch.rand(channels).sqrt(), 2 * math.pi * torch.rand(channels)
        self.register_buffer("freqs", torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1))
        self.register_buffer("phases", torch.rand(channels) - 0.5)
        self.register_buffer("transform", torch.eye(3))
        positions = (torch.arange(band.size) + 0.5 - band.size / 2) / band.rate
        self.register_buffer("positions", positions, persistent=False)

    def forward(self, style: Tensor, moved: Tensor | None = None) -> Tensor:
        """style: (N, 4), direction and shift of the plane; moved: (3, 3) or (N, 3, 3), from positions in the
        picture to those before it was moved -> (N, C, S, S), with its channels last in memory.
        """
        matrix = rigid_motion(style) @ self.transform
        if moved is not None:
            matrix = matrix @ moved.to(matrix)
        freqs = self.freqs @ matrix[:, :2, :2]  # (N, C, 2)
        phases = self.phases + matrix[:, :2, 2] @ self.freqs.T  # (N, C)
        excess = (freqs.norm(dim=2) - self.band.cutoff) / (self.band.rate / 2 - self.band.cutoff)
        amplitudes = (1 - excess).clamp(0, 1)  # fades out what the grid could not hold: (N, C)
        x = self.positions[:, None] * freqs[:, None, :, 0]  # (N, S, C)
        y = self.positions[:, None] * freqs[:, None, :, 1]
        cycles = y[:, :, None] + x[:, None] + phases[:, None, None]  # (N, S, S, C)
        waves = torch.sin(2 * math.pi * cycles) * amplitudes[:, None, None]
        return (waves @ (self.weight.T / math.sqrt(len(self.weight)))).permute(0, 3, 1, 2)


def rigid_motion(style: Tensor) -> Tensor:
    """(N, 4), a direction of any length and a shift -> (N, 3, 3): shift back, then turn."""
    cos, sin, x, y = (style / style[:, :2].norm(dim=1, keepdim=True)).unbind(1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    rows = [[cos, -sin, sin * y - cos * x], [sin, cos, -sin * x - cos * y], [zero, zero, one]]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


class SynthesisLayer(nn.Module):
    """Modulated convolution, then leaky ReLU on a finer grid, then the grid of the next layer."""

    up_filter: Tensor | None  # (k,)
    down_filter: Tensor | None  # (k,) or (k, k)
    magnitude_ema: Tensor  # ()

    def __init__(self, layer: Layer, config: StyleGAN3Config) -> None:
        super().__init__()
        self.layer, self.clamp = layer, config.conv_clamp
        self.affine = FullyConnected(config.w_dim, layer.inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(layer.outputs, layer.inputs, layer.kernel, layer.kernel))
        self.bias = nn.Parameter(torch.zeros(layer.outputs))
        self.register_buffer("magnitude_ema", torch.ones([]))
        self.register_buffer("up_filter", _filter(layer.up_taps, layer.before, layer.up * layer.before.rate))
        down_filter = _filter(layer.down_taps, layer.after, layer.down * layer.after.rate, layer.radial)
        self.register_buffer("down_filter", down_filter)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x: (N, I, S, S), style: (N, I) -> (N, O, S', S')."""
        x = modulated_conv2d(x, self.weight, style, self.magnitude_ema.rsqrt())
        return filtered_lrelu(
            x,
            self.bias,
            self.up_filter,
            self.down_filter,
            up=self.layer.up,
            down=self.layer.down,
            padding=self.layer.padding,
            clamp=self.clamp,
        )


def _filter(taps: int, band: Band, rate: int, radial: bool = False) -> Tensor | None:
    """What keeps the signal of the band, on a grid of this rate; None for the one that does nothing."""
    return None if taps == 1 else lowpass_filter(taps, band.cutoff, 2 * band.half_width, rate, radial)


def modulated_conv2d(x: Tensor, weight: Tensor, styles: Tensor, gain: Tensor) -> Tensor:
    """Convolve each sample with its own kernel, `weight` scaled by that sample's style, to unit norm.

    The official code first brings weights and styles to a mean square of 1. Demodulation takes the factors
    out again, up to the 1e-8 in it, so here they act on that alone. For the styles the official mean is over
    the batch; ours is over the sample, which must not depend on its company.

    Args:
        x: (N, I, H, W).
        weight: (O, I, k, k).
        styles: (N, I), one scale for each input channel.
        gain: (), for the output.

    Returns:
        (N, O, H + k - 1, W + k - 1).
    """
    k = weight.shape[-1]
    power = weight.square().sum(dim=(2, 3))  # (O, I)
    scales = styles.square()  # (N, I)
    tiny = 1e-8 * scales.mean(dim=1, keepdim=True) * power.mean(dim=1) / k**2  # (N, O)
    demodulation = gain * (scales @ power.T + tiny).rsqrt()
    y = F.conv2d(x * styles[:, :, None, None], weight, padding=k - 1)
    return y * demodulation[:, :, None, None]


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to the channels of the picture; no demodulation, no leaky ReLU."""

    magnitude_ema: Tensor  # ()

    def __init__(self, layer: Layer, config: StyleGAN3Config) -> None:
        super().__init__()
        self.clamp = config.conv_clamp
        self.affine = FullyConnected(config.w_dim, layer.inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(layer.outputs, layer.inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(layer.outputs))
        self.register_buffer("magnitude_ema", torch.ones([]))
        self.weight_gain = 1 / math.sqrt(layer.inputs)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x: (N, I, H, W), style: (N, I) -> (N, img_channels, H, W)."""
        scales = style * (self.weight_gain * self.magnitude_ema.rsqrt())
        x = F.conv2d(x * scales[:, :, None, None], self.weight, self.bias)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class SynthesisNetwork(nn.Module):
    """Styles to pictures, layer by layer."""

    input: SynthesisInput

    def __init__(self, config: StyleGAN3Config) -> None:
        super().__init__()
        self.output_scale = config.output_scale
        *hidden, to_rgb = layers(config)
        self.input = SynthesisInput(config.w_dim, hidden[0].inputs, bands(config)[0])
        for layer in hidden:
            self.add_module(layer.name, SynthesisLayer(layer, config))
        self.add_module(to_rgb.name, ToRGB(to_rgb, config))
        self.layer_names = ("input", *(layer.name for layer in hidden), to_rgb.name)

    def affine(self, name: str) -> FullyConnected:
        """What makes the style of the named layer from its w."""
        affine = self.get_submodule(f"{name}.affine")
        assert isinstance(affine, FullyConnected)
        return affine

    def forward(self, styles: Mapping[str, Tensor], hook: Hook, moved: Tensor | None) -> Tensor:
        """styles: (N, 4 or I) by layer name, moved: as in `SynthesisInput` -> (N, img_channels, R, R)."""
        x = hook("input", self.input(styles["input"], moved))
        for name in self.layer_names[1:]:
            x = hook(name, self.get_submodule(name)(x, styles[name]))
        return x * self.output_scale


class Generator(StyleGenerator):
    """z -> w -> styles -> picture; see `generative.generator` for what each method promises.

    There is no noise. The style of `input` is a direction and a shift, (N, 4); it takes the first w. The last
    layer's output, as a hook sees it, is the picture divided by `output_scale`.
    """

    family = "stylegan3"
    spaces = (*StyleGenerator.spaces, Space.P, Space.P_PLUS)

    def __init__(self, config: StyleGAN3Config) -> None:
        super().__init__()
        self.config: StyleGAN3Config = config
        self.z_dim, self.w_dim, self.c_dim = config.z_dim, config.w_dim, config.c_dim
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        self.mapping = MappingNetwork(
            config.z_dim,
            config.c_dim,
            config.w_dim,
            config.mapping_layers,
            config.mapping_lr_multiplier,
            W_AVG_BETA,
        )
        self.synthesis = SynthesisNetwork(config)
        self.ws_index = {name: i for i, name in enumerate(self.synthesis.layer_names)}
        self.num_ws = len(self.ws_index)

    @property
    def w_avg(self) -> Tensor:
        return self.mapping.w_avg

    @property
    def noise_sizes(self) -> dict[str, int]:
        return {}

    def map(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.mapping(z, c)

    def styles(self, ws: Tensor) -> dict[str, Tensor]:
        if ws.shape[1:] != (self.num_ws, self.w_dim):
            raise ValueError(f"ws must be (N, {self.num_ws}, {self.w_dim}), got {tuple(ws.shape)}")
        rows = [w.contiguous() for w in ws.unbind(1)]  # products round differently on other strides
        return {name: self.synthesis.affine(name)(rows[i]) for name, i in self.ws_index.items()}

    def style_weights(self) -> dict[str, Tensor]:
        return {name: self.synthesis.affine(name).weight for name in self.layers}

    def synthesize_styles(
        self,
        styles: Mapping[str, Tensor],
        noise: Noise = "const",
        noises: Mapping[str, Tensor] | None = None,
        rng: torch.Generator | None = None,
        *,
        lod: float | None = None,
        hook: Hook | None = None,
        transform: Tensor | None = None,
    ) -> Tensor:
        """As in `StyleGenerator`, and `transform`, (3, 3) or (N, 3, 3): by which the picture moves, in sides
        of the picture from its centre, x to the right, y down. Raises ValueError if it has no inverse.
        """
        return self.synthesis(styles, hook or pass_on, None if transform is None else inverse(transform))

    def synthesize(
        self,
        ws: Tensor,
        noise: Noise = "const",
        noises: Mapping[str, Tensor] | None = None,
        rng: torch.Generator | None = None,
        *,
        lod: float | None = None,
        hook: Hook | None = None,
        transform: Tensor | None = None,
    ) -> Tensor:
        """ws: (N, num_ws, w_dim) -> pictures. The rest as in `synthesize_styles`."""
        return self.synthesize_styles(
            self.styles(ws), noise, noises, rng, lod=lod, hook=hook, transform=transform
        )


def inverse(transform: Tensor) -> Tensor:
    """(..., 3, 3), in float64. Raises ValueError for what is no invertible matrix of that shape."""
    if transform.shape[-2:] != (3, 3) or transform.ndim > 3:
        raise ValueError(f"transform must be (3, 3) or (N, 3, 3), got {tuple(transform.shape)}")
    inverted, flaws = torch.linalg.inv_ex(transform.double())
    if flaws.any() or not inverted.isfinite().all():
        raise ValueError("transform has no inverse")
    return inverted
