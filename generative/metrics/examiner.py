"""A generator and the networks that look at its pictures, and the operations that need a device for it.

An operation is `op(examiner, inputs) -> outputs`; tensors are (N, ...), and row i of the outputs follows from
row i of the inputs alone, so that whoever runs it may cut batches as it likes. Pictures are looked at as they
would be read from a file: rounded to 8 bits.

L is num_ws, D the number of features, K the columns of the factor read-outs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from generative.generator import Generator, StyleGenerator
from generative.losses import PerceptualDistance
from generative.metrics.extractors import FeatureExtractor, ShippedFeatures, resized
from generative.metrics.path_length import step_lengths, steps_in_w, steps_in_z
from generative.networks.feature_network import FeatureNetwork
from generative.pixels import from_uint8, to_uint8
from generative.spaces import broadcast

Inputs = Mapping[str, Tensor]
Outputs = dict[str, Tensor]
BATCH = 64


@dataclass(frozen=True, eq=False)
class Examiner:
    """All on one device, frozen. `reader`, of factors, and `perceptual` are for metrics that need them."""

    generator: Generator
    extractor: FeatureExtractor
    reader: FeatureNetwork | None = None
    perceptual: PerceptualDistance | None = None

    @property
    def img_resolution(self) -> int:
        return self.generator.img_resolution

    def look(self, images: Tensor) -> Outputs:
        """images: (N, 1 or 3, H, W) in [-1, 1] -> `features` (N, D) and, with a reader, `readings` (N, K)."""
        images = images.expand(-1, 3, -1, -1)
        if isinstance(self.extractor, ShippedFeatures) and self.extractor.network is self.reader:
            features, readings = self.extractor.embed_and_read(images)
            return {"features": features, "readings": readings}
        seen = {"features": self.extractor.embed(images)}
        if self.reader is not None:
            seen["readings"] = ShippedFeatures(self.reader).embed_and_read(images)[1]
        return seen

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Perceptual, of (N, C, H, W) each -> (N,)."""
        if self.perceptual is None:
            raise ValueError("the path length needs a perceptual distance")
        side = self.perceptual.features.record.resolution
        small = [resized(x.expand(-1, 3, -1, -1), side) for x in (a, b)]
        found: Tensor = self.perceptual(*small)
        return found


Op = Callable[[Examiner, Inputs], Outputs]
Run = Callable[[Op, Inputs], Outputs]


def map_z(examiner: Examiner, inputs: Inputs) -> Outputs:
    """z (N, z_dim), psi (N,), for a conditional model c (N, c_dim) -> truncated `w` (N, w_dim), or
    (N, L, w_dim) where layers differ.
    """
    generator = examiner.generator
    assert isinstance(generator, StyleGenerator)
    w, w_avg = generator.map(inputs["z"], inputs.get("c")), generator.w_avg
    w = w if w_avg.ndim == 1 else broadcast(w, generator.num_ws)
    return {"w": w_avg.lerp(w, inputs["psi"].reshape(-1, *[1] * (w.ndim - 1)))}


@dataclass(frozen=True)
class Paint:
    """ws (N, L, w_dim), or without a W z (N, z_dim) and perhaps c -> `pictures` (N, H, W, C) uint8, with the
    stored noise.
    """

    psi: float = 1.0  # for families without W

    def __call__(self, examiner: Examiner, inputs: Inputs) -> Outputs:
        generator = examiner.generator
        if isinstance(generator, StyleGenerator):
            images = generator.synthesize(inputs["ws"])
        else:
            images = generator(inputs["z"], inputs.get("c"), self.psi)
        return {"pictures": to_uint8(images, generator.pixel_gain, generator.pixel_offset)}


@dataclass(frozen=True)
class LookAtSamples:
    """What `Paint` takes -> what `Examiner.look` sees in the pictures."""

    paint: Paint

    def __call__(self, examiner: Examiner, inputs: Inputs) -> Outputs:
        return look_at_pictures(examiner, self.paint(examiner, inputs))


def look_at_pictures(examiner: Examiner, inputs: Inputs) -> Outputs:
    """pictures (N, H, W, C) uint8 -> what `Examiner.look` sees in them."""
    return examiner.look(from_uint8(inputs["pictures"]))


def step_in_w(examiner: Examiner, inputs: Inputs) -> Outputs:
    """a, b (N, z_dim), t (N,), for a conditional model c -> `lengths` (N,) of small steps in W."""
    return _step(examiner, inputs, steps_in_w)


def step_in_z(examiner: Examiner, inputs: Inputs) -> Outputs:
    """As `step_in_w`, in Z."""
    return _step(examiner, inputs, steps_in_z)


def _step(examiner: Examiner, inputs: Inputs, steps: Callable[..., tuple[Tensor, Tensor]]) -> Outputs:
    generator, c = examiner.generator, inputs.get("c")
    if isinstance(generator, StyleGenerator):
        num_ws, map_z = generator.num_ws, generator.map
        ends = steps(inputs["a"], inputs["b"], inputs["t"], lambda z: broadcast(map_z(z, c), num_ws))
        return {"lengths": step_lengths(ends, generator.synthesize, examiner.distance)}
    ends = steps(inputs["a"], inputs["b"], inputs["t"], lambda z: z)
    return {"lengths": step_lengths(ends, lambda z: generator(z, c), examiner.distance)}


def plain_run(examiner: Examiner, batch: int = BATCH) -> Run:
    """Runs operations one batch after another, on the device of the generator; results are on the CPU."""
    device = next(examiner.generator.parameters()).device

    @torch.no_grad()
    def run(op: Op, inputs: Inputs) -> Outputs:
        N = len(next(iter(inputs.values())))
        pieces = [
            op(examiner, {name: t[i : i + batch].to(device) for name, t in inputs.items()})
            for i in range(0, N, batch)
        ]
        return {name: torch.cat([piece[name].cpu() for piece in pieces]) for name in pieces[0]}

    return run
