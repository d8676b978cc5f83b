"""Which z belongs to which picture, learnt without labels: the encoder of a variational autoencoder.

"Auto-Encoding Variational Bayes" (Kingma & Welling, 2014), beside an adversary as in "Autoencoding beyond
Pixels" (Larsen et al., 2016). For a picture it tells a normal distribution of z; drawn from there, z shall
paint the picture again, and all the distributions together shall look like the prior, so that every kind of
picture has its place among the z that a generator is sampled with. It reads the last map of the frozen
feature network, so it is small; it is thrown away after training.
"""

import torch
from torch import Tensor, nn

from generative.networks.feature_network import FeatureRecord


class Posterior(nn.Module):
    """Last feature map to mean and logarithm of the variance of z."""

    def __init__(self, record: FeatureRecord, z_dim: int, hidden: int = 256) -> None:
        super().__init__()
        inputs = record.channels[-1] * (record.resolution >> len(record.channels)) ** 2
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 2 * z_dim)
        )

    def forward(self, last: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) -> mean and log variance, (N, z_dim) each."""
        mean, log_variance = self.layers(last.flatten(1)).float().chunk(2, dim=1)
        return mean, log_variance


def draw(mean: Tensor, log_variance: Tensor, rng: torch.Generator) -> Tensor:
    """One z for each row; `rng` is a CPU generator."""
    return mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=rng).to(mean.device)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Of each row's distribution from the standard normal one, Kullback-Leibler, in nats: (N,)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)
