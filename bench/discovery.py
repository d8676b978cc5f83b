"""How long directions take on a CPU that are found without pictures: SeFa on a generator of 1024 pixels, and
GANSpace from 100,000 samples of its W; each beside a plain way to the same, in one run.

Aims: SeFa under 5 s; GANSpace under 60 s of two cores and in less than 1 GB. Weights are random, which
changes nothing about the time.
"""

import argparse
import resource
import time
from collections.abc import Callable, Iterator

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from generative.discovery.ganspace import incremental_pca, pca
from generative.discovery.sefa import sefa_directions, style_weights
from generative.networks.stylegan2 import Generator, StyleGAN2Config

COMPONENTS, BATCH, SMALL = 80, 10_000, 20_000
CONFIG = StyleGAN2Config(img_resolution=1024, z_dim=512, w_dim=512, mapping_layers=8, channel_base=32768)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of processors."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def plain_sefa(weights: list[Tensor]) -> Tensor:
    """The right singular vectors of the scaled rows, without the small Gram matrix."""
    rows = torch.cat(weights).double()
    return torch.linalg.svd(rows / rows.norm(dim=1, keepdim=True), full_matrices=False).Vh


def batches(generator: Generator, samples: int) -> Iterator[Tensor]:
    rng = torch.Generator().manual_seed(0)
    for _ in range(0, samples, BATCH):
        yield generator.map(torch.randn(BATCH, generator.z_dim, generator=rng))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000)
    samples: int = parser.parse_args().samples
    generator = Generator(CONFIG).eval()
    weights = style_weights(generator, range(generator.num_ws))
    table = Table("what", "clock s", "processor s")

    def row(name: str, work: Callable[[], object]) -> float:
        wall, processor = timed(work)
        table.add_row(name, f"{wall:.2f}", f"{processor:.2f}")
        return processor

    sefa = row("SeFa, 1024 px", lambda: sefa_directions(weights, 8))
    plain = row("singular values of all rows", lambda: plain_sefa(weights))
    mapped = row(f"W of {samples:,} samples alone", lambda: sum(len(w) for w in batches(generator, samples)))
    found = row(
        f"GANSpace of {samples:,} samples", lambda: incremental_pca(batches(generator, samples), COMPONENTS)
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    some = torch.cat(list(batches(generator, SMALL)))
    step = row(f"incremental, {SMALL:,}", lambda: incremental_pca(iter(some.split(BATCH)), COMPONENTS))
    whole = row(f"all at once, {SMALL:,}", lambda: pca(some, COMPONENTS))
    console = Console()
    console.print(table)
    console.print(f"SeFa is {plain / sefa:.1f} times as fast as singular values of all rows.")
    console.print(f"Of GANSpace's time {mapped / found:.0%} is the mapping's.")
    console.print(f"Its incremental analysis takes {step / whole:.1f} times that of all samples at once.")
    console.print(f"The peak up to here was {peak:.2f} GiB, of which torch alone takes 0.2.")


if __name__ == "__main__":
    main()
