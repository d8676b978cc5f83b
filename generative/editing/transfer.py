"""Transfer of a difference: w + t (w_b - w_a), such as the expression by which b differs from a
("Image2StyleGAN", Abdal, Qin & Wonka, 2019, section 5.3).
"""

import torch
from torch import Tensor


def transfer(latents: Tensor, begin: Tensor, end: Tensor, chosen: Tensor, strength: float = 1.0) -> Tensor:
    """latents: (N, ...); begin, end: (N, ...), or (1, ...) for all; chosen: bool, as in `mix`."""
    return torch.where(chosen, latents + strength * (end - begin), latents)
