"""Units of a layer switched off, or to a value, everywhere or in a part of the picture: the interventions of
"GAN Dissection" (Bau et al., 2019, section 3.2). The formula is `generative.discovery.dissection.edit`.
"""

from torch import Tensor

from generative.discovery.dissection import edit
from generative.editing.regions import mask_at


def switch(activations: Tensor, amount: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """x (1 - a m) + v a m.

    Args:
        activations: (N, U, h, w), a layer's output.
        amount: (N, U) in [0, 1], 0 for the units that stay.
        value: (N, U), what they are switched to.
        mask: (N, 1, R, R) in [0, 1], at the size of the picture; None for everywhere.
    """
    share = amount[:, :, None, None]
    if mask is not None:
        share = share * mask_at(mask, activations.shape[-2:])
    return edit(activations, share, value[:, :, None, None])
