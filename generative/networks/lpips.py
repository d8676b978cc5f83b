"""LPIPS: the learned distance of "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric"
(Zhang et al., 2018), version 0.1, on VGG16 or AlexNet.

Agrees with the `lpips` package of richzhang/PerceptualSimilarity. No weights come with the project: those of
the network are torchvision's state dict, those of the channels of its five maps the package's `vgg.pth` or
`alex.pth`.

Axis letters: N batch, C channels, H W pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from generative.networks import vgg16

Kind = Literal["vgg", "alex"]
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of pixels in [-1, 1]
SEEN = {"vgg": (3, 8, 15, 22, 29), "alex": (1, 4, 7, 9, 11)}  # modules whose outputs are compared: five ReLUs
CHANNELS = {"vgg": (64, 128, 256, 512, 512), "alex": (64, 192, 384, 256, 256)}  # of these


def alexnet() -> nn.Sequential:
    """The convolutions of AlexNet (Krizhevsky, 2014), numbered as torchvision does."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    )


class LPIPS(nn.Module):
    """Squared differences of unit features, weighted by channel, averaged over places, added up over five
    maps.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.seen = SEEN[kind]
        self.features = vgg16.features()[:30] if kind == "vgg" else alexnet()
        self.lins = nn.ModuleList(nn.Conv2d(C, 1, 1, bias=False) for C in CHANNELS[kind])
        for name, value in (("shift", SHIFT), ("scale", SCALE)):
            self.register_buffer(name, torch.tensor(value)[:, None, None], persistent=False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """a, b: (N, 3, H, W) in [-1, 1] -> (N,)."""
        return self.compare(self.describe(a), self.describe(b))

    def describe(self, images: Tensor) -> list[Tensor]:
        """images: (N, 3, H, W) in [-1, 1] -> five maps (N, C, h, w) of unit features."""
        x, maps = (images - self.shift) / self.scale, []
        for i, module in enumerate(self.features.children()):
            x = module(x)
            if i in self.seen:
                maps.append(unit(x))
        return maps

    def compare(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        """Two descriptions -> (N,)."""
        maps = zip(self.lins, a, b, strict=True)
        return torch.stack([lin((x - y).square()).mean(dim=(1, 2, 3)) for lin, x, y in maps]).sum(dim=0)


def unit(x: Tensor) -> Tensor:
    """(N, C, h, w), each feature vector at unit length, or shorter where it is almost nothing."""
    # The root has no gradient at 0; what is below the limit vanishes beside the 1e-10
    length = x.square().sum(dim=1, keepdim=True).clamp(min=1e-30).sqrt()
    return x / (length + 1e-10)


def lpips_from(network: Mapping[str, Tensor], lins: Mapping[str, Tensor]) -> LPIPS:
    """The distance with these weights, frozen.

    Args:
        network: torchvision's state dict of VGG16 or AlexNet; its fully connected layers may lack.
        lins: what the package keeps in `vgg.pth` or `alex.pth`: `lin0.model.1.weight`, ...

    Raises:
        ValueError: neither of the two networks.
        RuntimeError: torch's, which names what is missing, unknown, or of another shape.
    """
    first = network.get("features.0.weight")
    kinds: dict[tuple[int, ...], Kind] = {(64, 3, 3, 3): "vgg", (64, 3, 11, 11): "alex"}
    kind = kinds.get(tuple(first.shape)) if first is not None else None
    if kind is None:
        raise ValueError("not the weights of VGG16 or AlexNet under torchvision's names")
    theirs = {f"lin{i}.model.1.weight": f"lins.{i}.weight" for i in range(5)}
    distance = LPIPS(kind)
    distance.load_state_dict(
        {name: t for name, t in network.items() if not name.startswith("classifier.")}
        | {theirs.get(name, name): t for name, t in lins.items()}
    )
    return distance.eval().requires_grad_(False)
