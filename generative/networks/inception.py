"""The Inception-v3 network whose features published Fréchet Inception distances use, without any weights.

Architecture: "Rethinking the Inception Architecture for Computer Vision" (Szegedy et al., 2016). Names of
parameters are torchvision's, which are also those of the widely used conversion of TensorFlow's 2015 weights
to torch (`pt_inception-2015-12-05`, 1008 classes). Those weights want some departures from torchvision's
network, all kept here: average pooling does not count the padding, the last mixed block pools by maximum, and
pictures are enlarged to 299 pixels without half-pixel smoothing tricks (plain bilinear, no antialiasing).

Axis letters: N batch, C channels, H W pixels.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE, DIMENSION, CLASSES = 299, 2048, 1008
Kernel = int | tuple[int, int]


class Conv(nn.Module):
    """Convolution, batch normalisation with an epsilon of 0.001, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Kernel, stride: int = 1, same: bool = True) -> None:
        """same: pad so that a stride of 1 keeps the size."""
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if same else (0, 0)
        self.conv = nn.Conv2d(inputs, outputs, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Branches(nn.Module):
    """Side by side: chains of convolutions, given by the names that the weights have, and a pooled branch.

    A step that is a tuple of names forks: both are applied to the same input, and joined.
    """

    chains: tuple[tuple[str | tuple[str, str], ...], ...]

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the outputs of all branches, joined along C; the pooled one comes last."""
        return torch.cat([*(self._chain(x, names) for names in self.chains), self.pooled(x)], dim=1)

    def _chain(self, x: Tensor, names: tuple[str | tuple[str, str], ...]) -> Tensor:
        for name in names:
            if isinstance(name, tuple):
                x = torch.cat([self.get_submodule(each)(x) for each in name], dim=1)
            else:
                x = self.get_submodule(name)(x)
        return x

    def pooled(self, x: Tensor) -> Tensor:
        """Means over 3x3 places that do not count the padding, then the 1x1 convolution."""
        return self.get_submodule("branch_pool")(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))


class MixedA(Branches):
    """35x35 places."""

    chains = (
        ("branch1x1",),
        ("branch5x5_1", "branch5x5_2"),
        ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
    )

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(inputs, 64, 1)
        self.branch5x5_1 = Conv(inputs, 48, 1)
        self.branch5x5_2 = Conv(48, 64, 5)
        self.branch3x3dbl_1 = Conv(inputs, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3)
        self.branch3x3dbl_3 = Conv(96, 96, 3)
        self.branch_pool = Conv(inputs, pooled, 1)


class Shrinking(Branches):
    """Halves the size; its pooled branch is a maximum without a convolution."""

    def pooled(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2)


class MixedB(Shrinking):
    """35x35 to 17x17 places."""

    chains = (("branch3x3",), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"))

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = Conv(inputs, 384, 3, 2, same=False)
        self.branch3x3dbl_1 = Conv(inputs, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3)
        self.branch3x3dbl_3 = Conv(96, 96, 3, 2, same=False)


class MixedC(Branches):
    """17x17 places; a 7x7 convolution is a row and a column."""

    chains = (
        ("branch1x1",),
        ("branch7x7_1", "branch7x7_2", "branch7x7_3"),
        ("branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5"),
    )

    def __init__(self, inputs: int, narrow: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(inputs, 192, 1)
        self.branch7x7_1 = Conv(inputs, narrow, 1)
        self.branch7x7_2 = Conv(narrow, narrow, (1, 7))
        self.branch7x7_3 = Conv(narrow, 192, (7, 1))
        self.branch7x7dbl_1 = Conv(inputs, narrow, 1)
        self.branch7x7dbl_2 = Conv(narrow, narrow, (7, 1))
        self.branch7x7dbl_3 = Conv(narrow, narrow, (1, 7))
        self.branch7x7dbl_4 = Conv(narrow, narrow, (7, 1))
        self.branch7x7dbl_5 = Conv(narrow, 192, (1, 7))
        self.branch_pool = Conv(inputs, 192, 1)


class MixedD(Shrinking):
    """17x17 to 8x8 places."""

    chains = (
        ("branch3x3_1", "branch3x3_2"),
        ("branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"),
    )

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = Conv(inputs, 192, 1)
        self.branch3x3_2 = Conv(192, 320, 3, 2, same=False)
        self.branch7x7x3_1 = Conv(inputs, 192, 1)
        self.branch7x7x3_2 = Conv(192, 192, (1, 7))
        self.branch7x7x3_3 = Conv(192, 192, (7, 1))
        self.branch7x7x3_4 = Conv(192, 192, 3, 2, same=False)


class MixedE(Branches):
    """8x8 places."""

    chains = (
        ("branch1x1",),
        ("branch3x3_1", ("branch3x3_2a", "branch3x3_2b")),
        ("branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b")),
    )

    def __init__(self, inputs: int, *, maximum: bool) -> None:
        """maximum: pool by maximum instead of mean, as the last block of the 2015 weights does."""
        super().__init__()
        self.maximum = maximum
        self.branch1x1 = Conv(inputs, 320, 1)
        self.branch3x3_1 = Conv(inputs, 384, 1)
        self.branch3x3_2a = Conv(384, 384, (1, 3))
        self.branch3x3_2b = Conv(384, 384, (3, 1))
        self.branch3x3dbl_1 = Conv(inputs, 448, 1)
        self.branch3x3dbl_2 = Conv(448, 384, 3)
        self.branch3x3dbl_3a = Conv(384, 384, (1, 3))
        self.branch3x3dbl_3b = Conv(384, 384, (3, 1))
        self.branch_pool = Conv(inputs, 192, 1)

    def pooled(self, x: Tensor) -> Tensor:
        if self.maximum:
            return self.branch_pool(F.max_pool2d(x, 3, 1, 1))
        return super().pooled(x)


class InceptionV3(nn.Module):
    """Pictures to 2048 features, the means of the last block's maps."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, 2, same=False)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3, same=False)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3, same=False)
        self.Mixed_5b = MixedA(192, 32)
        self.Mixed_5c = MixedA(256, 64)
        self.Mixed_5d = MixedA(288, 64)
        self.Mixed_6a = MixedB(288)
        self.Mixed_6b = MixedC(768, 128)
        self.Mixed_6c = MixedC(768, 160)
        self.Mixed_6d = MixedC(768, 160)
        self.Mixed_6e = MixedC(768, 192)
        self.Mixed_7a = MixedD(768)
        self.Mixed_7b = MixedE(1280, maximum=False)
        self.Mixed_7c = MixedE(2048, maximum=True)
        self.fc = nn.Linear(DIMENSION, CLASSES)  # unused, but part of the file

    def forward(self, images: Tensor) -> Tensor:
        """images: (N, 3, H, W) in [-1, 1], any size -> (N, 2048)."""
        x = F.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name, block in self.named_children():
            if name.startswith("Mixed_"):
                x = block(x)
        return x.mean(dim=(2, 3))


def inception_from(state: Mapping[str, Tensor]) -> InceptionV3:
    """The network with these weights, frozen, for evaluation.

    Every weight must be used and there; only batch normalisation's counters, which nothing reads, may lack.

    Raises:
        RuntimeError: torch's, which names what is missing, unknown, or of another shape.
    """
    network = InceptionV3()
    counters = {n: t for n, t in network.state_dict().items() if n.endswith("num_batches_tracked")}
    network.load_state_dict(counters | dict(state))
    return network.eval().requires_grad_(False)
