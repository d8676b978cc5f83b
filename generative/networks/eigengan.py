"""EigenGAN generator, from "EigenGAN: Layer-Wise Eigen-Learning for GANs" (He et al., 2021).

Noise makes a 4x4 map. At each level (4, 8, 16, ... pixels) a point of a linear subspace, U diag(L) z + mu, is
added to the features twice, and the level doubles their size. Each number of a level's z is one change of the
picture that can be given a name.

Parameter names are those of bryandlee/eigengan-pytorch, with which it agrees. The official network,
LynnHo/EigenGAN-Tensorflow, differs in where its doubling convolutions are cut: `tensorflow_padding`.

One z holds everything, `[noise | z of level 1 | z of level 2 | ...]`, and is drawn in this order; `z_slices`
names its parts. Layers are `fc`, and for each level, counted from 0 here, the point of its subspace,
`blocks.0.projection`, and its output, `blocks.0`.

Axis letters: N batch, C channels, H W pixels, Q dimensions of a subspace.
"""

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

from generative.generator import Hook
from generative.networks.limits import check_layers, check_resolution, check_widths
from generative.networks.z_only import ZOnlyGenerator


@dataclass(frozen=True)
class EigenGANConfig:
    """`n_basis`: dimensions of each level's subspace. `channels`: of the 4x4 map, then of each level's end.

    `tensorflow_padding`: doubling convolutions keep the first pixel of their full output and drop the last;
    else the other way round.
    """

    noise_dim: int
    n_basis: tuple[int, ...]
    channels: tuple[int, ...]
    img_channels: int = 3
    tensorflow_padding: bool = False

    def __post_init__(self) -> None:
        check_layers(len(self.n_basis))
        check_resolution(self.img_resolution)
        check_widths(noise_dim=self.noise_dim, img_channels=self.img_channels)
        check_widths(**{f"dimensions of level {i + 1}": q for i, q in enumerate(self.n_basis)})
        check_widths(**{f"channels {i}": c for i, c in enumerate(self.channels)})
        if len(self.channels) != len(self.n_basis) + 1:
            raise ValueError(f"{len(self.n_basis)} levels need {len(self.n_basis) + 1} channels")

    @property
    def img_resolution(self) -> int:
        return 4 << len(self.n_basis)


class Subspace(nn.Module):
    """Points of a linear subspace of the features, the heart of the method."""

    def __init__(self, n_basis: int, dim: int) -> None:
        super().__init__()
        self.U = nn.Parameter(torch.randn(n_basis, dim))
        self.L = nn.Parameter(torch.ones(n_basis))
        self.mu = nn.Parameter(torch.zeros(dim))

    def forward(self, z: Tensor) -> Tensor:
        """z: (N, Q) -> (N, dim)."""
        return self.mu + (z * self.L) @ self.U


class DoublingConv(nn.ConvTranspose2d):
    """Transposed 3x3 convolution of stride 2. Its full output is one pixel too large: one end is cut off."""

    def __init__(self, inputs: int, outputs: int, first: int) -> None:
        super().__init__(inputs, outputs, 3, stride=2)
        self.first = first  # pixel of the full output that is kept

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(N, C, H, W) -> (N, C', 2H, 2W)."""
        H, W = x.shape[2:]
        full = super().forward(x, output_size)  # (N, C', 2H + 1, 2W + 1)
        return full[:, :, self.first : self.first + 2 * H, self.first : self.first + 2 * W]


class Level(nn.Module):
    """A subspace, and the convolutions that bring it into the features."""

    def __init__(self, n_basis: int, side: int, inputs: int, outputs: int, first: int) -> None:
        super().__init__()
        self.projection = Subspace(n_basis, inputs * side**2)
        self.subspace_conv1 = nn.Sequential(nn.ConvTranspose2d(inputs, inputs, 1))
        self.subspace_conv2 = nn.Sequential(DoublingConv(inputs, outputs, first))
        self.feature_conv1 = nn.Sequential(nn.LeakyReLU(0.2), DoublingConv(inputs, outputs, first))
        self.feature_conv2 = nn.Sequential(
            nn.LeakyReLU(0.2), nn.ConvTranspose2d(outputs, outputs, 3, padding=1)
        )

    def forward(self, x: Tensor, phi: Tensor) -> Tensor:
        """x: (N, C, H, W) features, phi: (N, C, H, W) point of the subspace -> (N, C', 2H, 2W)."""
        x = self.feature_conv1(x + self.subspace_conv1(phi))
        y: Tensor = self.feature_conv2(x + self.subspace_conv2(phi))
        return y


class Generator(ZOnlyGenerator):
    """z -> picture, level by level."""

    family = "eigengan"
    psi_acts_on = "z"

    def __init__(self, config: EigenGANConfig) -> None:
        super().__init__()
        self.config: EigenGANConfig = config
        self.z_dim, self.c_dim = config.noise_dim + sum(config.n_basis), 0
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        first = 0 if config.tensorflow_padding else 1
        self.fc = nn.Linear(config.noise_dim, 16 * config.channels[0])
        self.blocks = nn.ModuleList(
            Level(n_basis, 4 << i, config.channels[i], config.channels[i + 1], first)
            for i, n_basis in enumerate(config.n_basis)
        )
        self.to_rgb = nn.Sequential(
            nn.Sequential(
                nn.LeakyReLU(0.2), nn.Conv2d(config.channels[-1], config.img_channels, 7, padding=3)
            ),
            nn.Tanh(),
        )

    @property
    def z_slices(self) -> dict[str, slice]:
        """Which numbers of z are the `noise`, and which belong to `level1`, `level2`, ..., coarse to fine."""
        ends = list(accumulate((self.config.noise_dim, *self.config.n_basis)))
        names = ("noise", *(f"level{i + 1}" for i in range(len(self.config.n_basis))))
        return {
            name: slice(start, end) for name, start, end in zip(names, [0, *ends[:-1]], ends, strict=True)
        }

    def truncate(self, z: Tensor, psi: Tensor | float) -> Tensor:
        """Scales all of z by psi; 1 and more change nothing, as in the port.

        The official script does not scale: it draws z again where it is beyond 1.5.
        """
        return z * (psi.to(z).clamp(max=1).reshape(-1, 1) if isinstance(psi, Tensor) else min(psi, 1))

    def paint(self, z: Tensor, lod: float | None, hook: Hook) -> Tensor:
        noise, *zs = (z[:, part] for part in self.z_slices.values())
        x = hook("fc", self.fc(noise).reshape(z.shape[0], -1, 4, 4))
        for i, level_z in enumerate(zs):
            block = self.blocks[i]
            assert isinstance(block, Level)
            phi = hook(f"blocks.{i}.projection", block.projection(level_z).reshape(x.shape))
            x = hook(f"blocks.{i}", block(x, phi))
        image: Tensor = self.to_rgb(x)
        return image
