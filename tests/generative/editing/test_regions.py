"""Regions: what is outside stays, what is inside is the edit, and the two ways to blend differ between."""

import pytest
import torch

from generative.editing.regions import blend, box_mask, feathered, grown, mask_at
from tests.families import tiny


@pytest.fixture(scope="module")
def generator():
    return tiny("stylegan2")


@pytest.fixture(scope="module")
def ws(generator):
    rng = torch.Generator().manual_seed(0)
    return torch.randn(2, 2, generator.num_ws, generator.w_dim, generator=rng)  # before and after, of two


def painted(generator, ws, masks, splits):
    """The last code's pictures of a stack with blends after every layer."""

    def hook(name, x):
        return blend(x, masks, splits) if name in generator.layers else x

    with torch.no_grad():
        stack = generator.synthesize(ws.flatten(0, 1), hook=hook)
    return stack.chunk(len(masks) + 1)[-1]


@pytest.mark.parametrize("split", [False, True])
def test_a_mask_of_everything_is_the_edit_and_of_nothing_the_picture_before(generator, ws, split):
    side = generator.img_resolution
    with torch.no_grad():
        before, after = (generator.synthesize(w) for w in ws)
    for mask, expected in ((torch.ones(2, 1, side, side), after), (torch.zeros(2, 1, side, side), before)):
        torch.testing.assert_close(painted(generator, ws, [mask], [split]), expected, rtol=0, atol=1e-5)


def test_features_outside_are_those_of_the_picture_before(generator, ws):
    side = generator.img_resolution
    mask = box_mask(0.0, 0.0, 0.5, 1.0, side).expand(2, 1, -1, -1)
    with torch.no_grad():
        before, after = (generator.synthesize(w) for w in ws)
    edited = painted(generator, ws, [mask], [False])
    change = (edited - before).abs().mean(dim=(0, 1, 2))
    assert change[side // 2 + 4 :].max() < 0.1 * change[: side // 2].mean()
    inside = [(x - after)[..., : side // 2].abs().mean() for x in (edited, before)]
    assert inside[0] < 0.5 * inside[1]


def test_the_later_of_two_regions_counts():
    stack = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 1, 4, 4)
    left, top = box_mask(0, 0, 0.5, 1, 4)[None, None], box_mask(0, 0, 1, 0.5, 4)[None, None]
    seen = blend(stack, [left, top], [False, False])
    assert seen[2, 0, 0].tolist() == [2, 2, 2, 2] and seen[2, 0, 3].tolist() == [1, 1, 0, 0]
    assert seen[0].unique().tolist() == [0] and seen[1, 0, 0].tolist() == [1, 1, 0, 0]


def test_a_split_of_styles_gives_all_codes_the_same_input():
    stack = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    seen = blend(stack, [box_mask(0, 0, 0.5, 1, 4).expand(2, 1, -1, -1)], [True])
    assert torch.equal(seen[:2], seen[2:])
    assert torch.equal(seen[:2, ..., :2], stack[2:, ..., :2])
    assert torch.equal(seen[:2, ..., 2:], stack[:2, ..., 2:])


def test_a_box_covers_its_share_of_every_pixel():
    mask = box_mask(0.125, 0.0, 0.5, 0.25, 4)
    assert mask[0].tolist() == [0.5, 1.0, 0.5, 0.0] and mask[1:].abs().max() == 0
    assert float(box_mask(0.3, 0.1, 0.37, 0.61, 64).mean()) == pytest.approx(0.37 * 0.61, abs=1e-5)


def test_masks_grow_fade_and_shrink_to_layers():
    mask = box_mask(0.25, 0.25, 0.5, 0.5, 16)[None, None]
    assert torch.equal(grown(mask, 2), box_mask(0.125, 0.125, 0.75, 0.75, 16)[None, None])
    soft = feathered(mask, 4)
    assert float(soft.mean()) == pytest.approx(float(mask.mean())) and 0 < soft[0, 0, 8, 3] < 1
    assert torch.equal(mask_at(mask, (4, 4)), box_mask(0.25, 0.25, 0.5, 0.5, 4)[None, None])
