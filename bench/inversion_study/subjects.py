"""The model under study, unseen portraits with their exact factors, and the scores of what is painted.

Axis letters: N pictures, C H W of a picture, F factors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from generative.cards import read_card
from generative.editing.direction import Direction
from generative.editing.files import load_directions
from generative.generator import StyleGenerator
from generative.inversion.codes import CodeBook
from generative.inversion.encoding import Encoder
from generative.losses import PerceptualDistance
from generative.metrics.reconstruction import psnr_db
from generative.networks.feature_network import FeatureNetwork, Readout
from generative.pixels import from_uint8, to_uint8
from generative.store import ENCODER, load_encoder, load_model, load_statistics
from generative.worlds import portraits
from workers.models import Encoding

SEED = 20_260_101  # of the portraits; data sets for training have seeds above 1,000,003 times theirs
LIMIT = 64  # portraits that are drawn; studies take the first of them
SMILE = "smile"

Row = dict[str, float]  # what was measured of one picture


@dataclass(frozen=True, eq=False)
class Model:
    """A model folder with a feature network, on a device."""

    folder: Path
    generator: StyleGenerator
    distance: PerceptualDistance
    codes: CodeBook
    smile: Direction
    encode: Encoding | None

    @classmethod
    def load(cls, folder: Path, device: str) -> "Model":
        generator = cast(StyleGenerator, load_model(folder)[0].to(device))
        distance = PerceptualDistance(FeatureNetwork.load(folder)).to(device)
        codes = CodeBook(generator, load_statistics(folder))
        encode = None
        if read_card(folder).encoder:
            encoder = cast(Encoder, load_encoder(folder).to(device))
            encode = Encoding(encoder, generator)
        return cls(folder, generator, distance, codes, load_directions(folder)[SMILE], encode)

    @property
    def device(self) -> torch.device:
        return next(self.generator.parameters()).device

    @cached_property
    def encoder_digest(self) -> str | None:
        """Results of methods that begin at the encoder are those of this encoder."""
        return None if self.encode is None else sha256((self.folder / ENCODER).read_bytes()).hexdigest()


@dataclass(frozen=True)
class Portraits:
    """Renders (N, 3, H, W) as their PNG files have them, and their factors (N, F)."""

    images: Tensor
    factors: Tensor

    @classmethod
    def draw(cls, first: int, count: int, size: int, seed: int = SEED) -> "Portraits":
        """Some of the `LIMIT` of a seed; each is the same in any selection."""
        drawn = portraits.sample(LIMIT, torch.Generator().manual_seed(seed))
        factors = drawn[first : first + count]
        return cls(as_file(portraits.render(factors, size).image), factors)


def as_file(images: Tensor) -> Tensor:
    """(N, C, H, W), rounded to bytes and read back."""
    return from_uint8(to_uint8(images)).to(images.device)


@torch.no_grad()
def scores(model: Model, truth: Portraits, painted: Tensor) -> list[Row]:
    """Of each picture painted (N, 3, H, W), against the truth: PSNR, perceptual distance, errors of what the
    network reads in it.
    """
    painted, images = as_file(painted.cpu()), truth.images
    pixels = psnr_db(images, painted).clamp(max=99)
    perceptual = model.distance(painted.to(model.device), images.to(model.device))
    read = readings(model, painted)
    columns = {"psnr_db": pixels, "perceptual": perceptual, **factor_errors(model, read, truth.factors)}
    return rows(columns)


@torch.no_grad()
def readings(model: Model, images: Tensor) -> dict[str, Tensor]:
    """Factors (N,) by name, on the CPU."""
    found = model.distance.features.factors(images.to(model.device))
    return {name: value.cpu() for name, value in found.items()}


def factor_errors(model: Model, read: Mapping[str, Tensor], factors: Tensor) -> dict[str, Tensor]:
    """(N,) each: mean error of the continuous factors in their deviations, and the share of the binary and
    categorical ones that are read wrongly.
    """
    true, kinds = portraits.columns(factors), model.distance.features.record.readouts
    far = [(read[r.name] - true[r.name]).abs() / r.std for r in kinds if r.kind == "continuous"]
    wrong = [(read[r.name].round() != true[r.name]).float() for r in kinds if r.kind != "continuous"]
    return {"factor_error": torch.stack(far).mean(dim=0), "class_error": torch.stack(wrong).mean(dim=0)}


def movements(model: Model, before: Tensor, after: Tensor) -> dict[str, Tensor]:
    """What an edit of the smile does to pictures (N, 3, H, W), in deviations of each factor: (N,) how far the
    smile moved, and how far the other continuous factors did on average.
    """
    a, b = (readings(model, as_file(x.cpu())) for x in (before, after))
    moved = {r.name: (b[r.name] - a[r.name]) / r.std for r in _continuous(model)}
    others = torch.stack([m.abs() for name, m in moved.items() if name != SMILE])
    return {"smile_moved": moved[SMILE], "others_moved": others.mean(dim=0)}


def _continuous(model: Model) -> list[Readout]:
    return [r for r in model.distance.features.record.readouts if r.kind == "continuous"]


def rows(columns: Mapping[str, Tensor]) -> list[Row]:
    """(N,) by name -> one record for each picture."""
    names, values = list(columns), torch.stack([c.detach().double().cpu() for c in columns.values()], dim=1)
    return [dict(zip(names, row, strict=True)) for row in values.tolist()]
