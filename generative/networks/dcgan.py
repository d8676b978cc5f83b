"""DCGAN generator, from "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks" (Radford et al., 2015), in the form of PyTorch's example.

Agrees with csinva/gan-vae-pretrained-pytorch, whose parameter names it has, and with the DCGAN of
facebookresearch/pytorch_GAN_zoo. A layer is named by its place, as there: `main.0` is the first transposed
convolution, `main.1` its batch normalisation, `main.2` its ReLU, `main.3` the next convolution, ...

Axis letters: N batch, C channels, H W pixels, k kernel.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from generative.generator import Hook
from generative.networks.frozen_batch_norm import FrozenBatchNorm
from generative.networks.limits import MAX_RESOLUTION, check_layers, check_widths
from generative.networks.z_only import ZOnlyGenerator


@dataclass(frozen=True)
class DCGANConfig:
    """`channels` of the hidden layers: the first at 4x4 pixels, each next at twice the size.

    The last layer doubles the size once more (`last_kernel` 4) or keeps it (1). `crop` pixels are cut off
    each side, which csinva's net for MNIST does (32 to 28 pixels) by the padding of its last layer.
    """

    z_dim: int
    channels: tuple[int, ...]
    img_channels: int = 3
    last_kernel: Literal[1, 4] = 4
    crop: int = 0
    tanh: bool = True

    def __post_init__(self) -> None:
        check_layers(len(self.channels))
        check_widths(z_dim=self.z_dim, img_channels=self.img_channels)
        check_widths(**{f"channels of layer {i}": c for i, c in enumerate(self.channels)})
        if self.crop not in (0, 2) or (self.crop and self.last_kernel != 1):
            raise ValueError("only a last layer of 1x1 crops, by 2 pixels")
        if self.img_resolution > MAX_RESOLUTION:
            raise ValueError(f"resolution must be at most {MAX_RESOLUTION}, got {self.img_resolution}")

    @property
    def img_resolution(self) -> int:
        side = 2 << len(self.channels)
        return (side if self.last_kernel == 1 else 2 * side) - 2 * self.crop


class Generator(ZOnlyGenerator):
    """z -> picture, through transposed convolutions."""

    family = "dcgan"

    def __init__(self, config: DCGANConfig) -> None:
        super().__init__()
        self.config: DCGANConfig = config
        self.z_dim, self.c_dim = config.z_dim, 0
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        modules: list[nn.Module] = []
        inputs = config.z_dim
        for i, outputs in enumerate(config.channels):
            conv = nn.ConvTranspose2d(inputs, outputs, 4, bias=False) if i == 0 else _double(inputs, outputs)
            modules += [conv, FrozenBatchNorm(outputs), nn.ReLU()]
            inputs = outputs
        if config.last_kernel == 4:
            modules.append(_double(inputs, config.img_channels))
        else:
            modules.append(
                nn.ConvTranspose2d(inputs, config.img_channels, 1, padding=config.crop, bias=False)
            )
        if config.tanh:
            modules.append(nn.Tanh())
        self.main = nn.Sequential(*modules)

    def paint(self, z: Tensor, lod: float | None, hook: Hook) -> Tensor:
        x = z[:, :, None, None]  # (N, z_dim, 1, 1), one pixel that the first layer spreads over 4x4
        for name, module in self.main.named_children():
            x = hook(f"main.{name}", module(x))
        return x


def _double(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """(N, I, H, W) -> (N, O, 2H, 2W)."""
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
