"""What a child keeps of the generator that it is fine-tuned from, so that layers of both can be exchanged:
"Fine-Tuning StyleGAN2 For Cartoon Face Generation" (Back, 2021), whose code is Cartoon-StyleGAN.

FreezeSG: the style vectors and the coarse layers of the generator stay as they are. Structure loss: the
pictures of low resolution, which the coarse blocks paint, stay near to the parent's.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generative.generator import Hook, up_to
from generative.networks.stylegan2 import Generator


def frozen(generator: Generator, below: int) -> list[nn.Parameter]:
    """The parameters that FreezeSG keeps: of the mapping, and of all blocks of a resolution below."""
    kept: list[nn.Module] = [generator.mapping]
    kept += [generator.synthesis.block(r) for r in generator.config.resolutions if r < below]
    return [parameter for module in kept for parameter in module.parameters()]


def low_pictures(generator: Generator, ws: Tensor, below: int) -> list[Tensor]:
    """The running pictures (N, C, R, R) of every resolution R below, without noise, computed no further."""
    names = [f"b{resolution}.img" for resolution in generator.config.resolutions if resolution < below]
    seen: list[Tensor] = []

    def painted(hook: Hook) -> Tensor:
        def keep(name: str, value: Tensor) -> Tensor:
            if name in names:
                seen.append(value)
            return hook(name, value)

        return generator.synthesize(ws, "none", hook=keep)

    up_to(names[-1], painted)
    return seen


def structure_loss(generator: Generator, source: Generator, ws: Tensor, below: int) -> Tensor:
    """(): mean squared errors of the pictures of low resolution to those of `source`, added up.

    ws: (N, L, D).
    """
    with torch.no_grad():
        wanted = low_pictures(source, ws, below)
    found = low_pictures(generator, ws, below)
    return torch.stack([F.mse_loss(a, b) for a, b in zip(found, wanted, strict=True)]).sum()
