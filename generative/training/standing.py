"""Batch normalisation in training, and the standing statistics that the served average needs.

While a generator trains, every batch is normalised by its own mean and variance. A served picture must not
depend on its company, so `generative.networks.frozen_batch_norm` uses stored ones. The averaged generator
has weights that no batch was ever normalised for: its statistics are gathered anew, over many samples, as
the standing statistics of BigGAN (Brock et al., 2019) are. Layer after layer, so that each layer's are those
of the features that it meets when all layers before it are served.

Axis letters: N batch, C channels, H W pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.generator import Generator
from generative.networks.frozen_batch_norm import FrozenBatchNorm


class BatchNorm(FrozenBatchNorm):
    """Normalises by the batch that it gets."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> the same shape."""
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)


def unfreeze(module: nn.Module) -> None:
    """Make every frozen normalisation in `module` one of the batch; names of the state stay."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is FrozenBatchNorm:
                living = BatchNorm(len(child.weight), child.eps)
                living.load_state_dict(child.state_dict())
                setattr(parent, name, living)


@torch.no_grad()
def gather(generator: Generator, count: int, seed: int = 0, batch: int = 256) -> None:
    """Give every frozen normalisation of `generator`, in place, the statistics of `count` samples."""
    rng = torch.Generator().manual_seed(seed)
    device = next(generator.parameters()).device
    z = torch.randn(count, generator.z_dim, generator=rng).to(device)
    for norm in [m for m in generator.modules() if isinstance(m, FrozenBatchNorm)]:
        moments = _Moments()
        hook = norm.register_forward_pre_hook(lambda _module, inputs, m=moments: m.add(inputs[0]))
        for some in z.split(batch):
            generator(some)
        hook.remove()
        norm.running_mean.copy_(moments.mean)
        norm.running_var.copy_(moments.variance)


class _Moments:
    """Sums over batches, in float64."""

    def __init__(self) -> None:
        self.count, self.sum, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, x: Tensor) -> None:
        """x: (N, C, H, W)."""
        flat = x.transpose(0, 1).flatten(1).double()  # (C, NHW)
        self.count += flat.shape[1]
        self.sum = self.sum + flat.sum(dim=1)
        self.squares = self.squares + flat.square().sum(dim=1)

    @property
    def mean(self) -> Tensor:
        return self.sum / self.count

    @property
    def variance(self) -> Tensor:
        return self.squares / self.count - self.mean.square()
