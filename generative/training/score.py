"""How far a generator's pictures are from pictures it never saw, beside what to compare that with."""

from pathlib import Path

import torch
from torch import Tensor

from generative.metrics.frechet import frechet_distance
from generative.networks.feature_network import FeatureNetwork
from generative.networks.stylegan2 import Generator
from generative.pixels import from_uint8, to_uint8
from generative.training.config import TrainingConfig
from generative.training.dataset import Portraits

BATCH = 100


class Reference:
    """Features of the held-out pictures of a data set; distances are to them."""

    def __init__(self, network: FeatureNetwork, portraits: Portraits) -> None:
        if not portraits.held_out:
            raise ValueError("a score needs held-out pictures")
        self.network, self.portraits = network, portraits
        self.count = portraits.held_out
        self.features = self._embed([images for images, _ in portraits.held_out_batches(BATCH)])

    def distance(self, generator: Generator, seed: int = 0, psi: float = 1.0) -> float:
        """Fréchet distance of as many samples, drawn from `seed`."""
        return frechet_distance(self._embed(samples(generator, self.count, seed, psi)), self.features)

    def floor(self) -> float:
        """Distance of other renders: what a perfect generator would get."""
        rows = torch.arange(self.count, self.count + min(self.count, len(self.portraits)))
        batches = [self.portraits.rows(some)[0] for some in rows.split(BATCH)]
        return frechet_distance(self._embed(batches), self.features)

    def noisy(self, seed: int = 0) -> float:
        """Distance of the same renders with Gaussian noise of 5 % of the range."""
        rng = torch.Generator().manual_seed(seed)
        batches = [
            x + 0.1 * torch.randn(x.shape, generator=rng) for x, _ in self.portraits.held_out_batches(BATCH)
        ]
        return frechet_distance(self._embed(batches), self.features)

    @torch.no_grad()
    def _embed(self, batches: list[Tensor]) -> Tensor:
        """Pictures (n, 3, H, W) -> (N, D); as in a file: rounded to 8 bits."""
        return torch.cat([self.network.embed(from_uint8(to_uint8(x))) for x in batches])


@torch.no_grad()
def samples(generator: Generator, count: int, seed: int = 0, psi: float = 1.0) -> list[Tensor]:
    """`count` pictures in batches, from one stream of random numbers."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(count, generator.z_dim, generator=rng)
    return [generator(batch, psi=psi) for batch in z.split(BATCH)]


def load_average(checkpoint: Path) -> Generator:
    """The averaged generator of a run folder's checkpoint, in evaluation mode."""
    config = TrainingConfig.model_validate_json((checkpoint.parent / "config.json").read_text())
    generator = Generator(config.generator(Portraits(config.dataset).resolution))
    generator.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["average"])
    return generator.eval().requires_grad_(False)
