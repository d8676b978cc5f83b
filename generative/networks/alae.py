"""The generator of "Adversarial Latent Autoencoders" (Pidhorskyi et al., 2020): StyleALAE.

Numbers are those of podgorskiy/ALAE (`MappingF` and `GeneratorDefault`), and so are the names of parameters
inside of `mapping_fl` (z to w) and `decoder`. Equalised learning rates are in the optimiser there: weights
are used as they are stored.

Layers are `layer0`, `layer1`, ...: two for every resolution, each with a w of its own; `output0`, ... paint.
The style of a layer is what its affine map makes of w: scale and shift of its C channels, as (N, 2C).

Axis letters: N batch, L layers (num_ws), C channels, I channels in, O channels out, H W pixels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.generator import Hook, Noise, StyleGenerator, pass_on
from generative.networks.limits import check_layers, check_widths
from generative.networks.progressive import (
    blended,
    check_channels,
    double,
    fused_up_conv,
    last_block,
    pixel_norm,
)
from generative.networks.stylegan import instance_norm

FUSED_FROM = 128  # pixels: layers that lead up to so many store the kernel of a transposed convolution
NOISE_FREE = 0.8 / math.sqrt(2 * math.pi)


@dataclass(frozen=True)
class ALAEConfig:
    """What the weights do not say. `channels` are those of the resolutions 4, 8, ...; `latent_dim` is the
    length of z and of w.
    """

    img_resolution: int
    channels: tuple[int, ...]
    img_channels: int = 3
    latent_dim: int = 512
    mapping_layers: int = 8

    def __post_init__(self) -> None:
        check_channels(self.img_resolution, self.channels)
        check_layers(self.mapping_layers)
        check_widths(img_channels=self.img_channels, latent_dim=self.latent_dim)

    @property
    def num_ws(self) -> int:
        """Layers, each of which takes a w."""
        return 2 * len(self.channels)


class MappingLayer(nn.Module):
    """Linear layer and leaky ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C) -> (N, C)."""
        return F.leaky_relu(self.fc(x), 0.2)


class MappingNetwork(nn.Module):
    """z to w."""

    def __init__(self, config: ALAEConfig) -> None:
        super().__init__()
        self.map_blocks = nn.ModuleList(MappingLayer(config.latent_dim) for _ in range(config.mapping_layers))

    def forward(self, z: Tensor) -> Tensor:
        """(N, latent_dim) -> the same, not truncated."""
        x = pixel_norm(z)
        for layer in self.map_blocks:
            x = layer(x)
        return x


class Blur(nn.Module):
    """Softens channel by channel with the stored binomial kernel."""

    weight: Tensor  # (C, 1, 3, 3)

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0])
        self.register_buffer("weight", (torch.outer(row, row) / 16).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        return F.conv2d(x, self.weight, padding=1, groups=x.shape[1])


class UpConv(nn.Module):
    """3x3 convolution to twice the size."""

    def __init__(self, inputs: int, outputs: int, *, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        shape = (inputs, outputs) if fused else (outputs, inputs)
        self.weight = nn.Parameter(torch.randn(*shape, 3, 3) * math.sqrt(2 / (9 * inputs)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) -> (N, O, 2H, 2W)."""
        if self.fused:
            return fused_up_conv(x, self.weight)
        return F.conv2d(double(x), self.weight, padding=1)


class DecodeBlock(nn.Module):
    """The two layers of a resolution: convolution, noise, bias, leaky ReLU, instance norm, style. The first
    block begins with the constant instead of a convolution.
    """

    def __init__(self, index: int, inputs: int, outputs: int, w_dim: int) -> None:
        super().__init__()
        self.index = index
        if index:
            self.conv_1 = UpConv(inputs, outputs, fused=4 << index >= FUSED_FROM)
            self.blur = Blur(outputs)
        self.conv_2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.noise_weight_1 = nn.Parameter(torch.zeros(1, outputs, 1, 1))
        self.noise_weight_2 = nn.Parameter(torch.zeros(1, outputs, 1, 1))
        self.bias_1 = nn.Parameter(torch.zeros(1, outputs, 1, 1))
        self.bias_2 = nn.Parameter(torch.zeros(1, outputs, 1, 1))
        self.style_1 = nn.Linear(w_dim, 2 * outputs)
        self.style_2 = nn.Linear(w_dim, 2 * outputs)

    def layer_1(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        """x: (N, I, H / 2, W / 2), style: (N, 2 * O), noise: (N or 1, 1, H, W) -> (N, O, H, W)."""
        if self.index:
            x = self.blur(self.conv_1(x))
        return self._finish(self._noisy(x, noise, self.noise_weight_1) + self.bias_1, style)

    def layer_2(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        """x: (N, O, H, W), style: (N, 2 * O), noise: (N or 1, 1, H, W) -> (N, O, H, W)."""
        x = self.conv_2(x)
        return self._finish(self._noisy(x, noise, self.noise_weight_2) + self.bias_2, style)

    def _noisy(self, x: Tensor, noise: Tensor | None, weight: Tensor) -> Tensor:
        """Without noise the official decoder adds a bump around zero, whose width grows with the block."""
        if noise is not None:
            return x + weight * noise
        s = math.sqrt(self.index + 1)
        return x + NOISE_FREE * s * torch.exp(x.square() / (-2 * s * s))

    @staticmethod
    def _finish(x: Tensor, style: Tensor) -> Tensor:
        scale, shift = style[:, :, None, None].chunk(2, dim=1)
        return instance_norm(F.leaky_relu(x, 0.2)) * (scale + 1) + shift


class ToRGB(nn.Module):
    """1x1 convolution to the channels of the picture."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.to_rgb = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) -> (N, img_channels, H, W)."""
        return self.to_rgb(x)


class Decoder(nn.Module):
    """Styles to pictures, block by block."""

    def __init__(self, config: ALAEConfig) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.ones(1, config.channels[0], 4, 4))
        self.decode_block, self.to_rgb = nn.ModuleList(), nn.ModuleList()
        inputs = config.channels[0]
        for i, C in enumerate(config.channels):
            self.decode_block.append(DecodeBlock(i, inputs, C, config.latent_dim))
            self.to_rgb.append(ToRGB(C, config.img_channels))
            inputs = C

    def block(self, index: int) -> DecodeBlock:
        block = self.decode_block[index]
        assert isinstance(block, DecodeBlock)
        return block

    def affine(self, layer: int) -> nn.Linear:
        """What makes the style of a layer."""
        block = self.block(layer // 2)
        return block.style_2 if layer % 2 else block.style_1

    def forward(
        self, styles: Mapping[str, Tensor], noises: Mapping[str, Tensor | None], lod: float, hook: Hook
    ) -> Tensor:
        """styles: (N, 2C) and noises: (N or 1, 1, H, W), by layer name -> (N, img_channels, R, R)."""
        x = before = self.const.expand(styles["layer0"].shape[0], -1, -1, -1)
        blocks = len(self.decode_block)
        for i in range(last_block(lod, blocks) + 1):
            before, one, two = x, f"layer{2 * i}", f"layer{2 * i + 1}"
            x = hook(one, self.block(i).layer_1(x, styles[one], noises[one]))
            x = hook(two, self.block(i).layer_2(x, styles[two], noises[two]))
        return blended(lambda i, x: hook(f"output{i}", self.to_rgb[i](x)), x, before, lod, blocks)


class MeanLatent(nn.Module):
    """Holds the mean of w, as every layer saw it in training."""

    buff: Tensor  # (L, w_dim)

    def __init__(self, layers: int, w_dim: int) -> None:
        super().__init__()
        self.register_buffer("buff", torch.zeros(layers, w_dim))


class Generator(StyleGenerator):
    """z -> w -> styles -> picture; see `generative.generator` for what each method promises.

    There is no stored noise: "const" and "none" are both what the official code calls `noise=False`.
    """

    family = "alae"

    def __init__(self, config: ALAEConfig) -> None:
        super().__init__()
        self.config: ALAEConfig = config
        self.z_dim, self.w_dim, self.c_dim = config.latent_dim, config.latent_dim, 0
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        self.num_ws = config.num_ws
        self.ws_index = {f"layer{i}": i for i in range(config.num_ws)}
        self.max_lod = float(len(config.channels) - 1)
        self.mapping_fl = MappingNetwork(config)
        self.decoder = Decoder(config)
        self.dlatent_avg = MeanLatent(config.num_ws, config.latent_dim)

    @property
    def w_avg(self) -> Tensor:
        return self.dlatent_avg.buff

    @property
    def noise_sizes(self) -> dict[str, int]:
        return {name: 4 << i // 2 for name, i in self.ws_index.items()}

    def map(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        if z.shape[1:] != (self.z_dim,):
            raise ValueError(f"z must be (N, {self.z_dim}), got {tuple(z.shape)}")
        return self.mapping_fl(z.to(self.w_avg.dtype))

    def styles(self, ws: Tensor) -> dict[str, Tensor]:
        if ws.shape[1:] != (self.num_ws, self.w_dim):
            raise ValueError(f"ws must be (N, {self.num_ws}, {self.w_dim}), got {tuple(ws.shape)}")
        rows = [w.contiguous() for w in ws.unbind(1)]  # products round differently on other strides
        return {name: self.decoder.affine(i)(rows[i]) for name, i in self.ws_index.items()}

    def style_weights(self) -> dict[str, Tensor]:
        return {name: self.decoder.affine(i).weight for name, i in self.ws_index.items()}

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
        sizes, zero = self.noise_sizes, self.decoder.const.new_zeros(())
        like = {name: zero.expand(side, side) for name, side in sizes.items()}
        kind: Noise = "random" if noise == "random" else "none"
        drawn = self.draw_noises(kind, noises, like, styles["layer0"].shape[0], rng)
        return self.decoder(styles, drawn, lod or 0.0, hook or pass_on)
