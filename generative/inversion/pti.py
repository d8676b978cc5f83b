"""Pivotal tuning: the generator itself is bent until it paints a picture from a latent that is kept.

From "Pivotal Tuning for Latent-based Editing of Real Images" (Roich et al., 2021); losses, ball regulariser
and constants are those of danielroich/PTI. LPIPS (AlexNet) is the perceptual distance there, on whose scale
it stops at 0.06, before the step that this loss asks for; here that step is taken. A pivot in W makes a
generator that can be edited best; one in W+ has less to tune.

Every sample has weights of its own, which makes this the most expensive program: between two steps a sample
holds three times the weights that paint (weights and Adam's moments), in a step up to seven times, besides
what the backward pass keeps of one picture (of two with the ball regulariser).

Axis letters: N samples, L layers (num_ws), C H W of a picture.
"""

import copy
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from generative.batch import Tensors
from generative.generator import Noise, StyleGenerator
from generative.inversion.draws import Source, draw, philox
from generative.inversion.likeness import Perceptual, columns, described, mean_square, perceptual, weighted
from generative.program import Evaluation, Outcome
from generative.spaces import broadcast, truncate


@dataclass(frozen=True)
class TuningOptions:
    """What may differ between pictures that are tuned together."""

    steps: int = 350
    learning_rate: float = 3e-4
    pixel: float = 1.0  # weight of the mean squared error of pixels in [-1, 1]
    perceptual: float = 1.0
    stop: float | None = 0.06  # a picture is done when its perceptual distance is at most this
    seed: int = 0  # of the draws of the ball regulariser


@dataclass(frozen=True)
class Locality:
    """The ball regulariser: pictures around the pivot stay those of the generator as it was."""

    alpha: float = 30.0  # distance from the pivot, over all layers
    pixel: float = 0.1
    perceptual: float = 0.1
    psi: float = 0.5  # truncation of the w that give the directions


class PivotalTuning:
    """The program. Parameters: every weight that paints, (N, ...), under its name in the generator."""

    def __init__(
        self,
        generator: StyleGenerator,
        distance: Perceptual | None,
        locality: Locality | None = None,
        *,
        randomness: Callable[[int, int], Source] = philox,
    ) -> None:
        """
        Args:
            generator: is left as it is; its weights ask for no gradient.
            distance: None where only pixels can be compared.
        """
        self.generator, self.distance, self.locality = generator, distance, locality
        self.randomness = randomness
        painter = _Painter(generator)
        self._painters = deque([painter])  # at rest; several threads may paint at a time
        self.weights = _that_paint(generator, painter)

    @property
    def key(self) -> Hashable:
        return PivotalTuning, self.generator, self.distance, self.locality

    def problems(
        self, targets: Tensor, ws: Tensor, options: TuningOptions, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Each picture is a problem of its own.

        Args:
            targets: (N, C, R, R) in [-1, 1], of the generator's size.
            ws: (N, L, w_dim), the pivots.
            labels: (N, c_dim), for the ball regulariser of a conditional generator.
        """
        G = self.generator
        sizes = {
            "targets": (targets, (len(targets), G.img_channels, G.img_resolution, G.img_resolution)),
            "ws": (ws, (len(targets), G.num_ws, G.w_dim)),
        }
        if self.locality is not None and G.c_dim:
            sizes["labels"] = (torch.empty(0) if labels is None else labels, (len(targets), G.c_dim))
        for name, (tensor, size) in sizes.items():
            if tensor.shape != size:
                raise ValueError(f"{name} must be {size}, got {tuple(tensor.shape)}")
        if self.distance is None and (options.perceptual or options.stop is not None):
            raise ValueError("no perceptual network: set the perceptual weight to 0, and no stop rule")
        given = {} if labels is None else {"label": labels}
        return {"target": targets, "ws": ws, **given, **columns(options, len(targets))}

    def constants(self, problems: Tensors) -> dict[str, Tensor]:
        device = next(iter(self.weights.values())).device
        fixed = {name: t.to(device) for name, t in problems.items()}
        return {**fixed, **described(self.distance, fixed["target"])}

    def begin(self, problems: Tensors) -> dict[str, Tensor]:
        N = len(problems["ws"])
        return {name: weight.repeat(N, *[1] * weight.ndim) for name, weight in self.weights.items()}

    def evaluate(self, params: Tensors, constants: Tensors, step: Tensor) -> Evaluation:
        images = self.paint(params, constants["ws"])
        terms = {
            "pixel": mean_square(images, constants["target"]),
            "perceptual": perceptual(self.distance, images, constants),
        }
        total = weighted(terms, constants)
        if self.locality is not None:
            terms["locality"] = self._ball(self.locality, params, constants, step)
            total = total + terms["locality"]
        return Evaluation({"total": total, **terms}, images)

    def learning_rate(self, constants: Tensors, step: Tensor) -> Tensor:
        return constants["learning_rate"]

    def settle(self, params: Tensors) -> Tensors:
        return params

    def outcome(self, constants: Tensors, step: Tensor, terms: Tensors) -> Tensor:
        outcome = torch.where(step >= constants["steps"], int(Outcome.FINISHED), int(Outcome.RUNNING))
        return torch.where(terms["perceptual"] <= constants["stop"], int(Outcome.STOPPED), outcome)

    def paint(self, params: Tensors, ws: Tensor, noise: Noise = "const") -> Tensor:
        """ws: (N, L, w_dim), each with weights of its own -> (N, C, H, W)."""
        samples = ({name: p[i] for name, p in params.items()} for i in range(len(ws)))
        with self._painter() as painter:
            return torch.cat([painter.with_weights(w, ws[i : i + 1], noise) for i, w in enumerate(samples)])

    @contextmanager
    def _painter(self) -> "Iterator[_Painter]":
        """One that nobody else uses meanwhile."""
        try:
            painter = self._painters.pop()
        except IndexError:
            painter = _Painter(self.generator)
        try:
            yield painter
        finally:
            self._painters.append(painter)

    def delta(self, params: Tensors, i: int) -> dict[str, Tensor]:
        """What tuning has added to the weights for sample i."""
        return {name: params[name][i].to(weight.device) - weight for name, weight in self.weights.items()}

    def _ball(self, locality: Locality, params: Tensors, constants: Tensors, step: Tensor) -> Tensor:
        """(N,): how far the picture near the pivot, in the direction of a random w, has moved."""
        pivots, G = constants["ws"], self.generator
        seen = zip(constants["seed"].tolist(), step.tolist(), strict=True)
        z = draw([self.randomness(seed, t + 1) for seed, t in seen], (G.z_dim,)).to(pivots)
        with torch.no_grad():
            w = G.map(z, constants.get("label"))
            ws = morphed(pivots, truncate(broadcast(w, G.num_ws), G.w_avg, locality.psi), locality.alpha)
            before = G.synthesize(ws, noise="none")
        after = self.paint(params, ws, noise="none")
        loss = locality.pixel * mean_square(after, before)
        looks = perceptual(self.distance, after, described(self.distance, before))
        return loss + locality.perceptual * looks


def morphed(pivots: Tensor, ws: Tensor, alpha: float) -> Tensor:
    """From each pivot so far towards ws, whatever their distance. Both (N, L, w_dim)."""
    direction = ws - pivots
    return pivots + alpha * direction / direction.flatten(1).norm(dim=1)[:, None, None]


class _Painter(nn.Module):
    """Synthesis as the forward pass of a module, so that `functional_call` can give it other weights.

    The call puts them in for as long as it lasts. So the modules are copies, which nobody else runs
    meanwhile; the tensors are shared with the original.
    """

    def __init__(self, generator: StyleGenerator) -> None:
        super().__init__()
        shared = {id(t): t for t in [*generator.parameters(), *generator.buffers()]}
        self.generator = copy.deepcopy(generator, shared)

    def forward(self, ws: Tensor, noise: Noise) -> Tensor:
        return self.generator.synthesize(ws, noise)

    def with_weights(self, weights: Tensors, ws: Tensor, noise: Noise) -> Tensor:
        named = {f"generator.{name}": weight for name, weight in weights.items()}
        image = functional_call(self, named, (ws, noise))
        assert isinstance(image, Tensor)
        return image


def _that_paint(generator: StyleGenerator, painter: _Painter) -> dict[str, Tensor]:
    """The parameters of which the picture depends, given ws: not those of the mapping, for instance."""
    weights = {name: p.detach() for name, p in generator.named_parameters()}
    asking = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    ws = next(iter(weights.values())).new_zeros(1, generator.num_ws, generator.w_dim)
    with torch.enable_grad():
        image = painter.with_weights(asking, ws, "const")
        gradients = torch.autograd.grad(image.sum(), list(asking.values()), allow_unused=True)
    return {n: w for (n, w), g in zip(weights.items(), gradients, strict=True) if g is not None}
