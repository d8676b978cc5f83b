"""Features as a space: what stands in a layer, against a plain loop with the optimiser of torch."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from generative.families import GENERATORS
from generative.generator import StyleGenerator
from generative.inversion.codes import Code, feature_code
from generative.inversion.feature_space import FEATURES, Feature, carried, map_shapes, standing
from generative.inversion.search import CONSTANT, Search, SearchOptions
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.program import run
from generative.statistics import sample_w, w_statistics
from tests import families

LAYER = "b8.conv0"
OPTIONS = SearchOptions(steps=3, learning_rate=0.05, schedule=CONSTANT, jitter=0, perceptual=0, latent=0.3)


def tiny() -> Generator:
    torch.manual_seed(0)
    config = StyleGAN2Config(
        img_resolution=16, z_dim=16, w_dim=16, mapping_layers=2, channel_base=128, channel_max=16
    )
    return Generator(config).eval().requires_grad_(False)


GENERATOR = tiny()
SAMPLES = sample_w(GENERATOR, 1000)


def code(held: bool = False, layer: str | None = LAYER) -> Code:
    return feature_code(Feature(GENERATOR, layer), w_statistics(SAMPLES), SAMPLES, held)


def ws(seed: int = 5, N: int = 2) -> Tensor:
    z = torch.randn(N * GENERATOR.num_ws, 16, generator=torch.Generator().manual_seed(seed))
    return GENERATOR.map(z).unflatten(0, (N, GENERATOR.num_ws))


def widened(w: Tensor) -> Tensor:
    """(N, D) -> (N, L, D)."""
    return w[:, None].expand(-1, GENERATOR.num_ws, -1)


def test_a_search_begins_at_what_the_start_paints() -> None:
    place, search = code(), Search(GENERATOR, code(), None, noise=False)
    assert place.encode is not None
    begun = place.encode(ws())
    torch.testing.assert_close(search.paint({"f": begun}), GENERATOR.synthesize(ws()))
    assert place.penalty(begun).abs().max() < 1e-10
    assert place.penalty(begun + begun.std()).min() > 0


def test_the_distance_to_the_start_is_in_variances_of_the_layer() -> None:
    feature, place = Feature(GENERATOR, LAYER), code()
    w = widened(SAMPLES[500:700])
    assert place.centre is not None
    codes = place.centre.repeat(200, 1)
    codes[:, : feature.shape.numel()] = feature.of(w).flatten(1)
    assert place.penalty(codes).mean().item() == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("held", [False, True])
def test_its_steps_are_those_of_a_plain_loop(held: bool) -> None:
    target, begun = GENERATOR.synthesize(ws(7)), ws()
    place = code(held)
    assert place.encode is not None
    search = Search(GENERATOR, place, None, noise=False)
    course = run(search, search.problems(target, OPTIONS, start=place.encode(begun)))
    found = search.painting(course.params)

    first, samples, middle = (
        GENERATOR.features_of_ws(w, [LAYER])[LAYER]
        for w in (begun, widened(SAMPLES[:64]), widened(SAMPLES.mean(dim=0)[None]))
    )
    scale = (samples - middle).square()
    map, behind = first.clone().requires_grad_(), begun[:, 2:].clone().requires_grad_()
    adam = torch.optim.Adam([map] if held else [map, behind], lr=OPTIONS.learning_rate)
    for _ in range(OPTIONS.steps):
        all_ws = torch.cat([begun[:, :2], behind], dim=1)
        images = GENERATOR.synthesize(all_ws, hook=lambda name, x: map if name == LAYER else x)
        loss = ((images - target) ** 2).mean(dim=(1, 2, 3)).sum()
        loss = loss + OPTIONS.latent * (((map - first) ** 2).mean(dim=(1, 2, 3)) / scale.mean()).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
    torch.testing.assert_close(found[FEATURES + LAYER], map.detach(), rtol=0, atol=1e-4)
    torch.testing.assert_close(found["ws"][:, 2:], behind.detach(), rtol=0, atol=1e-4)
    assert torch.equal(found["ws"][:, :2], begun[:, :2])
    assert torch.equal(found["ws"], begun) == held


def test_it_fits_what_no_w_paints() -> None:
    target = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    options = replace(OPTIONS, steps=100, latent=0.0)
    place = code(layer="b16.conv0")
    assert place.centre is not None
    search = Search(GENERATOR, place, None, noise=False)
    course = run(search, search.problems(target, options))
    curve = course.curves[0]["pixel"]
    assert curve[-1] < 0.2 * curve[0]


def test_a_run_that_was_cut_goes_on_to_the_same_bits() -> None:
    search = Search(GENERATOR, code(), None, noise=False)
    problems = search.problems(GENERATOR.synthesize(ws(7)), OPTIONS)
    saved: list[dict[str, Tensor]] = []
    whole = run(search, problems, lambda course: saved.append(course.tensors())).params["f"]
    resumed = run(search, problems, saved=saved[0])
    assert torch.equal(resumed.params["f"], whole) and saved[0]["sample/step"].tolist() == [1, 1]


def test_maps_are_carried_along_when_ws_move() -> None:
    before, after = ws(), ws(6)
    own = {"ws": before, FEATURES + LAYER: Feature(GENERATOR, LAYER).of(before)}
    moved = carried(GENERATOR, own, after)
    torch.testing.assert_close(moved[FEATURES + LAYER], Feature(GENERATOR, LAYER).of(after))
    other = {**own, FEATURES + LAYER: own[FEATURES + LAYER] + 1}
    assert torch.equal(carried(GENERATOR, other, before)[FEATURES + LAYER], other[FEATURES + LAYER])
    assert carried(GENERATOR, {"ws": before}, after) == {} and standing({"ws": before}) is None


def test_the_layer_in_the_middle_is_taken_unless_one_is_named() -> None:
    assert Feature(GENERATOR).layer == "b4.conv1" and Feature(GENERATOR).shape == (16, 4, 4)
    assert Feature(GENERATOR, LAYER).behind == 2
    assert not any("rgb" in name for name in map_shapes(GENERATOR))
    with pytest.raises(ValueError, match=r"no layer 'b8.torgb'; the model has b4.conv1, b8.conv0"):
        Feature(GENERATOR, "b8.torgb")


def test_a_map_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generative.inversion.feature_space.MAX_NUMBERS", 255)
    with pytest.raises(ValueError, match=r"b4\.conv1 has 256 numbers, over 255"):
        Feature(GENERATOR)


@pytest.mark.parametrize("name", [n for n in GENERATORS if isinstance(families.tiny(n), StyleGenerator)])
def test_other_families_have_layers_with_maps_too(name: str) -> None:
    generator = families.tiny(name)
    assert isinstance(generator, StyleGenerator)
    feature = Feature(generator)
    w = torch.randn(1, generator.num_ws, generator.w_dim, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        hook = standing({FEATURES + feature.layer: feature.of(w)})
        torch.testing.assert_close(generator.synthesize(w, hook=hook), generator.synthesize(w))
