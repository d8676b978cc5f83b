"""The multi-code prior against the published code, and by what must be true."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.generator import Generator, Hook, StyleGenerator
from generative.inversion.degradations import Downsample, Gray, Mask
from generative.inversion.multi_code import MultiCode, MultiCodeOptions
from generative.networks import dcgan, pggan, stylegan2
from generative.program import Outcome, run
from tests import families

VECTORS = Path(__file__).parents[4] / "shared/conformance/methods/mganprior/compose.npz"
TOLERANCE = 1e-5


class ToyGenerator(Generator):
    """The published run's: 1x1 convolution, enlarged four times, leaky ReLU; then a 3x3 convolution."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.img_resolution, self.img_channels = 12, 0, 4, 3
        self.pre, self.post = nn.Conv2d(12, 6, 1), nn.Conv2d(6, 3, 3, padding=1)
        names = {"pre.weight": "pre_0_weight", "pre.bias": "pre_0_bias"}
        names |= {"post.weight": "post_0_weight", "post.bias": "post_0_bias"}
        self.load_state_dict({ours: weights[theirs] for ours, theirs in names.items()})
        self.requires_grad_(False)

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        psi: Tensor | float = 1.0,
        *,
        lod: float | None = None,
        hook: Hook | None = None,
    ) -> Tensor:
        x = F.leaky_relu(F.interpolate(self.pre(z[:, :, None, None]), scale_factor=4.0), 0.2)
        return self.post(x if hook is None else hook("pre", x))


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    if not VECTORS.exists():
        pytest.skip("the published run is not here")
    with np.load(VECTORS) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def descend(program: MultiCode, problems: dict[str, Tensor], params: dict[str, Tensor], steps: int):
    """Plain gradient descent: the slow twin of the loop."""
    constants = program.constants(problems)
    for t in range(steps):
        asking = {name: p.detach().requires_grad_() for name, p in params.items()}
        loss = program.evaluate(asking, constants, torch.tensor([t])).terms["total"].sum()
        gradients = torch.autograd.grad(loss, list(asking.values()))
        rate = program.learning_rate(constants, torch.tensor([t])).item()
        params = {n: p.detach() - rate * g for (n, p), g in zip(asking.items(), gradients, strict=True)}
    return params


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE * theirs.abs().max().item())


def test_features_are_mixed_as_in_the_official_code(published: dict[str, Tensor]) -> None:
    program = MultiCode(ToyGenerator(published), "pre", 5, None)
    close(program.compose({"codes": published["z"], "alpha": published["alpha"]}), published["out"])


def test_six_steps_are_those_of_the_official_code(published: dict[str, Tensor]) -> None:
    program = MultiCode(ToyGenerator(published), "pre", 5, None)
    assert program.optimiser == "sgd" and PIXELS.learning_rate == 1
    first = {"codes": published["z"], "alpha": published["alpha"]}
    last = descend(program, program.problems(published["target"], PIXELS), first, 6)
    close(last["codes"], published["z_after6"])
    close(last["alpha"], published["alpha_after6"])


def test_every_published_array_is_compared(published: dict[str, Tensor]) -> None:
    inputs = {
        "z",
        "alpha",
        "target",
        *(f"{part}_0_{kind}" for part in ("pre", "post") for kind in ("weight", "bias")),
    }
    assert set(published) == inputs | {"out", "z_after6", "alpha_after6"}


PIXELS = MultiCodeOptions(perceptual=0)


def network(family: str) -> Generator:
    torch.manual_seed(0)
    generator: Generator
    if family == "pggan":
        generator = pggan.Generator(pggan.PGGANConfig(16, (16, 16, 8), z_dim=8))
    elif family == "conditional pggan":
        generator = pggan.Generator(pggan.PGGANConfig(16, (16, 16, 8), z_dim=8, c_dim=3))
    elif family == "dcgan":
        generator = dcgan.Generator(dcgan.DCGANConfig(8, (16, 8)))
    else:
        config = stylegan2.StyleGAN2Config(16, z_dim=8, w_dim=8, mapping_layers=2, channel_base=128)
        generator = stylegan2.Generator(replace(config, channel_max=8))
    return generator.eval().requires_grad_(False)


LAYERS = {"pggan": "layer2", "conditional pggan": "layer2", "dcgan": "main.2", "stylegan2": "b8.conv1"}


def labels(generator: Generator, N: int) -> dict[str, Tensor]:
    return {"label": torch.eye(3)[torch.arange(N) % 3]} if generator.c_dim else {}


@pytest.mark.parametrize("family", LAYERS)
@pytest.mark.parametrize("K", [1, 3])
def test_equal_codes_at_full_weight_paint_what_one_code_paints(family: str, K: int) -> None:
    generator = network(family)
    program = MultiCode(generator, LAYERS[family], K, None)
    rng = torch.Generator().manual_seed(1)
    z, alpha = torch.randn(2, 8, generator=rng), torch.ones(2, K, program.channels)
    label = labels(generator, 2).get("label")
    expected = generator(z, label)
    params = {"codes": z[:, None].expand(2, K, 8), "alpha": alpha}
    if isinstance(generator, stylegan2.Generator):
        w = generator.map(z)
        ws = w[:, None].expand(2, generator.num_ws, 8)
        params = {"codes": w[:, None].expand(2, K, 8), "alpha": alpha, "ws": ws}
    torch.testing.assert_close(program.compose(params, label), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", LAYERS)
def test_a_picture_does_not_depend_on_its_company(family: str) -> None:
    generator = network(family)
    program = MultiCode(generator, LAYERS[family], 3, None)
    size = generator.img_resolution
    observed = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(2)) - 0.5
    problems = program.problems(observed, replace(PIXELS, steps=3), labels(generator, 2))
    together = run(program, problems).params
    alone = run(program, {name: t[1:] for name, t in problems.items()}).params
    for name, t in alone.items():
        torch.testing.assert_close(together[name][1:], t, rtol=0, atol=1e-4 * t.abs().max().item())


def test_many_codes_come_nearer_than_one() -> None:
    generator = network("pggan")
    target = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(3)) * 2 - 1
    target = F.interpolate(target, size=(16, 16), mode="bilinear")
    errors = []
    for K in (1, 12):
        program = MultiCode(generator, "layer2", K, None, optimiser="adam")
        options = replace(PIXELS, steps=150, learning_rate=0.05)
        errors.append(run(program, program.problems(target, options)).curves[0]["pixel"][-1])
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize("degradation", [Mask(), Gray(), Downsample(4)], ids=repr)
def test_it_fits_the_observation_of_a_picture(degradation: Mask | Gray | Downsample) -> None:
    generator = network("pggan")
    mask = (torch.arange(16) < 9).float().expand(1, 1, 16, 16)
    truth = generator(torch.randn(1, 8, generator=torch.Generator().manual_seed(4)))
    observed = degradation.observe(truth, {"mask": mask})
    program = MultiCode(generator, "layer2", 6, None, degradation, optimiser="adam")
    given = {"mask": mask} if "mask" in degradation.needs else None
    options = replace(PIXELS, steps=100, learning_rate=0.05)
    curve = run(program, program.problems(observed, options, given)).curves[0]["pixel"]
    assert curve[-1] < 0.1 * curve[0]


def test_a_stop_rule_ends_the_search() -> None:
    class Squared:
        def describe(self, images: Tensor) -> list[Tensor]:
            return [images]

        def compare(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
            return (a[0] - b[0]).square().mean(dim=(1, 2, 3))

    generator = network("pggan")
    program = MultiCode(generator, "layer2", 3, Squared())
    observed = generator(torch.randn(1, 8, generator=torch.Generator().manual_seed(4)))
    course = run(program, program.problems(observed, MultiCodeOptions(steps=9, stop=100.0)))
    assert course.outcomes == [Outcome.STOPPED] and course.steps == [1]


@pytest.mark.parametrize("family, layer", [("pggan", "layer2"), ("stylegan", "layer3")])
def test_codes_that_begin_at_zero_stay_one(family: str, layer: str) -> None:
    generator = families.tiny(family)
    program = MultiCode(generator, layer, 3, None, Downsample(4, "bilinear"))
    observed = Downsample(4, "bilinear")(torch.rand(2, 3, 16, 16) * 2 - 1, {})
    problems = program.problems(observed, replace(PIXELS, spread=0.0, steps=3, learning_rate=0.1))
    begun = program.begin(problems)["codes"]
    if isinstance(generator, StyleGenerator):
        torch.testing.assert_close(begun, generator.map(torch.zeros(1, 8)).expand(2, 3, 8))
    else:
        assert not begun.any()
    found = run(program, problems).params["codes"]
    torch.testing.assert_close(found, found[:, :1].expand(-1, 3, -1))
    assert not torch.equal(found, begun)


def test_what_cannot_be_inverted_is_refused() -> None:
    generator = network("pggan")
    with pytest.raises(ValueError, match="no such layer"):
        MultiCode(generator, "layer99", 3, None)
    program = MultiCode(generator, "layer2", 3, None, Mask())
    picture = torch.zeros(1, 3, 16, 16)
    with pytest.raises(ValueError, match="missing: mask"):
        program.problems(picture, PIXELS)
    with pytest.raises(ValueError, match=r"observations must be \(1, 3, 16, 16\)"):
        program.problems(torch.zeros(1, 3, 8, 8), PIXELS, {"mask": torch.ones(1, 1, 16, 16)})
    with pytest.raises(ValueError, match="perceptual network"):
        program.problems(picture, MultiCodeOptions(), {"mask": torch.ones(1, 1, 16, 16)})
    with pytest.raises(ValueError, match="missing: label"):
        MultiCode(network("conditional pggan"), "layer2", 3, None).problems(picture, PIXELS)
