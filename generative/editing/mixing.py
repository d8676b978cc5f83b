"""Style mixing: some layers of a picture take another's latent ("A Style-Based Generator Architecture",
Karras et al., 2019, section 3.1).
"""

import torch
from torch import Tensor


def mix(latents: Tensor, others: Tensor, chosen: Tensor, strength: float = 1.0) -> Tensor:
    """`chosen` numbers of the others, or a part `strength` of the way to them.

    Args:
        latents: (N, ...).
        others: (N, ...), or (1, ...) for all.
        chosen: bool, over the axes of one latent (`generative.editing.layers.acting`).
    """
    return torch.where(chosen, torch.lerp(latents, others.expand_as(latents), strength), latents)
