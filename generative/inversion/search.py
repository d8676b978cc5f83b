"""Inversion by search: a picture to the latent that paints it, by gradient descent in any space of codes.

With a W code, the ramp, jitter and noise maps, and the weights (pixel 0, perceptual 1, noise 1e5) on a
distance of its scale, it takes the steps of projector.py of NVlabs/stylegan2-ada-pytorch ("Analyzing and
Improving the Image Quality of StyleGAN", Karras et al., 2020, section 5 and appendix D). Other codes, starts,
weights and schedules make it Image2StyleGAN (Abdal et al., 2019), II2S (Zhu et al., 2020), PULSE (Menon et
al., 2020), IdInvert (Zhu et al., 2020) and the rest of `jobs.inversion.METHODS`.

Axis letters: N pictures, C H W of a picture.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from generative.batch import Tensors
from generative.generator import Generator, StyleGenerator
from generative.inversion import noise_maps
from generative.inversion.codes import Code
from generative.inversion.degradations import Degradation
from generative.inversion.draws import Source, draw, philox
from generative.inversion.feature_space import standing
from generative.inversion.likeness import Perceptual, columns, described, mean_square, perceptual, weighted
from generative.inversion.schedules import cycle_and_drop, jitter, learning_rate_ramp
from generative.program import Evaluation, Outcome

VIEW = 256  # larger pictures are averaged down to this side before the perceptual distance sees them
NOISE = "noise:"  # parameter "noise:b8.conv0" is the noise map of that layer

WHO = "who"  # constants "who0", ... are what the identity network sees in the target
CONSTANT, RAMP, CYCLE = range(3)  # schedules of the learning rate
Encoder = Callable[[Tensor], Tensor]  # pictures (N, C, H, W) -> ws (N, L, D)


@dataclass(frozen=True)
class SearchOptions:
    """What may differ between pictures that are searched for together."""

    steps: int = 200
    learning_rate: float = 0.1  # peak of the schedule
    schedule: int = RAMP
    jitter: float = 0.05  # noise on the code at the beginning, in its spread
    pixel: float = 1.0  # weight of the mean squared error of pixels in [-1, 1]
    perceptual: float = 1.0
    identity: float = 0.0
    latent: float = 0.0  # of the code's penalty
    in_domain: float = 0.0  # of the distance between the code and what the encoder makes of its picture
    noise_regularization: float = 1e5
    stop: float | None = None  # a picture is done when its perceptual distance is at most this
    seed: int = 0


class Search:
    """The program. Parameters: the code, named by its space, and with `noise` a map (N, 1, h, w) for each
    noisy layer.
    """

    def __init__(
        self,
        generator: Generator,
        code: Code,
        distance: Perceptual | None,
        *,
        noise: bool = True,
        identity: Perceptual | None = None,
        degradation: Degradation | None = None,
        encoder: Encoder | None = None,
        randomness: Callable[[int, int], Source] = philox,
    ) -> None:
        """
        Args:
            generator: its weights ask for no gradient.
            distance: None where only pixels can be compared.
            noise: whether noise maps are sought too; else the stored ones paint.
            identity: a second distance, for the weight `identity`.
            degradation: comes between the generator and the losses; targets are observations then.
            encoder: for the weight `in_domain`.
        """
        self.generator, self.code, self.distance, self.identity = generator, code, distance, identity
        self.degradation, self.encoder, self.randomness = degradation, encoder, randomness
        sizes = generator.noise_sizes if noise and isinstance(generator, StyleGenerator) else {}
        self.noise_sizes: dict[str, int] = sizes

    @property
    def key(self) -> Hashable:
        parts = self.generator, self.code, self.distance, self.identity, self.degradation, self.encoder
        return Search, parts, tuple(self.noise_sizes)

    def problems(
        self,
        targets: Tensor,
        options: SearchOptions,
        *,
        start: Tensor | None = None,
        constants: Tensors | None = None,
    ) -> dict[str, Tensor]:
        """Each picture is a problem of its own.

        Args:
            targets: (N, C, H, W) in [-1, 1], of the generator's size; observations under a degradation.
            start: codes (N, *shape) to begin at.
            constants: what the degradation needs, (N, ...) each.
        """
        size = self.generator.img_resolution
        if targets.ndim != 4 or (self.degradation is None and targets.shape[2:] != (size, size)):
            raise ValueError(f"targets must be (N, C, {size}, {size}), got {tuple(targets.shape)}")
        if self.distance is None and (options.perceptual or options.stop is not None):
            raise ValueError("no perceptual network: set the perceptual weight to 0, and no stop rule")
        if self.encoder is None and options.in_domain:
            raise ValueError("no encoder: set the in-domain weight to 0")
        if self.identity is None and options.identity:
            raise ValueError("no network for identity: set its weight to 0")
        begun = {} if start is None else {"start": start}
        return {"target": targets, **(constants or {}), **begun, **columns(options, len(targets))}

    def constants(self, problems: Tensors) -> dict[str, Tensor]:
        device = next(self.generator.parameters()).device
        fixed = {name: t.to(device) for name, t in problems.items() if name != "start"}
        view = self._view(fixed["target"])
        return {**fixed, **described(self.distance, view), **described(self.identity, view, WHO)}

    def begin(self, problems: Tensors) -> dict[str, Tensor]:
        seeds = problems["seed"].tolist()
        sources = [self.randomness(seed, 0) for seed in seeds]
        maps = {NOISE + n: self._draw(sources, (1, side, side)) for n, side in self.noise_sizes.items()}
        return {self.code.parameter: self._start(problems, sources), **maps}

    def evaluate(self, params: Tensors, constants: Tensors, step: Tensor) -> Evaluation:
        t = step.double() / constants["steps"]
        code = params[self.code.parameter]
        spread = self.code.spread * jitter(t, constants["jitter"])
        moved = {self.code.parameter: code + self._jitter(spread, constants, step)}
        images = self.paint({**params, **moved})
        seen = images if self.degradation is None else self.degradation(images, constants)
        terms = {
            "pixel": mean_square(seen, constants["target"]),
            "perceptual": perceptual(self.distance, self._view(seen), constants),
            "identity": perceptual(self.identity, self._view(seen), constants, WHO),
            "latent": self.code.penalty(code),
            "in_domain": self._departure(code, images),
            "noise_regularization": self._regularizer(params, code),
        }
        return Evaluation({"total": weighted(terms, constants), **terms}, images)

    def learning_rate(self, constants: Tensors, step: Tensor) -> Tensor:
        t = step.double() / constants["steps"]
        shares = torch.stack([torch.ones_like(t), learning_rate_ramp(t), cycle_and_drop(t)])
        return constants["learning_rate"] * shares.gather(0, constants["schedule"][None])[0]

    def settle(self, params: Tensors) -> dict[str, Tensor]:
        name = self.code.parameter
        maps = {NOISE + n: noise_maps.normalized(p) for n, p in _maps(params).items()}
        return {**params, name: self.code.settle(params[name]), **maps}

    def outcome(self, constants: Tensors, step: Tensor, terms: Tensors) -> Tensor:
        outcome = torch.where(step >= constants["steps"], int(Outcome.FINISHED), int(Outcome.RUNNING))
        return torch.where(terms["perceptual"] <= constants["stop"], int(Outcome.STOPPED), outcome)

    def painting(self, params: Tensors) -> dict[str, Tensor]:
        """What the generator paints it from: `ws`, `styles` or `z`, `features:<layer>`, and the noise maps as
        `noise:<layer>`.
        """
        maps = {NOISE + name: noise for name, noise in _maps(params).items()}
        return {**self.code.decode(params[self.code.parameter]), **maps}

    def paint(self, params: Tensors) -> Tensor:
        """(N, C, H, W)."""
        code, noises = self.painting(params), _maps(params)
        if not isinstance(self.generator, StyleGenerator):
            images: Tensor = self.generator(code["z"], code.get("c"))
            return images
        if "styles" in code:
            styles = self.generator.split_styles(code["styles"])
            return self.generator.synthesize_styles(styles, noises=noises)
        return self.generator.synthesize(code["ws"], noises=noises, hook=standing(code))

    def _start(self, problems: Tensors, sources: Sequence[Source]) -> Tensor:
        like = next(self.generator.parameters())
        if "start" in problems:
            return problems["start"].to(like)
        if self.code.centre is None:
            return self.code.settle(self._draw(sources, self.code.shape))
        return self.code.centre.expand(len(sources), *self.code.shape).clone()

    def _jitter(self, spread: Tensor, constants: Tensors, step: Tensor) -> Tensor | float:
        """(N, *shape), or 0 where nobody wants any: drawing it takes time."""
        if not bool((constants["jitter"] > 0).any()):
            return 0.0
        moments = zip(constants["seed"].tolist(), step.tolist(), strict=True)
        noise = self._draw([self.randomness(seed, t + 1) for seed, t in moments], self.code.shape)
        return noise * spread.to(noise.dtype).reshape(-1, *[1] * len(self.code.shape))

    def _draw(self, sources: Sequence[Source], shape: Sequence[int]) -> Tensor:
        """Standard normal (N, *shape), one source for each sample."""
        return draw(sources, shape).to(next(self.generator.parameters()))

    def _view(self, images: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, H, W): what the perceptual distance looks at. Observations that are smaller
        than the generator's pictures are blown up to their size, without blending.
        """
        if images.shape[2] < self.generator.img_resolution:
            images = F.interpolate(images, size=(self.generator.img_resolution,) * 2, mode="nearest")
        return viewed(images)

    def _departure(self, code: Tensor, images: Tensor) -> Tensor:
        """IdInvert's term (N,): how far the code is from what the encoder sees in its picture."""
        if self.encoder is None or self.code.encode is None:
            return code.new_zeros(len(code))
        return (code - self.code.encode(self.encoder(images))).square().flatten(1).mean(dim=1)

    def _regularizer(self, params: Tensors, code: Tensor) -> Tensor:
        """(N,)."""
        zero = code.new_zeros(len(code))
        return sum((noise_maps.autocorrelation(noise) for noise in _maps(params).values()), zero)


def _maps(tensors: Tensors) -> dict[str, Tensor]:
    """The noise maps among the tensors, by layer name."""
    return {name.removeprefix(NOISE): t for name, t in tensors.items() if name.startswith(NOISE)}


def viewed(images: Tensor) -> Tensor:
    """(N, C, H, W), averaged down to the side that the perceptual distance looks at if it is larger."""
    return F.interpolate(images, size=(VIEW, VIEW), mode="area") if images.shape[2] > VIEW else images
