"""Ways to edit one factor, by each method: several candidates, of which `measuring.best` takes one.

Methods that look for a factor have one candidate; those that find directions without names have many, in all
layers and in groups of them, and a rescoring on other people tells which of them is for the factor.

Axis letters: N people, L layers, D w_dim, F factors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from bench.editing_study.people import Codes, Model, People, columns
from generative.discovery.annotation import shifted, sigma_of
from generative.discovery.factor_regression import factor_directions
from generative.discovery.ganspace import directions as as_directions
from generative.discovery.ganspace import pca
from generative.discovery.hessian_directions import HessianTraining, learn_axes, slope_of
from generative.discovery.higan import rescore, train_from_scores
from generative.discovery.interfacegan import project_boundary, train_boundary
from generative.discovery.sefa import sefa_directions, style_weights
from generative.discovery.styleflow import Flow, edit
from generative.discovery.styleflow_training import StyleFlowTraining, train_flow
from generative.discovery.stylespace import StyleStatistics, attribute_channels, style_statistics
from generative.editing.direction import Direction
from generative.editing.layers import format_layers
from generative.generator import sample_z
from generative.p_space import from_p, to_p
from generative.spaces import Space
from workers.work.discovery.style_channels import as_directions as channels_as_directions
from workers.work.discovery.style_channels import layers_without_torgb

NAMELESS = 16  # directions of methods that name none, each tried in all layers and in `GROUPS` of them
GROUPS = 3
CHOSEN = 0.05  # share of samples on each side of a boundary
EXAMPLES, CHANNELS = 30, 16  # of StyleSpace
RESCORED = 16  # people whom HiGAN asks for its layers


@dataclass(frozen=True)
class Editor:
    """`move`: people and a number of deviations -> the codes of the edited pictures."""

    words: str  # which of the candidates it is
    move: Callable[[People, float], Codes]

    def backwards(self) -> "Editor":
        return replace(self, move=lambda people, amount: self.move(people, -amount))


Way = tuple[str, str]  # a method and its space
NAMELESS_WAYS: tuple[Way, ...] = (
    ("sefa", "w+"),
    ("ganspace", "w+"),
    ("hessian", "z"),
)  # their candidates are for no factor


class Finder:
    """What the methods share: samples with their factors, and for spaces with a latent for each layer samples
    whose layers are of two people. `ways[method, space](factor)` gives candidates.
    """

    def __init__(self, model: Model, samples: People, mixed: People) -> None:
        self.model, self.samples, self.mixed = model, samples, mixed
        self.ways: Mapping[Way, Callable[[str], list[Editor]]] = {
            ("regression", "w"): self._regression,
            ("regression", "w+"): self._regression_in_layers,
            ("regression", "s"): self._regression_in_styles,
            ("interfacegan", "z"): self._boundary_in_z,
            ("interfacegan", "w"): self._boundary,
            ("interfacegan", "w+"): self._boundary_in_layers,
            ("interfacegan", "p"): self._boundary_in_p,
            ("interfacegan, keeping the others", "w"): self._conditional,
            ("higan", "w+"): self._higan,
            ("sefa", "w+"): self._sefa,
            ("ganspace", "w+"): self._ganspace,
            ("hessian", "z"): self._hessian,
            ("stylespace", "s"): self._stylespace,
            ("styleflow", "w"): self._styleflow,
        }

    # --- methods that are told the factor ----------------------------------------------------------------

    def _regression(self, factor: str) -> list[Editor]:
        step = self._steps[self._names.index(factor)]
        return [self._along(Direction(factor, Space.W, step / step.norm()), "")]

    @cached_property
    def _steps(self) -> Tensor:
        """(F, D)"""
        return factor_directions(self.samples.ws[:, 0], self._read)

    def _regression_in_layers(self, factor: str) -> list[Editor]:
        ws = self.mixed.ws
        step = self._regressed(ws.flatten(1), factor).view_as(ws[0])
        sigma = float((ws.flatten(1) @ step.flatten() / step.norm()).std())
        return [Editor("", lambda people, t: {"ws": people.ws + t * sigma * step / step.norm()})]

    @torch.no_grad()
    def _regression_in_styles(self, factor: str) -> list[Editor]:
        styles = self.model.generator.style_rows(self.mixed.ws)
        step = self._regressed(styles, factor)
        sigma = float((styles @ step / step.norm()).std())

        @torch.no_grad()
        def move(people: People, t: float) -> Codes:
            return {"styles": self.model.generator.style_rows(people.ws) + t * sigma * step / step.norm()}

        return [Editor("", move)]

    def _regressed(self, latents: Tensor, factor: str) -> Tensor:
        """(N, K) of the mixed samples -> (K,)"""
        read = columns(self.mixed.seen, self.model.readouts)
        return factor_directions(latents, read)[self._names.index(factor)]

    def _boundary_in_layers(self, factor: str) -> list[Editor]:
        ws = self.mixed.ws.flatten(1)
        normal = train_boundary(ws, self.mixed.seen.readings[factor], CHOSEN).normal
        sigma = float((ws @ normal).std())
        step = sigma * normal.view_as(self.mixed.ws[0])
        return [Editor("", lambda people, t: {"ws": people.ws + t * step})]

    def _boundary(self, factor: str) -> list[Editor]:
        return [self._along(Direction(factor, Space.W, self._normal(factor)), "")]

    def _boundary_in_z(self, factor: str) -> list[Editor]:
        normal = train_boundary(self.samples.z, self._scores(factor), CHOSEN).normal
        return [self._along(Direction(factor, Space.Z, normal), "")]

    def _boundary_in_p(self, factor: str) -> list[Editor]:
        p = to_p(self.samples.ws[:, 0])
        normal = train_boundary(p, self._scores(factor), CHOSEN).normal
        sigma = float((p @ normal).std())

        def move(people: People, amount: float) -> Codes:
            return {"ws": from_p(to_p(people.ws) + amount * sigma * normal)}

        return [Editor("", move)]

    def _conditional(self, factor: str) -> list[Editor]:
        """The three other factors whose normals are nearest are held."""
        normal = self._normal(factor)
        others = [name for name in self._names if name != factor]
        near = sorted(others, key=lambda name: -abs(float(self._normal(name) @ normal)))[:3]
        held = project_boundary(normal, [self._normal(name) for name in near])
        return [self._along(Direction(factor, Space.W, held), f"keeps {', '.join(near)}")]

    def _higan(self, factor: str) -> list[Editor]:
        """The boundary, in the layers where moving along it alone raises its score by half of the most."""
        chosen, model = round(CHOSEN * len(self.samples)), self.model
        normal = train_from_scores(self.samples.ws[:, 0], self._scores(factor), chosen).normal
        sigma = sigma_of(Direction(factor, Space.W, normal), model.statistics)

        def scored(ws: Tensor) -> Tensor:
            return model.look({"ws": ws}).readings[factor]

        risen = rescore(self.samples.ws[:RESCORED], normal * sigma, scored, psi=1.0).layers
        layers = tuple((risen >= risen.max() / 2).nonzero().flatten().tolist())
        return [self._along(Direction(factor, Space.W, normal), f"layers {format_layers(layers)}", layers)]

    def _stylespace(self, factor: str) -> list[Editor]:
        """Single channels."""
        G, statistics = self.model.generator, self._style_statistics
        most = self._scores(factor).argsort(descending=True, stable=True)[:EXAMPLES]
        examples = list(G.split_styles(self._styles[most]).values())
        found = attribute_channels(examples, statistics, CHANNELS, layers_without_torgb(G))
        directions = channels_as_directions(G, statistics, found, factor, "stylespace", "")
        return [self._along(direction, direction.description.rstrip(", ")) for direction in directions]

    def _styleflow(self, factor: str) -> list[Editor]:
        """One flow, which is told all factors but the categories: those that are not set are held."""
        at = self._names.index(factor)

        def move(people: People, amount: float) -> Codes:
            current = self._told(people)
            wanted = current.clone()
            wanted[:, at] += amount
            w = edit(self._flow, people.ws[:, :1], current, wanted, (0,))  # the same for every layer
            return {"ws": w.expand_as(people.ws)}

        return [Editor("", torch.no_grad()(move))]

    @cached_property
    def _flow(self) -> Flow:
        return train_flow(self.samples.ws[:, 0].contiguous(), self._told(self.samples), StyleFlowTraining())

    def _told(self, people: People) -> Tensor:
        """(N, F): what the flow is told of people, in deviations of the samples."""
        read = columns(people.seen, self.model.readouts)
        return (read - self._read.mean(dim=0)) / self._read.std(dim=0)

    @cached_property
    def _read(self) -> Tensor:
        """(N, F), of the samples."""
        return columns(self.samples.seen, self.model.readouts)

    @cached_property
    def _names(self) -> list[str]:
        """Of the columns: the factors that are no categories."""
        return [name for name, readout in self.model.readouts.items() if readout.kind != "categorical"]

    # --- methods that find directions without names ------------------------------------------------------

    def _sefa(self, factor: str) -> list[Editor]:
        return self._nameless["sefa"]

    def _ganspace(self, factor: str) -> list[Editor]:
        return self._nameless["ganspace"]

    @cached_property
    def _nameless(self) -> dict[str, list[Editor]]:
        G = self.model.generator
        weights = style_weights(G, range(G.num_ws))
        vectors, _ = sefa_directions(weights, NAMELESS)
        eigenvectors = [Direction(f"{i}", Space.W, vector) for i, vector in enumerate(vectors)]
        components = pca(self.samples.ws[:, 0], NAMELESS)
        principal = as_directions(components, Space.W, components.stdev)
        return {
            "sefa": self._in_groups(eigenvectors, "eigenvector"),
            "ganspace": self._in_groups(principal, "component"),
        }

    def _hessian(self, factor: str) -> list[Editor]:
        return self._axes

    @cached_property
    def _axes(self) -> list[Editor]:
        """All of Z: no number of them is the first."""
        model = self.model

        def draw(step: int, count: int) -> Tensor:
            return sample_z(range(step * count, (step + 1) * count), model.generator)

        def paint(z: Tensor) -> Tensor:
            return model.generator.synthesize(model.map(z))

        axes = learn_axes(draw, model.generator.z_dim, slope_of(paint), HessianTraining())
        directions = [Direction(f"{i}", Space.Z, axis) for i, axis in enumerate(axes)]
        return [self._along(direction, f"axis {i}") for i, direction in enumerate(directions)]

    def _in_groups(self, directions: Sequence[Direction], word: str) -> list[Editor]:
        L = self.model.generator.num_ws
        groups = [tuple(part.tolist()) for part in torch.arange(L).tensor_split(GROUPS)]
        return [
            self._along(
                direction, f"{word} {i}" + (f", layers {format_layers(layers)}" if layers else ""), layers
            )
            for i, direction in enumerate(directions)
            for layers in (None, *groups)
        ]

    # --- parts -------------------------------------------------------------------------------------------

    def _scores(self, factor: str) -> Tensor:
        return self.samples.seen.readings[factor]

    def _normal(self, factor: str) -> Tensor:
        if factor not in self._normals:
            boundary = train_boundary(self.samples.ws[:, 0], self._scores(factor), CHOSEN)
            self._normals[factor] = boundary.normal
        return self._normals[factor]

    @cached_property
    def _normals(self) -> dict[str, Tensor]:
        return {}

    @cached_property
    def _styles(self) -> Tensor:
        with torch.no_grad():
            return self.model.generator.style_rows(self.samples.ws)

    @cached_property
    def _style_statistics(self) -> StyleStatistics:
        return style_statistics(list(self.model.generator.split_styles(self._styles).values()))

    def _along(self, direction: Direction, words: str, layers: tuple[int, ...] | None = None) -> Editor:
        """Strengths are deviations of the latents along the direction."""
        model, sigma = self.model, sigma_of(direction, self.model.statistics)

        @torch.no_grad()
        def move(people: People, amount: float) -> Codes:
            if direction.space is Space.Z:
                return {"ws": model.map(shifted(people.z, direction, amount * sigma, None))}
            if direction.space is Space.S:
                return {
                    "styles": shifted(model.generator.style_rows(people.ws), direction, amount * sigma, None)
                }
            return {"ws": shifted(people.ws, direction, amount * sigma, layers)}

        return Editor(words, move)
