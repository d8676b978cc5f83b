"""Flat portraits."""

import torch

from generative.worlds import portraits
from generative.worlds.flat import LINE, flattened


def test_a_flat_portrait_has_one_colour_for_each_part_and_lines_between():
    factors = portraits.sample(2, torch.Generator().manual_seed(0))
    rendered = portraits.render(factors, 32, truth=True)
    flat = flattened(rendered.image, rendered.parts)
    for i in range(2):
        for part in rendered.parts[i].unique():
            there = rendered.parts[i] == part
            colours = flat[i][:, there].T.unique(dim=0)
            mean = rendered.image[i][:, there].mean(dim=1)
            line = (mean + 1) * LINE - 1
            near = torch.stack([(colours - c).abs().amax(dim=1) for c in (mean, line)]).amin(dim=0)
            assert near.max() < 1e-4 and len(colours) <= 2


def test_a_picture_of_one_part_has_no_lines():
    image = torch.rand(1, 3, 4, 4)
    flat = flattened(image, torch.zeros(1, 4, 4, dtype=torch.uint8))
    torch.testing.assert_close(flat, image.mean(dim=(2, 3), keepdim=True).expand_as(image))
