"""Pivotal tuning against the losses of the published code, and by what tuning must do."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.generator import Noise, StyleGenerator
from generative.inversion.pti import Locality, PivotalTuning, TuningOptions, morphed
from generative.networks import stylegan, stylegan2, stylegan3
from generative.program import Outcome, run, start
from generative.spaces import broadcast

VECTORS = Path(__file__).parents[4] / "shared/conformance/methods/pti/losses.npz"
OLD, NEW = "A", "B"  # the published stand-in for a generator, before and after tuning


class ToyGenerator(StyleGenerator):
    """The published run's stand-in for a generator."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = 16, 0, 16, 8
        self.img_resolution, self.img_channels = 16, 3
        self.matrix = nn.Parameter(matrix, requires_grad=False)

    @property
    def w_avg(self) -> Tensor:
        return self.matrix.new_zeros(16)

    def map(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return 0.3 * z

    def synthesize(self, ws: Tensor, noise: Noise = "const", *args: object, **kwargs: object) -> Tensor:
        return (ws.flatten(1) @ self.matrix).tanh().reshape(-1, 3, 16, 16)


class ToyPerceptual:
    """The published run's stand-in for LPIPS."""

    def describe(self, images: Tensor) -> list[Tensor]:
        return [F.avg_pool2d(images, 4)]

    def compare(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        return (a[0] - b[0]).square().mean(dim=(1, 2, 3))


class Recorded:
    """Hands out the z of the published run."""

    def __init__(self, z: Tensor) -> None:
        self.z = z

    def standard_normal(self, size: tuple[int, ...], dtype: type) -> np.ndarray:
        return self.z.reshape(size).numpy()


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    if not VECTORS.exists():
        pytest.skip("the published losses are not here")
    with np.load(VECTORS) as arrays:
        return {name: torch.from_numpy(arrays[name]).double() for name in arrays.files}


def test_the_losses_are_those_of_the_official_code(published: dict[str, Tensor]) -> None:
    tuning = PivotalTuning(
        ToyGenerator(published[OLD]),
        ToyPerceptual(),
        Locality(),
        randomness=lambda seed, moment: Recorded(published["z"]),
    )
    problems = tuning.problems(published["real"], published["w_pivot"], TuningOptions())
    seen = tuning.evaluate(
        {"matrix": published[NEW][None]}, tuning.constants(problems), torch.zeros(1, dtype=torch.int64)
    )
    terms = {name: t.item() for name, t in seen.terms.items()}
    assert terms["pixel"] == pytest.approx(published["l2"].item(), rel=1e-6)
    assert terms["perceptual"] == pytest.approx(published["lpips_toy"].item(), rel=1e-6)
    assert terms["locality"] == pytest.approx(published["ball_loss"].item(), rel=1e-6)
    assert terms["total"] - terms["locality"] == pytest.approx(published["loss_no_ball"].item(), rel=1e-6)
    torch.testing.assert_close(seen.images, published["generated"], rtol=0, atol=1e-6)


def test_the_morphed_pivot_is_that_of_the_official_code(published: dict[str, Tensor]) -> None:
    ours = morphed(published["w_pivot"], published["w_new"], 30)
    scale = published["morphed"].abs().max().item()
    torch.testing.assert_close(ours, published["morphed"], rtol=0, atol=1e-6 * scale)


def test_every_published_array_is_compared(published: dict[str, Tensor]) -> None:
    inputs = {"A", "B", "w_pivot", "w_new", "z", "real"}
    outputs = {"morphed", "generated", "l2", "lpips_toy", "ball_loss", "loss_no_ball"}
    assert set(published) == inputs | outputs


def tiny(family: str = "stylegan2") -> StyleGenerator:
    torch.manual_seed(0)
    generator: StyleGenerator
    if family == "stylegan":
        config = stylegan.StyleGANConfig(16, (8, 8, 8), z_dim=8, w_dim=8, mapping_layers=2, mapping_fmaps=8)
        generator = stylegan.Generator(config)
    elif family == "stylegan2":
        config2 = stylegan2.StyleGAN2Config(16, z_dim=8, w_dim=8, mapping_layers=2, channel_base=128)
        generator = stylegan2.Generator(replace(config2, channel_max=8))
    else:
        sizes = {"z_dim": 8, "w_dim": 8, "num_layers": 4, "channel_base": 128, "channel_max": 8}
        generator = stylegan3.Generator(stylegan3.StyleGAN3Config(16, **sizes))
    return generator.eval().requires_grad_(False)


def problem(tuning: PivotalTuning, options: TuningOptions, N: int = 2) -> dict[str, Tensor]:
    """Targets that the generator does not paint from the pivots."""
    rng = torch.Generator().manual_seed(1)
    ws = broadcast(tuning.generator.map(torch.randn(N, 8, generator=rng)), tuning.generator.num_ws)
    targets = F.interpolate(torch.rand(N, 3, 4, 4, generator=rng) * 2 - 1, size=(16, 16), mode="bilinear")
    return tuning.problems(targets, ws, options)


PIXELS = TuningOptions(steps=60, learning_rate=3e-3, perceptual=0, stop=None)


@pytest.mark.parametrize("family", ["stylegan", "stylegan2", "stylegan3"])
def test_the_pivot_paints_the_picture_and_the_generator_is_left_alone(family: str) -> None:
    generator = tiny(family)
    before = {name: t.clone() for name, t in generator.state_dict().items()}
    tuning = PivotalTuning(generator, None)
    course = run(tuning, problem(tuning, PIXELS))
    for curve in course.curves:
        assert curve["pixel"][-1] < 0.6 * curve["pixel"][0]
    for name, t in generator.state_dict().items():
        assert torch.equal(t, before[name])
    assert not any(p.requires_grad for p in generator.parameters())


def test_all_weights_that_paint_are_tuned_and_no_others() -> None:
    generator = tiny()
    names = {name for name, _ in generator.named_parameters()}
    mapping = {name for name in names if name.startswith("mapping.")}
    assert mapping and set(PivotalTuning(generator, None).weights) == names - mapping


def test_a_step_is_that_of_adam_on_the_module_itself() -> None:
    tuning = PivotalTuning(tiny(), ToyPerceptual())
    problems = problem(tuning, replace(PIXELS, steps=3, perceptual=1), N=1)
    ours = run(tuning, problems).params
    twin = tiny()
    trained = [p.requires_grad_() for n, p in twin.named_parameters() if n in tuning.weights]
    adam, distance = torch.optim.Adam(trained, lr=3e-3), ToyPerceptual()
    for _ in range(3):
        image = twin.synthesize(problems["ws"])
        looks = distance.compare(distance.describe(image), distance.describe(problems["target"]))
        loss = (image - problems["target"]).square().mean() + looks.sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
    weights = dict(twin.named_parameters())
    for name, tuned in ours.items():
        torch.testing.assert_close(tuned[0], weights[name].detach(), rtol=0, atol=1e-4)


def test_a_picture_does_not_depend_on_its_company() -> None:
    tuning = PivotalTuning(tiny(), ToyPerceptual(), Locality())
    both = problem(tuning, replace(PIXELS, perceptual=1))
    alone = {name: t[1:] for name, t in both.items()}
    terms, gradients = first_step(tuning, both)
    terms_alone, gradients_alone = first_step(tuning, alone)
    for name, term in terms_alone.items():
        torch.testing.assert_close(terms[name][1:], term)
    for name, gradient in gradients_alone.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(gradients[name][1:], gradient, rtol=0, atol=1e-4 * scale)


def first_step(tuning: PivotalTuning, problems: dict[str, Tensor]) -> tuple[dict, dict]:
    """Losses and gradients."""
    _, batch = start(tuning, problems)
    params = {name: p.requires_grad_() for name, p in batch.params.items()}
    terms = tuning.evaluate(params, batch.constants, batch.step).terms
    gradients = torch.autograd.grad(terms["total"].sum(), list(params.values()))
    detached = {name: t.detach() for name, t in terms.items()}
    return detached, dict(zip(params, gradients, strict=True))


def test_the_ball_keeps_the_pictures_around_the_pivot() -> None:
    generator, moved = tiny(), {}
    ws = broadcast(generator.map(torch.randn(16, 8, generator=torch.Generator().manual_seed(5))), 6)
    for strength in (0.0, 30.0):
        tuning = PivotalTuning(generator, None, Locality(alpha=5, pixel=strength, perceptual=0))
        course = run(tuning, problem(tuning, PIXELS, N=1))
        around = morphed(problem(tuning, PIXELS, N=1)["ws"].expand(16, -1, -1), ws, 5)
        weights = {name: p.expand(16, *p.shape[1:]) for name, p in course.params.items()}
        after, before = tuning.paint(weights, around, "none"), generator.synthesize(around, "none")
        moved[strength] = (after - before).square().mean().item()
    assert moved[30.0] < 0.7 * moved[0.0]


def test_tuning_stops_when_the_picture_is_as_near_as_was_asked() -> None:
    tuning = PivotalTuning(tiny(), ToyPerceptual())
    options = replace(PIXELS, perceptual=1)
    stop = run(tuning, problem(tuning, options, N=1)).curves[0]["perceptual"][20]
    course = run(tuning, problem(tuning, replace(options, stop=stop), N=1))
    assert course.outcomes == [Outcome.STOPPED] and course.steps[0] <= 21


def test_it_goes_on_from_a_checkpoint() -> None:
    tuning = PivotalTuning(tiny(), None, Locality(alpha=2, perceptual=0))
    short = problem(tuning, replace(PIXELS, steps=2))
    whole = run(tuning, {**short, "steps": torch.tensor([4, 4])})
    half = run(tuning, short).tensors()
    half["outcome"] = torch.zeros_like(half["outcome"])
    rest = run(tuning, {**short, "steps": torch.tensor([4, 4])}, saved=half)
    for name, weight in whole.params.items():
        assert torch.equal(rest.params[name], weight)


def test_samples_begin_with_the_generators_weights() -> None:
    tuning = PivotalTuning(tiny(), None)
    problems = problem(tuning, PIXELS)
    _, batch = start(tuning, problems)
    images = tuning.paint(batch.params, problems["ws"])
    torch.testing.assert_close(images, tuning.generator.synthesize(problems["ws"]), rtol=0, atol=1e-5)
    assert all(not tuning.delta(batch.params, 1)[name].any() for name in tuning.weights)


def test_what_cannot_be_tuned_is_refused() -> None:
    tuning = PivotalTuning(tiny(), None)
    targets, ws = torch.zeros(1, 3, 16, 16), torch.zeros(1, 6, 8)
    with pytest.raises(ValueError, match=r"targets must be \(1, 3, 16, 16\)"):
        tuning.problems(torch.zeros(1, 3, 32, 32), ws, PIXELS)
    with pytest.raises(ValueError, match=r"ws must be \(1, 6, 8\)"):
        tuning.problems(targets, torch.zeros(1, 5, 8), PIXELS)
    with pytest.raises(ValueError, match="perceptual network"):
        tuning.problems(targets, ws, TuningOptions())
