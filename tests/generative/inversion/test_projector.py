"""The projector against the official one, run whole on a small generator, and against known truths."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from generative.inversion.projector import Projector, ProjectorOptions
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.program import Course, Outcome, run

VECTORS = Path(__file__).parents[4] / "shared/conformance/methods/projector"
TINY = StyleGAN2Config(
    img_resolution=16, z_dim=16, w_dim=16, mapping_layers=2, channel_base=128, channel_max=16
)


class ToyPerceptual:
    """The published run's stand-in for VGG16: 4x4 averages and mean diagonal differences of x / 255."""

    def describe(self, images: Tensor) -> list[Tensor]:
        x = (images + 1) / 2
        diagonal = (x[:, :, 1:, 1:] - x[:, :, :-1, :-1]).abs().mean(dim=(2, 3))
        return [torch.cat([F.avg_pool2d(x, 4).flatten(1), diagonal], dim=1)]

    def compare(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        return (a[0] - b[0]).square().sum(dim=1)


class Recorded:
    """Hands out the random draws of the published run, one after the other."""

    def __init__(self, draws: Iterator[np.ndarray]) -> None:
        self.draws = draws

    def standard_normal(self, size: tuple[int, ...], dtype: type) -> np.ndarray:
        return next(self.draws).reshape(size).astype(dtype)


def test_twelve_steps_are_those_of_the_official_projector() -> None:
    if not VECTORS.exists():
        pytest.skip("the published run is not here")
    with np.load(VECTORS / "full_run_12steps.npz") as arrays:
        published = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    generator = published_generator(published)
    draws = Recorded(published[f"randn_draw_{i:03}"].numpy() for i in range(19))
    projector = Projector(
        generator,
        ToyPerceptual(),
        published["w_avg"].flatten(),
        published["w_std"].item(),
        space="w",
        randomness=lambda seed, moment: draws,
    )
    options = ProjectorOptions(steps=12, learning_rate=0.1, pixel=0, perceptual=1, noise_regularization=1e5)
    path: list[Tensor] = []
    target = published["target"][None] / 127.5 - 1
    course = run(projector, projector.problems(target, options), lambda c: path.append(c.params["w"][0, 0]))
    torch.testing.assert_close(torch.stack(path), published["w_out"][:, 0], rtol=0, atol=1e-3)
    log = json.loads((VECTORS / "meta.json").read_text())["log"][1:]
    logged = [(float(line.split()[3]), float(line.split()[5])) for line in log]
    curve = course.curves[0]
    np.testing.assert_allclose(curve["perceptual"], [d for d, _ in logged], rtol=0, atol=0.006)
    np.testing.assert_allclose(curve["total"], [t for _, t in logged], rtol=1e-5)


def published_generator(published: dict[str, Tensor]) -> Generator:
    config = StyleGAN2Config(
        img_resolution=32, z_dim=16, w_dim=16, mapping_layers=2, channel_base=256, channel_max=16
    )
    generator = Generator(config).eval().requires_grad_(False)
    weights = {
        n.removeprefix("G__").replace("__", "."): t for n, t in published.items() if n.startswith("G__")
    }
    generator.load_state_dict(weights)
    return generator
