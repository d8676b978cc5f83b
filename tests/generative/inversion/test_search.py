"""The projector against the official one, run whole on a small generator, and against known truths."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from generative.batch import Tensors
from generative.generator import StyleGenerator
from generative.inversion.codes import Code, CodeBook, on_sphere, p_code, s_code, sphere_code, w_code, z_code
from generative.inversion.degradations import Downsample, Mask
from generative.inversion.search import CYCLE, Search, SearchOptions
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.p_space import p_statistics
from generative.program import Evaluation, Outcome, run
from generative.spaces import Space, broadcast
from generative.statistics import WStatistics, sample_w, w_statistics
from tests import families

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
    statistics = spread_of(published["w_avg"].flatten(), published["w_std"].item())
    code = w_code(generator, statistics, Space.W)
    projector = Search(generator, code, ToyPerceptual(), randomness=lambda seed, moment: draws)
    options = SearchOptions(steps=12, learning_rate=0.1, pixel=0, perceptual=1, noise_regularization=1e5)
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


def spread_of(mean: Tensor, total_std: float) -> WStatistics:
    """Statistics of which searches in W need two numbers."""
    dim = len(mean)
    variances = torch.full((dim,), total_std**2 / dim, dtype=torch.float64)
    return WStatistics(mean, variances.sqrt(), torch.eye(dim), variances)


def codes(generator: Generator) -> dict[str, Code]:
    w = sample_w(generator, 1000)
    statistics, axes = w_statistics(w), p_statistics(w)
    return {
        "z": z_code(generator),
        "w": w_code(generator, statistics, Space.W),
        "w+": w_code(generator, statistics, Space.W_PLUS),
        "ii2s": w_code(generator, statistics, Space.W_PLUS, "p_norm", axes),
        "s": s_code(generator, statistics, w),
        "p": p_code(generator, axes, Space.P),
        "p+": p_code(generator, axes, Space.P_PLUS),
        "pulse": sphere_code(generator, w),
    }


GENERATOR = tiny()
CODES = codes(GENERATOR)


def projector(space: str = "w+", distance: ToyPerceptual | None = None) -> Search:
    return Search(GENERATOR, CODES[space], distance)


def pictures(generator: Generator, N: int) -> Tensor:
    return generator(torch.randn(N, 16, generator=torch.Generator().manual_seed(2)))


PIXELS = SearchOptions(steps=300, pixel=1, perceptual=0)


@pytest.mark.parametrize("space", CODES)
def test_pictures_that_the_generator_painted_are_found_again(space: str) -> None:
    project = projector(space)
    targets = pictures(GENERATOR, 3)
    options = replace(PIXELS, learning_rate=0.4, schedule=CYCLE) if space == "pulse" else PIXELS
    course = run(project, project.problems(targets, options))
    found = project.paint(course.params)
    error, before = (found - targets).square().mean(), (targets - targets.mean(dim=0)).square().mean()
    assert error < 0.1 * before
    inputs = project.painting(course.params)
    if "ws" in inputs:
        rows = inputs["ws"][0]
        assert torch.equal(rows[0], rows[-1]) == (space in ("z", "w", "p"))


@pytest.mark.parametrize("space", CODES)
def test_a_code_is_what_its_shape_says_and_usual_ones_have_a_penalty_of_one(space: str) -> None:
    code = CODES[space]
    w = sample_w(GENERATOR, 500, seed=3)
    ws = broadcast(w, GENERATOR.num_ws)
    if code.encode is not None:
        rows = code.encode(ws)
        assert rows.shape[1:] == code.shape
        assert float(code.penalty(rows).mean()) == pytest.approx(1, abs=0.15)
        assert float((rows - rows.mean(dim=0)).square().flatten(1).sum(dim=1).mean().sqrt()) == pytest.approx(
            code.spread * (code.shape[0] ** 0.5 if len(code.shape) == 2 else 1), rel=0.1
        )
        painted = code.decode(rows)
        if "ws" in painted:
            torch.testing.assert_close(painted["ws"], ws, rtol=1e-3, atol=1e-3)
        else:
            torch.testing.assert_close(
                painted["styles"], torch.cat(list(GENERATOR.styles(ws).values()), dim=1)
            )
    if code.centre is not None:
        assert code.centre.shape == code.shape


def test_codes_of_pulse_stay_on_their_sphere_as_the_official_ones_do() -> None:
    radius = GENERATOR.w_dim**0.5
    project = projector("pulse")
    options = replace(PIXELS, steps=5, learning_rate=0.4, jitter=0.0)
    course = run(project, project.problems(pictures(GENERATOR, 2), options))
    torch.testing.assert_close(course.params["p"].norm(dim=2), torch.full((2, GENERATOR.num_ws), radius))

    path = VECTORS.parent / "p_space" / "pulse.npz"
    if not path.exists():
        pytest.skip("the published steps are not here")
    with np.load(path) as arrays:
        start, target, first, last = (
            torch.from_numpy(arrays[f"sph_{name}"]) for name in ("start", "target", "first", "traj_last")
        )

    class Sphere:
        """The official example: the mean squared distance to a target, on spheres of the initial radii."""

        key = "sphere"

        def constants(self, problems: Tensors) -> Tensors:
            return {}

        def begin(self, problems: Tensors) -> Tensors:
            return {"p": problems["start"]}

        def evaluate(self, params: Tensors, constants: Tensors, step: Tensor) -> Evaluation:
            return Evaluation({"total": (params["p"] - target).square().flatten(1).mean(dim=1)})

        def learning_rate(self, constants: Tensors, step: Tensor) -> Tensor:
            return torch.full((1,), 0.4)

        def settle(self, params: Tensors) -> Tensors:
            return {"p": on_sphere(params["p"], start.norm(dim=2, keepdim=True))}

        def outcome(self, constants: Tensors, step: Tensor, terms: Tensors) -> Tensor:
            return torch.where(step >= 20, int(Outcome.FINISHED), int(Outcome.RUNNING))

    path_taken: list[Tensor] = []
    run(Sphere(), {"start": start}, lambda course: path_taken.append(course.params["p"]))
    torch.testing.assert_close(path_taken[0], first, rtol=0, atol=1e-4)
    assert min(float((p - last).abs().max()) for p in path_taken) < 1e-3


def test_noise_maps_stay_normalized() -> None:
    project = projector()
    course = run(
        project, project.problems(pictures(project.generator, 2), SearchOptions(steps=5, perceptual=0))
    )
    for name, noise in course.params.items():
        if name.startswith("noise:"):
            torch.testing.assert_close(noise.mean(dim=(1, 2, 3)), torch.zeros(2), rtol=0, atol=1e-6)
            torch.testing.assert_close(noise.square().mean(dim=(1, 2, 3)), torch.ones(2), rtol=0, atol=1e-5)


def test_draws_depend_on_the_seed_and_not_on_the_place_in_the_batch() -> None:
    project = projector()
    target = pictures(project.generator, 1)
    short = SearchOptions(steps=3, pixel=1, perceptual=0)
    one, two = project.problems(target, short), project.problems(target, replace(short, seed=7))
    both = run(project, {name: torch.cat([one[name], two[name], one[name]]) for name in one}).params["w"]
    assert not torch.equal(both[0], both[1])
    torch.testing.assert_close(both[0], both[2], rtol=0, atol=1e-6)


def test_a_picture_stops_when_it_is_as_near_as_was_asked() -> None:
    project = projector(distance=ToyPerceptual())
    options = SearchOptions(steps=200, pixel=0)
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
        project.problems(torch.zeros(1, 3, 16, 16), SearchOptions())


def test_the_distance_sees_pictures_of_at_most_256_pixels() -> None:
    class Remembering(ToyPerceptual):
        def describe(self, images: Tensor) -> list[Tensor]:
            assert images.shape[2:] == (256, 256)
            return super().describe(images)

    config = StyleGAN2Config(img_resolution=512, z_dim=4, w_dim=4, mapping_layers=1, channel_max=1)
    generator = Generator(config).requires_grad_(False)
    project = Search(generator, z_code(generator), Remembering())
    problems = project.problems(torch.ones(2, 3, 512, 512), SearchOptions())
    assert project.constants(problems)["stage0"].shape[0] == 2


def test_a_search_begins_where_it_is_told() -> None:
    targets = pictures(GENERATOR, 2)
    for space in ("w", "w+", "s", "p+"):
        project = Search(GENERATOR, CODES[space], None, noise=False)
        encode = CODES[space].encode
        assert encode is not None
        w = GENERATOR.map(torch.randn(2, 16, generator=torch.Generator().manual_seed(2)))  # of the targets
        start = encode(broadcast(w, GENERATOR.num_ws))
        options = replace(PIXELS, steps=1, jitter=0.0)
        course = run(project, project.problems(targets, options, start=start))
        assert max(curve["pixel"][0] for curve in course.curves) < 1e-6


def test_only_what_a_degradation_leaves_is_compared() -> None:
    project = Search(GENERATOR, CODES["w+"], None, degradation=Mask())
    targets, mask = pictures(GENERATOR, 1), torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1
    garbage = torch.where(mask > 0, targets, torch.full_like(targets, 9.0))
    options = replace(PIXELS, steps=100)
    one = run(project, project.problems(targets * mask, options, constants={"mask": mask}))
    other = run(project, project.problems(garbage * mask, options, constants={"mask": mask}))
    assert torch.equal(one.params["w"], other.params["w"])
    found = project.paint(one.params)
    known = (found - targets).square()[..., :8].mean()
    assert known < 0.1 * targets[..., :8].var()


def test_small_observations_are_found_by_their_means() -> None:
    project = Search(GENERATOR, CODES["w"], ToyPerceptual(), degradation=Downsample(4))
    targets = Downsample(4)(pictures(GENERATOR, 1), {})
    course = run(project, project.problems(targets, replace(PIXELS, perceptual=0.01)))
    assert course.curves[0]["pixel"][-1] < 0.05 * targets.var()


def test_the_in_domain_term_is_how_far_the_encoder_is_from_the_code() -> None:
    def encoder(images: Tensor) -> Tensor:
        return images.mean(dim=(1, 2, 3))[:, None, None].expand(-1, GENERATOR.num_ws, 16)

    project = Search(GENERATOR, CODES["w+"], None, noise=False, encoder=encoder)
    options = replace(PIXELS, steps=1, in_domain=2.0, jitter=0.0, noise_regularization=0.0)
    course = run(project, project.problems(pictures(GENERATOR, 1), options))
    curve = course.curves[0]
    centre = CODES["w+"].centre
    assert centre is not None
    image = GENERATOR.synthesize(centre[None])
    assert curve["in_domain"][0] == pytest.approx(
        float((centre - encoder(image)[0]).square().mean()), rel=1e-5
    )
    assert curve["total"][0] == pytest.approx(curve["pixel"][0] + 2 * curve["in_domain"][0], rel=1e-5)
    with pytest.raises(ValueError, match="no encoder"):
        projector().problems(pictures(GENERATOR, 1), options)


def test_a_class_is_searched_from_its_own_middle() -> None:
    generator = families.tiny("stylegan2")
    assert isinstance(generator, StyleGenerator)
    book = CodeBook(generator, w_statistics(sample_w(generator)))
    z = torch.from_numpy(np.random.RandomState(123).randn(1000, 8).astype(np.float32))
    with torch.no_grad():
        middle = generator.map(z, torch.eye(3)[1].expand(1000, -1)).mean(dim=0)
        for space in (Space.W, Space.W_PLUS, Space.P, Space.S, Space.FEATURES):
            code = book.get(space, label=1)
            assert code.centre is not None and code is book.get(space, label=1)
            assert not torch.allclose(code.centre, book.get(space).centre, atol=1e-3)  # type: ignore[arg-type]
        centre = book.get(Space.W, label=1).centre
    torch.testing.assert_close(centre, middle[None], rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="z of one of them"):
        book.get(Space.Z)
