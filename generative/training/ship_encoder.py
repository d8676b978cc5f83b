"""A trained encoder into the folder of its model: weights, what was measured, and pictures.

Measured on renders and samples that no training has seen, beside two others: the mean face, which is what an
encoder must beat, and the projector, which takes hundreds of steps where the encoder takes one.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import save
from torch import Tensor, nn

from generative.cards import Card, read_card, write_card
from generative.families import describe, network_name
from generative.generator import StyleGenerator
from generative.inversion.codes import w_code
from generative.inversion.search import Search, SearchOptions
from generative.losses import PerceptualDistance
from generative.metrics.reconstruction import Fidelity, fidelity
from generative.program import run
from generative.spaces import Space, broadcast
from generative.statistics import WStatistics
from generative.store import ENCODER, load_encoder
from generative.training.atomic import write_text
from generative.training.encoder import StyleModel
from generative.training.encoder_journal import COLUMNS, strip
from generative.training.grid import write_png
from generative.worlds import portraits

RECORD, PICTURE = "encoder.json", "encoder.png"
COUNT, SEED = 64, 20_240_317  # unseen pictures of each kind, and where they are drawn from
PROJECTED, STEPS = 8, 200  # how many of them are projected, and how long
TIMED = 20


class EncoderRecord(BaseModel):
    """Everything in `encoder.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    training: dict[str, Any]  # settings, and pictures of all steps as `images`
    pictures: int  # of each kind that is scored
    scores: dict[str, dict[str, Fidelity]]  # of `renders` and `samples`, by what painted them again
    latent_error: float  # squared, of the ws of samples, in variances of each coordinate; the mean of w has 1
    ms_per_picture: float  # one at a time, without painting
    license: str = "Apache-2.0"


@dataclass(frozen=True)
class Unseen:
    """Pictures (N, 3, R, R) in [-1, 1] that were not trained on."""

    renders: Tensor
    samples: Tensor
    ws: Tensor  # (N, L, w_dim), of the samples


def ship_encoder(folder: Path, encoder: nn.Module, training: dict[str, Any]) -> Card:
    """Write an encoder into the folder of its model, with its record and pictures."""
    card = save_encoder(folder, encoder)
    record, picture = judge(folder, training)
    write_text(folder / RECORD, record.model_dump_json(indent=1) + "\n")
    write_png(folder / PICTURE, picture, scale=2)
    return card


def save_encoder(folder: Path, encoder: nn.Module) -> Card:
    """Write the weights, as float16, beside those of a model that is complete, and name them in its card."""
    described = describe(network_name(encoder), encoder.config)
    state = {name: value.detach().cpu().half().contiguous() for name, value in encoder.state_dict().items()}
    (folder / ENCODER).write_bytes(save(state, metadata={"config": json.dumps(described)}))
    card = read_card(folder).model_copy(update={"encoder": json.loads(json.dumps(described))})
    write_card(folder, card)
    return card


def judge(folder: Path, training: dict[str, Any]) -> tuple[EncoderRecord, Tensor]:
    """The record of the encoder in a model folder, and a strip of what it does, (3, H, W)."""
    model, encoder = StyleModel.load(folder), load_encoder(folder)
    unseen = draw_unseen(model.generator, COUNT)
    kinds = {"renders": unseen.renders, "samples": unseen.samples}
    record = EncoderRecord(
        training=training,
        pictures=COUNT,
        scores={name: _scores(model, encoder, images) for name, images in kinds.items()},
        latent_error=round(_latent_error(encoder, unseen, model.statistics), 4),
        ms_per_picture=round(_milliseconds(encoder, unseen.renders[:1]), 1),
    )
    shown = torch.cat([images[: 2 * COLUMNS] for images in kinds.values()])
    return record, strip(model.generator, encoder, shown)


@torch.no_grad()
def draw_unseen(generator: StyleGenerator, count: int, seed: int = SEED) -> Unseen:
    rng = torch.Generator().manual_seed(seed)
    renders = portraits.render(portraits.sample(count, rng), generator.img_resolution).image
    z = torch.randn(count, generator.z_dim, generator=rng)
    ws = broadcast(generator.map(z), generator.num_ws)
    return Unseen(renders, generator.synthesize(ws).clamp(-1, 1), ws)


def _scores(model: StyleModel, encoder: nn.Module, images: Tensor) -> dict[str, Fidelity]:
    generator, statistics, distance = model.generator, model.statistics, PerceptualDistance(model.features)
    few = images[:PROJECTED]
    projector = Search(generator, w_code(generator, statistics, Space.W_PLUS), distance)
    course = run(projector, projector.problems(few, SearchOptions(steps=STEPS)))
    with torch.no_grad():
        projected = projector.paint(course.params)
        encoded = generator.synthesize(encoder(images))
        mean = generator.synthesize(broadcast(statistics.mean[None], generator.num_ws)).expand_as(images)
    return {
        "mean face": fidelity(distance, images, mean),
        "encoder": fidelity(distance, images, encoded),
        f"encoder, first {PROJECTED}": fidelity(distance, few, encoded[:PROJECTED]),
        f"projector, {STEPS} steps, first {PROJECTED}": fidelity(distance, few, projected),
    }


@torch.no_grad()
def _latent_error(encoder: nn.Module, unseen: Unseen, statistics: WStatistics) -> float:
    return ((encoder(unseen.samples) - unseen.ws) / statistics.std).square().mean().item()


@torch.no_grad()
def _milliseconds(encoder: nn.Module, image: Tensor) -> float:
    """The shortest of some, because others use the processor too."""
    times = []
    for _ in range(TIMED):
        begin = time.perf_counter()
        encoder(image)
        times.append(time.perf_counter() - begin)
    return 1000 * min(times)
