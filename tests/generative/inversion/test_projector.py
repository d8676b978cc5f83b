"""The projector against the official one, run whole on a small generator, and against known truths."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from generative.inversion.projector import Projector, ProjectorOptions
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.program import Outcome, run

VECTORS = Path(__file__).parents[4] / "shared/conformance/methods/projector"


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


def tiny() -> Generator:
    torch.manual_seed(0)
    config = StyleGAN2Config(
        img_resolution=16, z_dim=16, w_dim=16, mapping_layers=2, channel_base=128, channel_max=16
    )
    return Generator(config).eval().requires_grad_(False)


def projector(space: Literal["w", "w+"] = "w+", distance: ToyPerceptual | None = None) -> Projector:
    generator = tiny()
    w = generator.map(torch.randn(1000, 16, generator=torch.Generator().manual_seed(1)))
    std = (w - w.mean(dim=0)).square().sum(dim=1).mean().sqrt().item()
    return Projector(generator, distance, w.mean(dim=0), std, space)


def pictures(generator: Generator, N: int) -> Tensor:
    return generator(torch.randn(N, 16, generator=torch.Generator().manual_seed(2)))


PIXELS = ProjectorOptions(steps=300, pixel=1, perceptual=0)


@pytest.mark.parametrize("space", ["w", "w+"])
def test_pictures_that_the_generator_painted_are_found_again(space: Literal["w", "w+"]) -> None:
    project = projector(space)
    targets = pictures(project.generator, 3)
    course = run(project, project.problems(targets, PIXELS))
    inputs = project.painting(course.params)
    noises = {n.removeprefix("noise:"): t for n, t in inputs.items() if n != "ws"}
    found = project.generator.synthesize(inputs["ws"], noises=noises)
    error, before = (found - targets).square().mean(), (targets - targets.mean(dim=0)).square().mean()
    assert error < 0.1 * before
    rows = inputs["ws"][0]
    assert torch.equal(rows[0], rows[-1]) == (space == "w")


def test_noise_maps_stay_normalized() -> None:
    project = projector()
    course = run(
        project, project.problems(pictures(project.generator, 2), ProjectorOptions(steps=5, perceptual=0))
    )
    for name, noise in course.params.items():
        if name.startswith("noise:"):
            torch.testing.assert_close(noise.mean(dim=(1, 2, 3)), torch.zeros(2), rtol=0, atol=1e-6)
            torch.testing.assert_close(noise.square().mean(dim=(1, 2, 3)), torch.ones(2), rtol=0, atol=1e-5)


def test_draws_depend_on_the_seed_and_not_on_the_place_in_the_batch() -> None:
    project = projector()
    target = pictures(project.generator, 1)
    short = ProjectorOptions(steps=3, pixel=1, perceptual=0)
    one, two = project.problems(target, short), project.problems(target, replace(short, seed=7))
    both = run(project, {name: torch.cat([one[name], two[name], one[name]]) for name in one}).params["w"]
    assert not torch.equal(both[0], both[1])
    torch.testing.assert_close(both[0], both[2], rtol=0, atol=1e-6)


def test_a_picture_stops_when_it_is_as_near_as_was_asked() -> None:
    project = projector(distance=ToyPerceptual())
    options = ProjectorOptions(steps=200, pixel=0)
    problems = project.problems(pictures(project.generator, 1), options)
    curve = run(project, problems).curves[0]["perceptual"]
    stop = curve[100]
    course = run(project, project.problems(pictures(project.generator, 1), replace(options, stop=stop)))
    assert course.outcomes == [Outcome.STOPPED] and course.steps[0] <= 101
    assert course.curves[0]["perceptual"][-1] <= stop


def test_what_cannot_be_projected_is_refused() -> None:
    project = projector()
    with pytest.raises(ValueError, match=r"targets must be \(N, C, 16, 16\)"):
        project.problems(torch.zeros(1, 3, 32, 32), PIXELS)
    with pytest.raises(ValueError, match="perceptual network"):
        project.problems(torch.zeros(1, 3, 16, 16), ProjectorOptions())


def test_the_distance_sees_pictures_of_at_most_256_pixels() -> None:
    class Remembering(ToyPerceptual):
        def describe(self, images: Tensor) -> list[Tensor]:
            assert images.shape[2:] == (256, 256)
            return super().describe(images)

    generator = SimpleNamespace(img_resolution=512, num_ws=1, noise_sizes={})
    project = Projector(generator, Remembering(), torch.zeros(4), 1.0)
    problems = project.problems(torch.ones(2, 3, 512, 512), ProjectorOptions())
    assert project.constants(problems)["stage0"].shape[0] == 2
