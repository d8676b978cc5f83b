"""The encoder of "Designing an Encoder for StyleGAN Image Manipulation" (e4e, Tov et al., 2021): as that of
pSp, but the first layer's network predicts one w for all layers, and the others what their layers add to it.

Numbers are those of omertov/encoder4editing (`Encoder4Editing`) and of the same scheme in
yuval-alaluf/restyle-encoder (`ProgressiveBackboneEncoder`, `ResNetProgressiveBackboneEncoder`).

Axis letters: N batch, H W pixels.
"""

import torch
from torch import Tensor

from generative.networks import psp_encoder


class Encoder(psp_encoder.Encoder):
    """Picture -> W+, near to W."""

    def forward(self, images: Tensor, start: Tensor | None = None, stage: int | None = None) -> Tensor:
        """As pSp's.

        Args:
            stage: how many layers after the first add something of their own, None for all. Training goes
                through the stages; 0 is an encoder to W.
        """
        first, added = self.predictions(images).split([1, self.num_ws - 1], dim=1)
        if stage is not None:
            added = torch.cat([added[:, :stage], torch.zeros_like(added[:, stage:])], dim=1)
        ws = torch.cat([first, first + added], dim=1)
        return ws + (self.latent_avg if start is None else start)
