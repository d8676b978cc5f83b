"""One look by any encoder, and ReStyle's several."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from generative.generator import StyleGenerator
from generative.inversion.encoding import encode, seen_in
from generative.networks import e4e_encoder, ghfeat_encoder, psp_encoder
from generative.networks.ghfeat_encoder import GHFeatEncoderConfig
from generative.networks.psp_encoder import StyleMapEncoderConfig
from generative.spaces import Space
from tests.families import tiny


@pytest.fixture(scope="module")
def generator() -> StyleGenerator:
    network = tiny("stylegan")
    assert isinstance(network, StyleGenerator)
    return network


class Fixed:
    """Gives the means of the colours as codes."""

    img_channels = 3

    def __init__(self, side: int, per_layer: bool) -> None:
        self.img_resolution, self.per_layer, self.saw = side, per_layer, torch.empty(0)

    def __call__(self, images: Tensor) -> Tensor:
        self.saw = images
        w = images.mean(dim=(2, 3)).repeat(1, 3)[:, :8]
        return w[:, None].expand(-1, 6, -1) if self.per_layer else w


@pytest.mark.parametrize("per_layer", [True, False])
@pytest.mark.parametrize("side", [8, 16, 32])
def test_pictures_come_in_the_size_of_the_encoder_and_codes_for_every_layer(generator, side, per_layer):
    images = torch.rand(2, 3, 16, 16)
    encoder = Fixed(side, per_layer)
    ws = encode(encoder, images, generator)
    assert ws.shape == (2, generator.num_ws, generator.w_dim)
    assert encoder.saw.shape == (2, 3, side, side)
    if side == 8:
        torch.testing.assert_close(encoder.saw, F.avg_pool2d(images, 2))
    torch.testing.assert_close(ws[:, 0, :3], images.mean(dim=(2, 3)), rtol=0, atol=0.05)


@pytest.mark.parametrize("module", [psp_encoder, e4e_encoder])
def test_an_encoder_of_twice_the_channels_sees_what_it_has_painted(generator, module):
    torch.manual_seed(0)
    config = StyleMapEncoderConfig(
        num_ws=generator.num_ws,
        img_channels=6,
        trunk="resnet34",
        channels=(8, 8, 8, generator.w_dim),
        depths=(1, 1, 1, 1),
    )
    encoder = module.Encoder(config).eval()
    encoder.latent_avg.normal_()
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        found = encode(encoder, images, generator)

        seen = F.interpolate(images, size=(256, 256), mode="bicubic", antialias=True).clamp(-1, 1)
        ws = encoder.latent_avg.expand(2, -1, -1)
        for _ in range(5):
            painted = F.adaptive_avg_pool2d(generator.synthesize(ws), 256)
            ws = encoder(torch.cat([seen, painted], dim=1), ws)
    torch.testing.assert_close(found, ws, rtol=1e-4, atol=1e-5)


def test_the_encoder_of_ghfeat_sees_styles(generator):
    torch.manual_seed(0)
    widths = (16,) * 8 + (8,) * 2
    config = GHFeatEncoderConfig(img_resolution=64, width=4, depths=(1,) * 4, pyramid=8, style_widths=widths)
    encoder = ghfeat_encoder.Encoder(config).eval()
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        found = encode(encoder, images, generator)
        rows = encoder(images)
    assert seen_in(encoder) is Space.S and found.shape == (2, sum(widths))
    assert torch.equal(found[:, 16:32], rows[:, 1, :16]) and torch.equal(found[:, -8:], rows[:, 9, :8])
    assert seen_in(Fixed(8, True)) is Space.W_PLUS
