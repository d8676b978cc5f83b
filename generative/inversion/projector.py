"""The projector: a picture to the latent and the noise maps that paint it, by gradient descent.

From "Analyzing and Improving the Image Quality of StyleGAN" (Karras et al., 2020, section 5 and appendix
D). In W, with the weights (pixel 0, perceptual 1, noise 1e5) and a distance on its scale, it takes the
steps of projector.py of NVlabs/stylegan2-ada-pytorch. W+ is the common variant with a w of its own for each
layer.

Axis letters: N pictures, L layers (num_ws), C H W of a picture.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from generative.batch import Tensors
from generative.generator import StyleGenerator
from generative.inversion import noise_maps
from generative.inversion.schedules import jitter, learning_rate_ramp
from generative.program import Evaluation, Outcome

VIEW = 256  # larger pictures are averaged down to this side before the perceptual distance sees them
NOISE = "noise:"  # parameter "noise:b8.conv0" is the noise map of that layer


class Perceptual(Protocol):
    """A distance between pictures in [-1, 1] that can describe a fixed target once."""

    def describe(self, images: Tensor) -> Sequence[Tensor]: ...

    def compare(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor: ...


class Source(Protocol):
    """A `numpy.random.Generator`, or what stands in for one."""

    def standard_normal(self, size: tuple[int, ...], dtype: Any) -> np.ndarray: ...


def philox(seed: int, moment: int) -> Source:
    """Randomness of one sample at one moment of its run (0: before the first step, t + 1: step t)."""
    return np.random.Generator(np.random.Philox(key=[seed, moment]))


@dataclass(frozen=True)
class ProjectorOptions:
    """What may differ between pictures that are projected together."""

    steps: int = 200
    learning_rate: float = 0.1  # peak of the ramp
    pixel: float = 1.0  # weight of the mean squared error of pixels in [-1, 1]
    perceptual: float = 1.0
    noise_regularization: float = 1e5
    stop: float | None = None  # a picture is done when its perceptual distance is at most this
    seed: int = 0


class Projector:
    """The program. Parameters: `w` (N, 1 or L, w_dim), and a noise map (N, 1, h, w) for each noisy layer."""

    def __init__(
        self,
        generator: StyleGenerator,
        distance: Perceptual | None,
        w_mean: Tensor,
        w_std: float,
        space: Literal["w", "w+"] = "w+",
        *,
        randomness: Callable[[int, int], Source] = philox,
    ) -> None:
        """
        Args:
            generator: its weights ask for no gradient.
            distance: None where only pixels can be compared.
            w_mean: (w_dim,), where the search begins.
            w_std: root of the mean squared distance of w to its mean, summed over all axes: one number.
        """
        self.generator, self.distance, self.space, self.randomness = generator, distance, space, randomness
        self.w_mean, self.w_std = w_mean, w_std
        self.noise_sizes = generator.noise_sizes

    @property
    def key(self) -> Hashable:
        return Projector, self.generator, self.distance, self.space, self.w_std

    def problems(self, targets: Tensor, options: ProjectorOptions) -> dict[str, Tensor]:
        """targets: (N, C, H, W) in [-1, 1], of the generator's size. Each picture is a problem of its own."""
        size = self.generator.img_resolution
        if targets.ndim != 4 or targets.shape[2:] != (size, size):
            raise ValueError(f"targets must be (N, C, {size}, {size}), got {tuple(targets.shape)}")
        if self.distance is None and (options.perceptual or options.stop is not None):
            raise ValueError("no perceptual network: set the perceptual weight to 0, and no stop rule")
        settings = {**asdict(options), "stop": -1.0 if options.stop is None else options.stop}
        dtypes = {name: torch.int64 if name in ("steps", "seed") else torch.float64 for name in settings}
        full = {n: torch.full((len(targets),), value, dtype=dtypes[n]) for n, value in settings.items()}
        return {"target": targets, **full}

    def constants(self, problems: Tensors) -> dict[str, Tensor]:
        fixed = {name: t.to(self.w_mean.device) for name, t in problems.items()}
        if self.distance is None:
            return fixed
        stages = self.distance.describe(_view(fixed["target"]))
        return {**fixed, **{f"stage{k}": stage for k, stage in enumerate(stages)}}

    def begin(self, problems: Tensors) -> dict[str, Tensor]:
        seeds = problems["seed"].tolist()
        sources = [self.randomness(seed, 0) for seed in seeds]
        w = self.w_mean.expand(len(seeds), 1 if self.space == "w" else self.generator.num_ws, -1).clone()
        sizes = self.noise_sizes.items()
        maps = {NOISE + layer: self._draw(sources, (1, side, side)) for layer, side in sizes}
        return {"w": w, **maps}

    def evaluate(self, params: Tensors, constants: Tensors, step: Tensor) -> Evaluation:
        seen = zip(constants["seed"].tolist(), step.tolist(), strict=True)
        noise = self._draw([self.randomness(seed, t + 1) for seed, t in seen], params["w"].shape[1:])
        spread = self.w_std * jitter(step.double() / constants["steps"])
        inputs = self.painting({**params, "w": params["w"] + noise * spread.to(noise.dtype)[:, None, None]})
        images = self.generator.synthesize(inputs["ws"], noises=_maps(inputs))
        terms = {
            "pixel": (images - constants["target"]).square().mean(dim=(1, 2, 3)),
            "perceptual": self._distance(images, constants),
            "noise_regularization": self._regularizer(params),
        }
        total = torch.stack([constants[name].to(t.dtype) * t for name, t in terms.items()]).sum(dim=0)
        return Evaluation({"total": total, **terms}, images)

    def learning_rate(self, constants: Tensors, step: Tensor) -> Tensor:
        return constants["learning_rate"] * learning_rate_ramp(step.double() / constants["steps"])

    def settle(self, params: Tensors) -> dict[str, Tensor]:
        return {**params, **{NOISE + n: noise_maps.normalized(p) for n, p in _maps(params).items()}}

    def outcome(self, constants: Tensors, step: Tensor, terms: Tensors) -> Tensor:
        outcome = torch.where(step >= constants["steps"], int(Outcome.FINISHED), int(Outcome.RUNNING))
        return torch.where(terms["perceptual"] <= constants["stop"], int(Outcome.STOPPED), outcome)

    def painting(self, params: Tensors) -> dict[str, Tensor]:
        """What the generator paints it from: `ws` (N, L, w_dim), and the noise maps as `noise:<layer>`."""
        ws = params["w"].expand(-1, self.generator.num_ws, -1)
        return {"ws": ws, **{NOISE + name: noise for name, noise in _maps(params).items()}}

    def _draw(self, sources: Sequence[Source], shape: Sequence[int]) -> Tensor:
        """Standard normal (N, *shape), one source for each sample."""
        drawn = np.stack([source.standard_normal(tuple(shape), dtype=np.float32) for source in sources])
        return torch.from_numpy(drawn).to(self.w_mean)

    def _distance(self, images: Tensor, constants: Tensors) -> Tensor:
        """(N, C, H, W) -> (N,)."""
        if self.distance is None:
            return images.new_zeros(len(images))
        stages = self.distance.describe(_view(images))
        return self.distance.compare(stages, [constants[f"stage{k}"] for k in range(len(stages))])

    def _regularizer(self, params: Tensors) -> Tensor:
        """(N,)."""
        zero = params["w"].new_zeros(len(params["w"]))
        return sum((noise_maps.autocorrelation(noise) for noise in _maps(params).values()), zero)


def _maps(tensors: Tensors) -> dict[str, Tensor]:
    """The noise maps among the tensors, by layer name."""
    return {name.removeprefix(NOISE): t for name, t in tensors.items() if name.startswith(NOISE)}


def _view(images: Tensor) -> Tensor:
    """(N, C, H, W), averaged down to the side that the perceptual distance looks at if it is larger."""
    return F.interpolate(images, size=(VIEW, VIEW), mode="area") if images.shape[2] > VIEW else images
