"""The model under study, its samples, and what a network sees in their pictures.

Axis letters: N people, L layers (num_ws), D w_dim, F factors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from generative.discovery.annotation import Look
from generative.generator import StyleGenerator, sample_z
from generative.metrics.extractors import ShippedFeatures
from generative.networks.feature_network import FeatureNetwork, Readout
from generative.pixels import from_uint8, to_uint8
from generative.spaces import broadcast, truncate
from generative.statistics import WStatistics
from generative.store import load_model, load_statistics
from generative.worlds import portraits

PSI, BATCH = 0.7, 64
WORLD = 20_000  # portraits that the spread of binary factors is taken from
FACTORS = ("yaw", "light_azimuth", "skin_tone", "hair_length", "age", "smile", "glasses", "beard")

Codes = Mapping[str, Tensor]  # `ws` (N, L, D), or `styles` (N, channels of all layers)


@dataclass(frozen=True, eq=False)
class Model:
    """A model folder with the network that reads its pictures."""

    generator: StyleGenerator
    reader: FeatureNetwork
    statistics: WStatistics
    spreads: Mapping[str, float]
    """Standard deviations of the binary factors of the world."""

    @classmethod
    def load(cls, folder: Path) -> "Model":
        generator, statistics = cast(StyleGenerator, load_model(folder)[0]), load_statistics(folder)
        assert statistics is not None
        reader = FeatureNetwork.load(folder)
        world = portraits.columns(portraits.sample(WORLD, torch.Generator().manual_seed(0)))
        binary = [r.name for r in reader.record.readouts if r.kind == "binary"]
        return cls(generator, reader, statistics, {name: float(world[name].std()) for name in binary})

    @property
    def readouts(self) -> dict[str, Readout]:
        return {readout.name: readout for readout in self.reader.record.readouts}

    def map(self, z: Tensor) -> Tensor:
        """(N, z_dim) -> ws (N, L, D), truncated to `PSI`."""
        w = truncate(self.generator.map(z), self.generator.w_avg, PSI)
        return broadcast(w, self.generator.num_ws)

    @torch.no_grad()
    def paint(self, codes: Codes) -> Tensor:
        """(N, H, W, 3) uint8."""
        generator, pictures = self.generator, []
        for batch in _batches(codes):
            if "styles" in batch:
                images = generator.synthesize_styles(generator.split_styles(batch["styles"]))
            else:
                images = generator.synthesize(batch["ws"])
            pictures.append(to_uint8(images))
        return torch.cat(pictures)

    @torch.no_grad()
    def look(self, codes: Codes) -> Look:
        """What the network sees in the pictures, as they would be stored."""
        eye, parts = ShippedFeatures(self.reader), []
        for batch in _batches(codes):
            parts.append(eye.embed_and_read(from_uint8(self.paint(batch))))
        features, readings = (torch.cat(column) for column in zip(*parts, strict=True))
        return Look(features, self.reader.decode(readings))


@dataclass(frozen=True, eq=False)
class People:
    """Samples, as they are before any edit."""

    z: Tensor  # (N, z_dim)
    ws: Tensor  # (N, L, D), the same w for every layer
    seen: Look

    @classmethod
    @torch.no_grad()
    def draw(cls, model: Model, seeds: range) -> "People":
        z = sample_z(seeds, model.generator)
        ws = model.map(z)
        return cls(z, ws, model.look({"ws": ws}))

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, rows: Tensor | slice) -> "People":
        readings = {name: values[rows] for name, values in self.seen.readings.items()}
        return People(self.z[rows], self.ws[rows], Look(self.seen.features[rows], readings))

    def without(self, readout: Readout) -> "People":
        """Those whom a binary factor can still be given; all for a factor of another kind."""
        return self[self.seen.readings[readout.name] < 0.5] if readout.kind == "binary" else self


@torch.no_grad()
def mixed(model: Model, people: People, rng: torch.Generator) -> People:
    """People whose layers from a random one on are those of the next person, which W+ is for."""
    N, L, _ = people.ws.shape
    crossing = torch.randint(1, L, (N, 1, 1), generator=rng)
    later = torch.arange(L)[None, :, None] >= crossing
    ws = torch.where(later, people.ws.roll(-1, dims=0), people.ws)
    return replace(people, ws=ws, seen=model.look({"ws": ws}))


def columns(seen: Look, readouts: Mapping[str, Readout]) -> Tensor:
    """(N, F): continuous factors, and the answers to the binary ones as 0 and 1."""
    kept = [name for name, readout in readouts.items() if readout.kind != "categorical"]
    read = [seen.readings[name] for name in kept]
    return torch.stack(
        [r.round() if readouts[name].kind == "binary" else r for name, r in zip(kept, read, strict=True)],
        dim=1,
    )


def _batches(codes: Codes) -> list[Codes]:
    N = len(next(iter(codes.values())))
    return [{name: t[i : i + BATCH] for name, t in codes.items()} for i in range(0, N, BATCH)]
