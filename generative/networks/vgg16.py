"""VGG16 ("Very Deep Convolutional Networks for Large-Scale Image Recognition", Simonyan and Zisserman, 2015)
without its fully connected layers, and the distances between pictures that inversion methods take on it.

Parameter names are torchvision's: `features.0.weight`, ... Two published methods compare its features, each
in its own way: in-domain inversion (genforce/idinvert_pytorch, with weights from Keras, whose file
`vgg16.pth` says `layer0.weight`, ...) and the multi-code prior (genforce/mganprior, with torchvision's
weights). No weights come with the project; `generative.networks.lpips` is a third way.

Axis letters: N batch, C channels, H W pixels.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0: half the size


def features() -> nn.Sequential:
    """The 31 modules, numbered as torchvision does: convolutions, ReLUs, pooling."""
    modules: list[nn.Module] = []
    inputs = 3
    for width in WIDTHS:
        if width:
            modules += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        else:
            modules.append(nn.MaxPool2d(2))
    return nn.Sequential(*modules)


@dataclass(frozen=True)
class Convention:
    """How a method compares pictures."""

    modules: int  # that a picture passes
    prepare: Callable[[Tensor], Tensor]  # (N, 3, H, W) in [-1, 1] -> what the network sees
    distance: Callable[[Tensor, Tensor], Tensor]  # of two features (N, C, h, w), before the mean over C, h, w


def as_keras(images: Tensor) -> Tensor:
    """Blue, green, red from 0 to 255, minus the means of ImageNet."""
    mean = torch.tensor([103.939, 116.779, 123.68], device=images.device, dtype=images.dtype)
    return (images.flip(1) + 1) * 127.5 - mean[:, None, None]


def as_torchvision(images: Tensor) -> Tensor:
    """Red, green, blue from 0 to 1, minus the means of ImageNet and over its deviations."""
    mean, std = torch.tensor(
        [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], device=images.device, dtype=images.dtype
    )
    return ((images + 1) / 2 - mean[:, None, None]) / std[:, None, None]


#: the last convolution of the fourth group, squares; its weight in the sum of losses is 5e-5
IDINVERT = Convention(23, as_keras, lambda a, b: (a - b).square())
#: the last convolution of the third group, absolute values; the official code has the 0.001 within the loss
MGANPRIOR = Convention(16, as_torchvision, lambda a, b: (a - b).abs() * 1e-3)


class FeatureDistance(nn.Module):
    """Mean difference of the features of two pictures."""

    def __init__(self, convention: Convention) -> None:
        super().__init__()
        self.convention = convention
        self.features = features()[: convention.modules]

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """a, b: (N, 3, H, W) in [-1, 1] -> (N,)."""
        return self.compare(self.describe(a), self.describe(b))

    def describe(self, images: Tensor) -> list[Tensor]:
        """images: (N, 3, H, W) in [-1, 1] -> one (N, C, h, w)."""
        return [self.features(self.convention.prepare(images))]

    def compare(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        """Two descriptions -> (N,)."""
        return self.convention.distance(a[0], b[0]).mean(dim=(1, 2, 3))


def feature_distance_from(state: Mapping[str, Tensor], convention: Convention) -> FeatureDistance:
    """The distance on these weights of VGG16, torchvision's or those of in-domain inversion, frozen.

    Raises:
        RuntimeError: torch's, which names what is missing, unknown, or of another shape.
    """
    # `vgg16.pth` of in-domain inversion says `layer0.weight`; what lies above the last module is not needed
    named = {re.sub(r"^layer(?=\d)", "features.", name): value for name, value in state.items()}
    above = tuple(f"features.{i}." for i in range(convention.modules, 31))
    network = FeatureDistance(convention)
    network.load_state_dict({n: t for n, t in named.items() if not n.startswith(("classifier.", *above))})
    return network.eval().requires_grad_(False)
