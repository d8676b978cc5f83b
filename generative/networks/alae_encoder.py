"""The encoder of "Adversarial Latent Autoencoders" (Pidhorskyi et al., 2020): picture to w.

Numbers and parameter names are those of podgorskiy/ALAE (`EncoderDefault`, whose state is called
`discriminator` there, and `MappingD` as `mapping_tl`): every block reads mean and deviation of its channels,
and w is the sum of what all blocks make of them.

Axis letters: N batch, C channels, I channels in, O channels out, H W pixels.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.networks.alae import Blur
from generative.networks.limits import check_layers, check_widths
from generative.networks.progressive import check_channels, last_block


@dataclass(frozen=True)
class ALAEEncoderConfig:
    """What the weights do not say. `channels` are those that enter the blocks, at full resolution, at half of
    it, ... at 4 pixels, and those that leave the last block.
    """

    img_resolution: int
    channels: tuple[int, ...]
    img_channels: int = 3
    w_dim: int = 512
    critic_layers: int = 3

    def __post_init__(self) -> None:
        check_channels(self.img_resolution, self.channels[:-1])
        check_layers(self.critic_layers)
        check_widths(img_channels=self.img_channels, w_dim=self.w_dim, last=self.channels[-1])


class FromRGB(nn.Module):
    """1x1 convolution of a picture. Its leaky ReLU acts twice, in the official code too."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.from_rgb = nn.Conv2d(inputs, outputs, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(N, img_channels, H, W) -> (N, O, H, W)."""
        return F.leaky_relu(F.leaky_relu(self.from_rgb(image), 0.2), 0.2)


class DownConv(nn.Module):
    """3x3 convolution to half the size, as one 4x4 convolution: from 128 pixels on the official code does the
    same; below, it convolves and then averages, which is the same sum.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3) * math.sqrt(2 / (9 * inputs)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) -> (N, O, H / 2, W / 2)."""
        w = F.avg_pool2d(F.pad(self.weight, (1, 1, 1, 1)), 2, stride=1)  # (O, I, 4, 4)
        return F.conv2d(x, w, stride=2, padding=1)


class EncodeBlock(nn.Module):
    """One resolution: what its features say of w, and features for the next."""

    def __init__(self, inputs: int, outputs: int, w_dim: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(inputs, inputs, 3, padding=1, bias=False)
        self.blur = Blur(inputs)
        self.conv_2 = DownConv(inputs, outputs)
        self.bias_1 = nn.Parameter(torch.zeros(1, inputs, 1, 1))
        self.bias_2 = nn.Parameter(torch.zeros(1, outputs, 1, 1))
        self.style_1 = nn.Linear(2 * inputs, w_dim)
        self.style_2 = nn.Linear(2 * outputs, w_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, I, H, W) -> (N, O, H / 2, W / 2), and the block's part of w, (N, w_dim)."""
        x = F.leaky_relu(self.conv_1(x) + self.bias_1, 0.2)
        w = self.style_1(moments(x))
        x = self.conv_2(self.blur(F.instance_norm(x)))
        x = F.leaky_relu(x + self.bias_2, 0.2)
        return F.instance_norm(x), w + self.style_2(moments(x))


def moments(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 2C): the mean of every channel, then the standard deviation of every channel."""
    mean = x.mean(dim=(2, 3), keepdim=True)
    deviation = (x - mean).square().mean(dim=(2, 3)).sqrt()
    return torch.cat([mean[:, :, 0, 0], deviation], dim=1)


class Critic(nn.Module):
    """w to a number: linear layers, without activations between them."""

    def __init__(self, w_dim: int, layers: int) -> None:
        super().__init__()
        widths = [w_dim] * layers + [2 * w_dim]
        self.map_blocks = nn.ModuleList(nn.Linear(widths[i], widths[i + 1]) for i in range(layers))

    def forward(self, w: Tensor) -> Tensor:
        """(N, w_dim) -> (N,). One of the 2 * w_dim outputs counts: the first of the second half."""
        x = w
        for layer in self.map_blocks:
            x = layer(x)
        return x[:, w.shape[1]]


class Encoder(nn.Module):
    """Picture -> w, the same for all layers of the generator."""

    def __init__(self, config: ALAEEncoderConfig) -> None:
        super().__init__()
        self.config, self.img_channels = config, config.img_channels
        self.w_dim, self.img_resolution = config.w_dim, config.img_resolution
        self.from_rgb, self.encode_block = nn.ModuleList(), nn.ModuleList()
        for inputs, outputs in pairwise(config.channels):
            self.from_rgb.append(FromRGB(config.img_channels, inputs))
            self.encode_block.append(EncodeBlock(inputs, outputs, config.w_dim))
        self.mapping_tl = Critic(config.w_dim, config.critic_layers)

    def forward(self, images: Tensor, lod: float = 0.0) -> Tensor:
        """Encode.

        Args:
            images: (N, img_channels, R, R) in [-1, 1].
            lod: levels of detail to leave out, as in the generator; at a fraction, two levels are blended.

        Returns:
            (N, w_dim).
        """
        shape = (self.config.img_channels, self.img_resolution, self.img_resolution)
        if images.shape[1:] != shape:
            raise ValueError(f"images must be (N, {', '.join(map(str, shape))}), got {tuple(images.shape)}")
        blocks = len(self.encode_block)
        first = blocks - 1 - last_block(lod, blocks)
        images = F.avg_pool2d(images, 2**first)
        x, w = self.encode_block[first](self.from_rgb[first](images))
        if fraction := lod % 1:
            x = torch.lerp(x, self.from_rgb[first + 1](F.avg_pool2d(images, 2)), fraction)
            w = w * (1 - fraction)
        for block in self.encode_block[first + 1 :]:
            x, more = block(x)
            w = w + more
        return w

    def score(self, w: Tensor) -> Tensor:
        """(N, w_dim) -> (N,): how real the critic of the training finds the picture behind w."""
        return self.mapping_tl(w)
