"""Multi-code prior: several codes paint the features of one layer, which are mixed, and the rest paints them.

From "Image Processing Using Multi-Code GAN Prior" (Gu et al., 2020). Agrees with genforce/mganprior: features
are multiplied by a weight for each code and channel, which begins at 1 / K, *and* their sum is divided by K
again; plain gradient descent at a learning rate of 1. There it is done for PGGAN, whose z acts in the first
layer alone. Settings there, by task, the layers as they are counted there:

    task              layer  K   steps  pixel  perceptual
    inversion         6      30  3000   1      1
    colourisation     4      20  1500   1      1
    inpainting        4      30  3000   1      0.1
    super-resolution  6      30  2000   1      1           factor 16, bilinear, z begins at 0

Codes that begin at 0 (`spread` 0) are all the same, and take the same steps: they stay one.

For generators with a w the codes are K of those, and the layers behind the mix take a w each of their own.

Axis letters: N samples, K codes, L layers (num_ws), C channels, H W pixels.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from generative.batch import Tensors
from generative.generator import Generator, StyleGenerator, up_to
from generative.inversion.degradations import Degradation
from generative.inversion.draws import draw, philox
from generative.inversion.likeness import Perceptual, columns, described, mean_square, perceptual, weighted
from generative.program import Evaluation, Outcome
from generative.spaces import broadcast


@dataclass(frozen=True)
class MultiCodeOptions:
    """What may differ between pictures that are inverted together."""

    steps: int = 3000
    learning_rate: float = 1.0
    pixel: float = 1.0  # weight of the mean squared error of pixels in [-1, 1]
    perceptual: float = 1.0
    spread: float = 1.0  # of z at the start: 1 draws it as samples are, 0 is the zero start
    stop: float | None = None  # a picture is done when its perceptual distance is at most this
    seed: int = 0


class MultiCode:
    """The program. Parameters: `codes` (N, K, z_dim or w_dim), `alpha` (N, K, C), and where there is a w `ws`
    (N, L, w_dim), for what the mix does not replace.
    """

    def __init__(
        self,
        generator: Generator,
        layer: str,
        codes: int,
        distance: Perceptual | None,
        degradation: Degradation | None = None,
        *,
        optimiser: Literal["adam", "sgd"] = "sgd",
    ) -> None:
        """
        Args:
            generator: its weights ask for no gradient.
            layer: whose output is mixed, by the name that hooks see.
            distance: None where only pixels can be compared.
            degradation: between the picture and the losses; None for plain inversion.
        """
        self.generator, self.layer, self.codes = generator, layer, codes
        self.distance, self.degradation, self.optimiser = distance, degradation, optimiser
        with torch.no_grad():
            label = self._zeros(1, generator.c_dim) if generator.c_dim else None
            features = self._features(self._zeros(1, 1, self._code_dim), label)
        if features.ndim != 4:
            raise ValueError(f"{layer} makes no maps of features")
        self.channels = features.shape[1]

    @property
    def key(self) -> Hashable:
        shape = self.layer, self.codes, self.optimiser
        return MultiCode, self.generator, self.distance, self.degradation, *shape

    def problems(
        self, observed: Tensor, options: MultiCodeOptions, given: Tensors | None = None
    ) -> dict[str, Tensor]:
        """Each observation is a problem of its own.

        Args:
            observed: (N, ...), as the degradation makes them of pictures of the generator's size.
            given: what the degradation needs, and `label` (N, c_dim) for a conditional generator.
        """
        given = given or {}
        needed = set(self.degradation.needs if self.degradation else ())
        needed |= {"label"} if self.generator.c_dim else set()
        if missing := needed - set(given):
            raise ValueError(f"missing: {', '.join(sorted(missing))}")
        G = self.generator
        blank = observed.new_zeros(len(observed), G.img_channels, G.img_resolution, G.img_resolution)
        if observed.shape != self._degraded(blank, given).shape:
            wanted = tuple(self._degraded(blank, given).shape)
            raise ValueError(f"observations must be {wanted}, got {tuple(observed.shape)}")
        if self.distance is None and (options.perceptual or options.stop is not None):
            raise ValueError("no perceptual network: set the perceptual weight to 0, and no stop rule")
        return {"observed": observed, **given, **columns(options, len(observed))}

    def constants(self, problems: Tensors) -> dict[str, Tensor]:
        device = self._zeros(0).device
        fixed = {name: t.to(device) for name, t in problems.items()}
        return {**fixed, **described(self.distance, fixed["observed"])}

    def begin(self, problems: Tensors) -> dict[str, Tensor]:
        G, N, K = self.generator, len(problems["observed"]), self.codes
        sources = [philox(seed, 0) for seed in problems["seed"].tolist()]
        z = draw(sources, (K, G.z_dim)).to(self._zeros(0))
        z = z * problems["spread"].to(z)[:, None, None]
        alpha = torch.full((N, K, self.channels), 1 / K).to(z)
        if not isinstance(G, StyleGenerator):
            return {"codes": z, "alpha": alpha}
        w = G.map(z.flatten(0, 1), self._labels(problems.get("label"), K)).unflatten(0, (N, K))
        return {"codes": w, "alpha": alpha, "ws": G.w_avg.expand(N, G.num_ws, -1).clone()}

    def evaluate(self, params: Tensors, constants: Tensors, step: Tensor) -> Evaluation:
        images = self.compose(params, constants.get("label"))
        seen = self._degraded(images, constants)
        terms = {
            "pixel": mean_square(seen, constants["observed"]),
            "perceptual": perceptual(self.distance, seen, constants),
        }
        return Evaluation({"total": weighted(terms, constants), **terms}, images)

    def learning_rate(self, constants: Tensors, step: Tensor) -> Tensor:
        return constants["learning_rate"]

    def settle(self, params: Tensors) -> Tensors:
        return params

    def outcome(self, constants: Tensors, step: Tensor, terms: Tensors) -> Tensor:
        outcome = torch.where(step >= constants["steps"], int(Outcome.FINISHED), int(Outcome.RUNNING))
        return torch.where(terms["perceptual"] <= constants["stop"], int(Outcome.STOPPED), outcome)

    def compose(self, params: Tensors, label: Tensor | None = None) -> Tensor:
        """The pictures (N, C, H, W) of the parameters.

        All codes run up to the layer and no further; then one row for each picture runs the whole way, and
        the mix takes the place of what it makes there.
        """
        G, alpha = self.generator, params["alpha"][..., None, None]
        features = self._features(params["codes"], label).unflatten(0, alpha.shape[:2])  # (N, K, C, H, W)
        mixed = (features * alpha).sum(dim=1) / self.codes

        def replace(name: str, value: Tensor) -> Tensor:
            return mixed if name == self.layer else value

        if isinstance(G, StyleGenerator):
            return G.synthesize(params["ws"], hook=replace)
        return G(params["codes"][:, 0].detach(), label, hook=replace)

    def _features(self, codes: Tensor, label: Tensor | None) -> Tensor:
        """codes: (N, K, z_dim or w_dim), label: (N, c_dim) -> what they make at the layer, (N K, C, H, W)."""
        G, rows = self.generator, codes.flatten(0, 1)
        if isinstance(G, StyleGenerator):
            ws = broadcast(rows, G.num_ws)
            return up_to(self.layer, lambda hook: G.synthesize(ws, hook=hook))
        labels = self._labels(label, codes.shape[1])
        return up_to(self.layer, lambda hook: G(rows, labels, hook=hook))

    def _degraded(self, images: Tensor, constants: Tensors) -> Tensor:
        return images if self.degradation is None else self.degradation(images, constants)

    @property
    def _code_dim(self) -> int:
        return self.generator.w_dim if isinstance(self.generator, StyleGenerator) else self.generator.z_dim

    def _zeros(self, *shape: int) -> Tensor:
        """On the device of the generator and in its precision."""
        return next(self.generator.parameters()).new_zeros(*shape)

    def _labels(self, label: Tensor | None, K: int) -> Tensor | None:
        """(N, c_dim) -> one for each code."""
        return None if label is None else label.to(self._zeros(0)).repeat_interleave(K, dim=0)
