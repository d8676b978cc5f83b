"""CLIP's image encoder: the vision transformer of "Learning Transferable Visual Models From Natural Language
Supervision" (Radford et al., 2021), without any weights.

Names of parameters are those of OpenAI's release (`visual.conv1.weight`, ...), without the prefix. Sizes are
read from the weights: ViT-B/32 and B/16 have width 768, 12 layers, 12 heads and 512 features; heads have 64
channels in all releases. The activation is the release's x sigmoid(1.702 x), not GELU.

Axis letters: N batch, T tokens, D width, H W pixels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of pixels in [0, 1]
HEAD = 64
PREFIX = "visual."


@dataclass(frozen=True)
class ClipImageConfig:
    """Sizes; those of ViT-B/32 by default."""

    side: int = 224
    patch: int = 32
    width: int = 768
    layers: int = 12
    features: int = 512

    @property
    def tokens(self) -> int:
        return (self.side // self.patch) ** 2 + 1


class Block(nn.Module):
    """Attention, then two layers on each token; both added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, width // HEAD, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", QuickGelu())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class QuickGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class ClipImageEncoder(nn.Module):
    """Pictures to features; those of pictures that mean the same point the same way."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: ClipImageConfig) -> None:
        super().__init__()
        D = config.width
        self.config = config
        self.class_embedding = nn.Parameter(torch.zeros(D))
        self.positional_embedding = nn.Parameter(torch.zeros(config.tokens, D))
        self.proj = nn.Parameter(torch.zeros(D, config.features))
        self.conv1 = nn.Conv2d(3, D, config.patch, config.patch, bias=False)
        self.ln_pre = nn.LayerNorm(D)
        self.transformer = nn.ModuleDict(
            {"resblocks": nn.Sequential(*(Block(D) for _ in range(config.layers)))}
        )
        self.ln_post = nn.LayerNorm(D)
        for name, value in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(value).reshape(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """images: (N, 3, H, W) in [-1, 1], square, any size -> (N, features), not normalised."""
        pixels = ((resized(images, self.config.side) + 1) / 2 - self.mean) / self.std
        x = self.conv1(pixels).flatten(2).transpose(1, 2)  # (N, T - 1, D), row by row
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1) + self.positional_embedding
        x = self.transformer["resblocks"](self.ln_pre(x))
        return self.ln_post(x[:, 0]) @ self.proj


def resized(images: Tensor, side: int) -> Tensor:
    """Bicubic, with antialiasing where it shrinks; the released code rounds to bytes here, and so do we."""
    if images.shape[-2:] == (side, side):
        return images
    larger = F.interpolate(images, (side, side), mode="bicubic", antialias=True, align_corners=False)
    return ((larger.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def clip_image_encoder_from(state: Mapping[str, Tensor]) -> ClipImageEncoder:
    """The image encoder out of a state dict of the whole model (or of nothing else), frozen.

    Raises:
        ValueError: for another kind of CLIP (its convolutional ones).
        RuntimeError: torch's, which names what is missing, unknown, or of another shape.
    """
    visual = {n.removeprefix(PREFIX): t for n, t in state.items() if n.startswith(PREFIX)} or dict(state)
    network = ClipImageEncoder(_config_of(visual))
    network.load_state_dict(visual)
    return network.eval().requires_grad_(False)


def _config_of(visual: Mapping[str, Tensor]) -> ClipImageConfig:
    wanted = {"conv1.weight": 4, "positional_embedding": 2, "proj": 2}
    if any(name not in visual or visual[name].ndim != ndim for name, ndim in wanted.items()):
        raise ValueError("not the weights of a CLIP vision transformer in OpenAI's layout")
    width, patch = visual["conv1.weight"].shape[0], visual["conv1.weight"].shape[2]
    edge = math.isqrt(len(visual["positional_embedding"]) - 1)
    layers = {name.split(".")[2] for name in visual if name.startswith("transformer.resblocks.")}
    return ClipImageConfig(edge * patch, patch, width, len(layers), visual["proj"].shape[1])
