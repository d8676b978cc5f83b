"""The random numbers that an evaluation draws, all from one seed: samples, ends of paths, classes."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from generative.generator import Generator, StyleGenerator, sample_z
from generative.metrics import examiner as ops
from generative.metrics.examiner import Run
from generative.metrics.looking import Meter, chunks
from generative.spaces import broadcast

MAPPED = 1000  # latents at a time
PATHS, CLASSES, PATH_CLASSES = 1, 2, 3  # streams of random numbers beside that of the samples


@dataclass(frozen=True)
class Draw:
    """How `count` latents are drawn; the class is random if None."""

    generator: Generator
    count: int
    seed: int
    class_index: int | None = None

    def codes(self, psi: float, run: Run, meter: Meter) -> dict[str, Tensor]:
        """What the pictures of the seeds `seed`, `seed + 1`, ... are painted from, as `ops.Paint` takes it.

        `ws` (N, L, w_dim), a view, for all layers have the same w; or `z` and `c` without a W.
        """
        inputs = {"z": sample_z(range(self.seed, self.seed + self.count), self.generator)}
        inputs |= self._classes(CLASSES)
        if not isinstance(self.generator, StyleGenerator):
            return inputs
        inputs["psi"], parts = torch.full((self.count,), psi), []
        for rows in chunks(self.count, MAPPED):
            parts.append(run(ops.map_z, rows_of(inputs, rows))["w"])
            meter(0, "samples")
        return {"ws": broadcast(torch.cat(parts), self.generator.num_ws)}

    def paths(self, anywhere: bool) -> dict[str, Tensor]:
        """Both ends (N, z_dim) as `a` and `b`, and where on the way, `t` (N,): at `a` unless `anywhere`."""
        rng = np.random.default_rng([self.seed, PATHS])
        shape = self.count, self.generator.z_dim
        a, b = (torch.from_numpy(rng.standard_normal(shape, np.float32)) for _ in range(2))
        t = torch.from_numpy(rng.random(self.count, np.float32)) * anywhere
        return {"a": a, "b": b, "t": t} | self._classes(PATH_CLASSES)

    def _classes(self, stream: int) -> dict[str, Tensor]:
        """One-hot `c` (N, classes) for a conditional model, else nothing."""
        classes = self.generator.c_dim
        if not classes:
            return {}
        if self.class_index is not None:
            drawn = np.full(self.count, self.class_index)
        else:
            drawn = np.random.default_rng([self.seed, stream]).integers(classes, size=self.count)
        return {"c": F.one_hot(torch.from_numpy(drawn), classes).float()}


def rows_of(inputs: dict[str, Tensor], rows: range) -> dict[str, Tensor]:
    """The same rows of each."""
    return {name: t[rows.start : rows.stop] for name, t in inputs.items()}
