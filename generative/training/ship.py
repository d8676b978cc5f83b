"""From a run folder to a model folder: the averaged generator with card and pictures, the feature network."""

import copy
from pathlib import Path

import torch

from generative.cards import About, Card
from generative.discovery.factor_regression import factor_set
from generative.editing.files import save_directions
from generative.networks.feature_network import FeatureNetwork
from generative.networks.parts_network import PartsNetwork
from generative.networks.stylegan2 import Generator
from generative.store import save_model
from generative.training.config import TrainingConfig
from generative.training.dataset import DatasetRecord, Portraits
from generative.training.grid import parts_grid, sample_grid, walk, write_png
from generative.training.running import CONFIG
from generative.training.score import Reference, load_average

WALK_SEEDS, WALK_STEPS = (3, 11, 24, 8), 10
VISIBLE = 2 / 127.5  # two of 255 grey values


def ship(run: Path, checkpoint: Path, out: Path) -> Card:
    """Write `out` as a model folder that the service loads, with what was measured in its card.

    Args:
        run: holds `dataset` and `features`, and `parts` if a parts network shall ship too.
        checkpoint: `checkpoint.pt` of a training in the run.
    """
    generator = load_average(checkpoint)
    config = TrainingConfig.model_validate_json((checkpoint.parent / CONFIG).read_text())
    network = FeatureNetwork.load(run / "features")
    portraits = Portraits(config.dataset, config.held_out)
    reference = Reference(network, portraits)
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    seen = state["images"], state["images_before"]
    about = _about(out.name, config, portraits.record, *seen, _metrics(reference, generator))
    card = save_model(out, generator, about, half=not half_shows(generator))
    network.save(out)
    save_directions(out, "factors", "regression", factor_set(generator, network))
    if (run / "parts").exists():
        parts = PartsNetwork.load(run / "parts")
        parts.save(out)
        write_png(out / "parts.png", parts_grid(generator, parts), scale=2)
    write_png(out / "samples.png", sample_grid(generator, rows=8))
    write_png(out / "samples_psi_1.png", sample_grid(generator, psi=1.0, rows=8))
    write_png(out / "interpolation.png", walk(generator, WALK_SEEDS, WALK_STEPS), scale=2)
    return card


@torch.no_grad()
def half_shows(generator: Generator, count: int = 32) -> bool:
    """If weights rounded to float16 change any pixel of `count` pictures visibly."""
    rounded = copy.deepcopy(generator).half().float()
    z = torch.randn(count, generator.z_dim, generator=torch.Generator().manual_seed(0))
    return bool((generator(z).clamp(-1, 1) - rounded(z).clamp(-1, 1)).abs().max() > VISIBLE)


def _metrics(reference: Reference, generator: Generator) -> dict[str, float]:
    """Fréchet distances in the features that ship, and the two controls that give them meaning."""
    return {
        "frechet": round(reference.distance(generator), 4),
        "frechet_psi_0.7": round(reference.distance(generator, psi=0.7), 4),
        "frechet_of_renders": round(reference.floor(), 4),
        "frechet_of_renders_with_noise": round(reference.noisy(), 4),
    }


def _about(
    name: str,
    config: TrainingConfig,
    record: DatasetRecord,
    images: int,
    before: int,
    metrics: dict[str, float],
) -> About:
    return About(
        name=name,
        licence="Apache-2.0",
        source="trained by the project on pictures that it rendered: python -m generative.training --help",
        description="Toy portraits, 64 px: heads with hair, glasses, beards, hats, light and expression.",
        images_seen=images + before,
        training={
            "world": record.world,
            "pictures": record.done - config.held_out,
            "discriminator": config.discriminator,
            "loss": config.loss,
            "batch": config.batch,
            "generator_lr": config.generator_lr,
            "discriminator_lr": config.discriminator_lr,
            "style_mixing": config.mixing,
            "pairing": config.pairing,
            "warm_start_images": before,
            "precision": "bfloat16" if config.bfloat16 else "float32",
        },
        metrics=metrics,
    )
