"""StyleGAN2 discriminator, from "Analyzing and Improving the Image Quality of StyleGAN" (Karras et al.,
2020).

Parameter names are those of NVlabs/stylegan2-ada-pytorch, whose numbers it reproduces to 2e-5.

Axis letters: N batch, I channels in, O channels out, H W pixels, k kernel, G samples of a group.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.networks.limits import check_resolution
from generative.networks.mapping import SQRT2, FullyConnected, MappingNetwork
from generative.networks.stylegan2 import Architecture, resolutions
from generative.ops.upfirdn2d import downsample2d, fir_filter, upfirdn2d


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Fields mean what the arguments of the official constructors mean.

    `channels`, pairs (resolution, channels), overrides `channel_base` and `channel_max`. `mbstd_group_size`
    None takes the whole batch as one group.
    """

    img_resolution: int
    img_channels: int = 3
    c_dim: int = 0
    cmap_dim: int | None = None
    mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.01
    channel_base: int = 32768
    channel_max: int = 512
    channels: tuple[tuple[int, int], ...] | None = None
    architecture: Architecture = "resnet"
    resample_filter: tuple[int, ...] = (1, 3, 3, 1)
    conv_clamp: float | None = None
    mbstd_group_size: int | None = 4
    mbstd_num_channels: int = 1

    def __post_init__(self) -> None:
        check_resolution(self.img_resolution)

    def channels_at(self, resolution: int) -> int:
        if self.channels is not None:
            return dict(self.channels)[resolution]
        return min(self.channel_base // resolution, self.channel_max)

    @property
    def label_features(self) -> int:
        """Width of the mapped label that the output is projected on; 0 for an unconditional model."""
        if not self.c_dim:
            return 0
        return self.channels_at(4) if self.cmap_dim is None else self.cmap_dim


class Conv2dLayer(nn.Module):
    """k x k convolution with equalised learning rate, optionally to half the size, then bias and leaky ReLU.

    Without `activate` there is neither bias nor activation nor clamp: the skip path of a residual block.
    """

    resample_filter: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        k: int,
        config: DiscriminatorConfig,
        down: bool = False,
        activate: bool = True,
    ) -> None:
        super().__init__()
        self.k, self.down, self.activate, self.clamp = k, down, activate, config.conv_clamp
        self.weight = nn.Parameter(torch.randn(outputs, inputs, k, k))
        if activate:
            self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("resample_filter", fir_filter(config.resample_filter))
        self.weight_gain = 1 / math.sqrt(inputs * k * k)

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """(N, I, H, W) -> (N, O, H, W), or half of H and W."""
        weight = (self.weight * self.weight_gain).to(x.dtype)
        if not self.activate:
            return self._convolve(x, weight * gain)
        x = self._convolve(x, weight) + self.bias[:, None, None].to(x.dtype)
        x = F.leaky_relu(x, 0.2) * (SQRT2 * gain)
        return x if self.clamp is None else x.clamp(-self.clamp * gain, self.clamp * gain)

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        if not self.down:
            return F.conv2d(x, weight, padding=self.k // 2)
        if self.k == 1:  # filter and decimate first: a quarter of the products
            return F.conv2d(downsample2d(x, self.resample_filter), weight)
        return F.conv2d(upfirdn2d(x, self.resample_filter, padding=(2, 2, 2, 2)), weight, stride=2)


class DiscriminatorBlock(nn.Module):
    """Everything at one resolution above 4: halves the size."""

    def __init__(self, resolution: int, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.architecture = config.architecture
        inputs, outputs = config.channels_at(resolution), config.channels_at(resolution // 2)
        self.register_buffer("resample_filter", fir_filter(config.resample_filter))
        if resolution == config.img_resolution or config.architecture == "skip":
            self.fromrgb = Conv2dLayer(config.img_channels, inputs, 1, config)
        self.conv0 = Conv2dLayer(inputs, inputs, 3, config)
        self.conv1 = Conv2dLayer(inputs, outputs, 3, config, down=True)
        if config.architecture == "resnet":
            self.skip = Conv2dLayer(inputs, outputs, 1, config, down=True, activate=False)

    def forward(self, x: Tensor | None, image: Tensor) -> Tensor:
        """x: (N, I, H, W), or None at the top; image: (N, img_channels, H, W) -> (N, O, H/2, W/2)."""
        x = _read_rgb(self, x, image)
        if self.architecture != "resnet":
            return self.conv1(self.conv0(x))
        y = self.skip(x, math.sqrt(0.5))
        return y + self.conv1(self.conv0(x), math.sqrt(0.5))


class DiscriminatorEpilogue(nn.Module):
    """The block at 4x4: batch statistics, one convolution, two linear layers."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.group_size, self.statistics = config.mbstd_group_size, config.mbstd_num_channels
        channels = config.channels_at(4)
        if config.architecture == "skip" or config.img_resolution == 4:
            self.fromrgb = Conv2dLayer(config.img_channels, channels, 1, config)
        self.conv = Conv2dLayer(channels + self.statistics, channels, 3, config)
        self.fc = FullyConnected(channels * 16, channels, activate=True)
        self.out = FullyConnected(channels, config.label_features or 1)

    def forward(self, x: Tensor | None, image: Tensor) -> Tensor:
        """x: (N, I, 4, 4); image: (N, img_channels, 4, 4) -> (N, 1), or (N, label_features)."""
        x = _read_rgb(self, x, image)
        if self.statistics:
            x = append_batch_deviation(x, self.group_size, self.statistics)
        return self.out(self.fc(self.conv(x).flatten(1)))


class Discriminator(nn.Module):
    """Picture to logit: above 0 for real."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        for resolution in resolutions(config.img_resolution)[:0:-1]:
            self.add_module(f"b{resolution}", DiscriminatorBlock(resolution, config))
        if config.c_dim:
            self.mapping = MappingNetwork(
                0,
                config.c_dim,
                config.label_features,
                config.mapping_layers,
                config.mapping_lr_multiplier,
                None,
            )
        self.b4 = DiscriminatorEpilogue(config)

    def forward(self, image: Tensor, c: Tensor | None = None) -> Tensor:
        """image: (N, C, H, W) in [-1, 1], c: (N, c_dim) one-hot -> logits (N, 1).

        A logit depends on the other samples of its group, so on the order of the batch.
        """
        x: Tensor | None = None
        for resolution in resolutions(self.config.img_resolution)[:0:-1]:
            block = self.get_submodule(f"b{resolution}")
            x = block(x, image)
            if self.config.architecture == "skip":
                image = downsample2d(image, block.get_buffer("resample_filter"))
        y = self.b4(x, image)
        if not self.config.c_dim:
            return y
        label = self.mapping(None, c)  # (N, label_features)
        return (y * label).sum(dim=1, keepdim=True) / math.sqrt(label.shape[1])


def append_batch_deviation(x: Tensor, group_size: int | None, channels: int) -> Tensor:
    """Add `channels` maps that hold the standard deviation within each group of samples, against mode
    collapse.

    Args:
        x: (N, C, H, W); N must be divisible by the group size, or smaller than it; C by `channels`.

    Returns:
        (N, C + channels, H, W). Sample n belongs to group n mod (N / G).
    """
    N, C, H, W = x.shape
    G = N if group_size is None else min(group_size, N)
    if N % G:
        raise ValueError(f"a batch of {N} cannot be split into groups of {G}")
    y = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    y = y.reshape(G, N // G, channels, C // channels, H, W)
    deviation = (y.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(2, 3, 4))  # (N / G, channels)
    maps = deviation[:, :, None, None].to(x.dtype).repeat(G, 1, H, W)
    return torch.cat([x, maps], dim=1)


def _read_rgb(block: nn.Module, x: Tensor | None, image: Tensor) -> Tensor:
    """Add what the block's `fromrgb` sees in the picture, where it has one."""
    fromrgb = getattr(block, "fromrgb", None)
    if fromrgb is None:
        assert x is not None
        return x
    y = fromrgb(image)
    return y if x is None else x + y
