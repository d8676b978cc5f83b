"""swap_layers and structure: generators from the layers of two.

A hybrid stays in memory for the jobs that follow, for the engine's first block of a new generator is slow.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from generative.editing.swapping import swapped
from generative.generator import StyleGenerator
from generative.networks import stylegan2
from generative.spaces import Space
from jobs.editing import StructureOperation, SwapLayersOperation
from jobs.errors import UnsupportedByModel
from workers.latents import Latents
from workers.models import LoadedModel
from workers.work.edits.bench import Bench
from workers.work.edits.draft import Draft
from workers.work.sources import Painter, to_ws, untuned, with_w

KEPT = 8  # hybrids in memory
Recipe = tuple[str, ...]  # of which weights, and how


@dataclass(frozen=True, eq=False)
class Hybrid:
    generator: StyleGenerator
    recipe: Recipe


class Hybrids:
    """Those made last. May be used by several threads."""

    def __init__(self) -> None:
        self._made: OrderedDict[Recipe, Hybrid] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, base: Painter, other: LoadedModel, layers: Sequence[int], strength: float) -> Hybrid:
        """Raises UnsupportedByModel for generators of different architectures."""
        own = base.recipe if isinstance(base, Hybrid) else (getattr(base, "sha256", ""),)
        recipe = (*own, other.sha256, ",".join(map(str, layers)), repr(strength))
        with self._lock:
            if recipe not in self._made:
                self._made[recipe] = Hybrid(_made(base, other, layers, strength), recipe)
            self._made.move_to_end(recipe)
            while len(self._made) > KEPT:
                self._made.popitem(last=False)
            return self._made[recipe]


HYBRIDS = Hybrids()


def _made(base: Painter, other: LoadedModel, layers: Sequence[int], strength: float) -> stylegan2.Generator:
    if not isinstance(base.generator, stylegan2.Generator) or not isinstance(
        other.generator, stylegan2.Generator
    ):
        raise UnsupportedByModel("only layers of the family stylegan2 can be exchanged")
    try:
        return swapped(base.generator, other.generator, layers, strength)
    except ValueError as error:
        raise UnsupportedByModel(str(error)) from error


def act_swap_layers(bench: Bench, draft: Draft, wanted: SwapLayersOperation) -> Draft:
    untuned(bench.before, "swap_layers")
    layers = bench.layers(wanted.layers) or ()
    other = bench.other_model(wanted.model)
    return replace(draft, painter=HYBRIDS.get(draft.painter, other, layers, wanted.strength))


def act_structure(bench: Bench, draft: Draft, wanted: StructureOperation) -> Draft:
    """The layers that do not stay get the other's weights, and for latents in Z the other's w."""
    untuned(bench.before, "structure")
    other, stay = bench.other_model(wanted.model), bench.layers(wanted.layers) or ()
    change = [layer for layer in range(with_w(bench.model.generator).num_ws) if layer not in stay]

    def mapped(latents: Latents) -> Latents:
        if latents.space is not Space.Z:
            return latents
        ws = bench.ws(latents).clone()
        theirs = to_ws(bench.job, other, latents, bench.truncation)
        ws[:, change] = torch.lerp(ws[:, change], theirs[:, change], wanted.strength)
        return replace(latents, space=Space.W_PLUS, rows=ws)

    hybrid = HYBRIDS.get(draft.painter, other, change, wanted.strength)
    return replace(draft.moved(mapped), painter=hybrid)
