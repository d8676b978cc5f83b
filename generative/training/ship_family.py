"""From the run folder of another family to a model folder: the averaged networks, a card, pictures."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from generative.cards import About, Card
from generative.generator import Generator, sample_z
from generative.losses import PerceptualDistance
from generative.metrics.evaluation import Plan, evaluate
from generative.metrics.examiner import Examiner, plain_run
from generative.metrics.extractors import ShippedFeatures
from generative.metrics.pictures import Renders
from generative.networks import eigengan
from generative.networks.alae import Generator as ALAE
from generative.networks.alae_encoder import Encoder
from generative.networks.feature_network import FeatureNetwork
from generative.spaces import broadcast
from generative.store import save_model
from generative.training import alae, families, recipes
from generative.training.dataset import Portraits
from generative.training.grid import sample_grid, tile, write_png
from generative.training.running import CHECKPOINT

TRAVERSED, STEPS, REACH = 13, 5, 3.0  # seed of the picture that is changed, columns, standard deviations
NAMES = {"dcgan": "DCGAN", "eigengan": "EigenGAN", "alae": "ALAE"}


def ship_family(folder: Path, out: Path, count: int = 5000) -> Card:
    """Write `out` as a model folder that the service loads.

    Args:
        folder: of a training.
        count: samples, and renders, of the Fréchet distance.
    """
    config = recipes.read_config(folder)
    state = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
    portraits = Portraits(config.dataset, config.held_out)
    generator, encoder = _averages(config, state)
    metrics = _metrics(generator, FeatureNetwork.load(config.features), count)
    about = _about(out.name, config, portraits, state, metrics)
    card = save_model(out, generator, about, half=True, encoder=encoder)
    write_png(out / "samples.png", sample_grid(generator, psi=1.0))
    if isinstance(generator, eigengan.Generator):
        write_png(out / "traversal.png", traversal(generator))
    if isinstance(generator, ALAE) and encoder is not None:
        unseen = portraits.rows(torch.arange(8))[0]
        write_png(out / "reconstruction.png", reconstruction(generator, encoder, unseen), scale=2)
    return card


def _averages(config: recipes.Config, state: dict[str, Any]) -> tuple[Generator, Encoder | None]:
    if isinstance(config, alae.ALAEConfig):
        return alae.averages(config, state)
    return families.average(config, state), None


@torch.no_grad()
def traversal(generator: eigengan.Generator) -> Tensor:
    """(3, rows * H, STEPS * W): a row for each number of each level's z, coarse to fine, from -3 to 3."""
    levels = [part for name, part in generator.z_slices.items() if name != "noise"]
    numbers = range(levels[0].start, levels[-1].stop)
    z = sample_z([TRAVERSED], generator).repeat(len(numbers), STEPS, 1)  # (rows, STEPS, z_dim)
    for row, number in enumerate(numbers):
        z[row, :, number] = torch.linspace(-REACH, REACH, STEPS)
    return tile(torch.cat([generator(some) for some in z]), STEPS)


@torch.no_grad()
def reconstruction(generator: ALAE, encoder: Encoder, images: Tensor) -> Tensor:
    """images: (N, 3, H, W) -> (3, 2 * R, N * R), at the generator's R, above what it paints of them."""
    images = alae.shrink(images, generator)
    painted = generator.synthesize(broadcast(encoder(images), generator.num_ws))
    return tile(torch.cat([images, painted]), len(images))


def _metrics(generator: Generator, network: FeatureNetwork, count: int) -> dict[str, float]:
    """As `python -m generative.metrics` measures it, with its two controls."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    examiner = Examiner(generator, ShippedFeatures(network), network, PerceptualDistance(network))
    reference = Renders(count, generator.img_resolution, 0)
    report = evaluate(examiner, Plan(("fid", "pr"), count), reference, plain_run(examiner)).report
    samples, renders, noisy = report.sets
    found = {
        "frechet": samples.fid,
        "frechet_of_renders": renders.fid,
        "frechet_of_renders_with_noise": noisy.fid,
        "precision": samples.precision,
        "recall": samples.recall,
    }
    return {name: round(value, 4) for name, value in found.items() if value is not None}


def _about(
    name: str, config: recipes.Config, portraits: Portraits, state: dict[str, Any], metrics: dict[str, float]
) -> About:
    kept = ("batch", "generator_lr", "discriminator_lr", "warm_images", "pairing", "divergence")
    settings = config.model_dump(include=set(kept))
    return About(
        name=name,
        licence="Apache-2.0",
        source=f"trained by the project on pictures that it rendered: python -m generative.training family"
        f" --name {config.network}",
        description=f"Toy portraits by a small {NAMES[config.network]}.",
        images_seen=state["images"],
        training={
            "world": portraits.record.world,
            "pictures": len(portraits),
            "processor_s": round(state["processor_s"]),
            **settings,
            "precision": "bfloat16" if config.bfloat16 else "float32",
        },
        metrics=metrics,
    )
