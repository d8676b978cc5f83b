"""The encoders of pSp, e4e and ReStyle, small and in float64, against a twin that is written out."""

import pytest
import torch
import torch.nn.functional as F

from generative.networks import e4e_encoder, psp_encoder
from generative.networks.psp_encoder import StyleMapEncoderConfig

FIELDS = {"num_ws": 8, "channels": (16, 20, 24, 32), "depths": (1, 2, 2, 1)}
ENDS = (0, 2, 4, 5)  # the last blocks of the stages


def randomised(kind, **changes):
    """With weights that hide no term."""
    encoder = kind(StyleMapEncoderConfig(**FIELDS | changes)).double()
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in encoder.state_dict().items():
            fan_in = value[0].numel() if value.ndim > 1 and "linear" not in name else 1
            value.copy_(torch.randn(value.shape, generator=rng, dtype=torch.float64) / fan_in**0.5)
            if name.endswith("running_var"):
                value.abs_().add_(0.5)
    return encoder.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def images():
    small = torch.randn(2, 6, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return F.interpolate(small, (256, 256), mode="bilinear")


class Twin:
    """The official description, step by step, on the weights alone."""

    def __init__(self, encoder):
        self.p = {name.removeprefix("trunk."): value for name, value in encoder.state_dict().items()}

    def conv(self, name, x, stride=1):
        weight = self.p[f"{name}.weight"]
        return F.conv2d(x, weight, self.p.get(f"{name}.bias"), stride, weight.shape[-1] // 2)

    def norm(self, name, x):
        mean, var, weight, bias = (
            self.p[f"{name}.{kind}"][:, None, None]
            for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def prelu(self, name, x):
        return torch.where(x > 0, x, x * self.p[f"{name}.weight"][:, None, None])

    def ir_se50(self, x):
        x = self.prelu("input_layer.2", self.norm("input_layer.1", self.conv("input_layer.0", x)))
        for i in range(6):
            stride = 2 if i in (0, 1, 3, 5) else 1
            same, r = x[:, :, ::stride, ::stride], f"body.{i}.res_layer"
            if f"body.{i}.shortcut_layer.0.weight" in self.p:
                s = f"body.{i}.shortcut_layer"
                same = self.norm(f"{s}.1", self.conv(f"{s}.0", x, stride))
            x = self.prelu(f"{r}.2", self.conv(f"{r}.1", self.norm(f"{r}.0", x)))
            x = self.norm(f"{r}.4", self.conv(f"{r}.3", x, stride))
            squeezed = self.conv(f"{r}.5.fc1", x.mean(dim=(2, 3), keepdim=True)).clamp(min=0)
            x = x / (1 + torch.exp(-self.conv(f"{r}.5.fc2", squeezed))) + same
            yield x

    def resnet34(self, x):
        x = self.prelu("relu", self.norm("bn1", self.conv("conv1", x, 2)))
        for i in range(6):
            stride, b, same = (2 if i in (1, 3, 5) else 1), f"body.{i}", x
            if f"{b}.downsample.0.weight" in self.p:
                same = self.norm(f"{b}.downsample.1", self.conv(f"{b}.downsample.0", x, stride))
            x = self.norm(f"{b}.bn1", self.conv(f"{b}.conv1", x, stride)).clamp(min=0)
            x = (self.norm(f"{b}.bn2", self.conv(f"{b}.conv2", x)) + same).clamp(min=0)
            yield x

    def style(self, layer, x):
        halvings = 0
        while f"styles.{layer}.convs.{2 * halvings}.weight" in self.p:
            x = F.leaky_relu(self.conv(f"styles.{layer}.convs.{2 * halvings}", x, 2), 0.01)
            halvings += 1
        assert x.shape[2:] == (1, 1)
        weight, bias = self.p[f"styles.{layer}.linear.weight"], self.p[f"styles.{layer}.linear.bias"]
        return x.flatten(1) @ weight.mT / weight.shape[1] ** 0.5 + bias, halvings

    def codes(self, x, trunk, pyramid):
        """And how often each layer's network halves its map."""
        maps = [y for i, y in enumerate(getattr(self, trunk)(x)) if i in ENDS]
        middle = fine = coarse = maps[3]
        if pyramid:
            middle = enlarged(coarse, maps[2]) + self.conv("latlayer1", maps[2])
            fine = enlarged(middle, maps[1]) + self.conv("latlayer2", maps[1])
        made = [self.style(i, coarse if i < 3 else middle if i < 7 else fine) for i in range(8)]
        return torch.stack([w for w, _ in made], dim=1), [halvings for _, halvings in made]


def enlarged(x, like):
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)


@pytest.mark.parametrize("trunk", ["ir_se50", "resnet34"])
@pytest.mark.parametrize("pyramid", [True, False])
def test_psp_is_what_its_description_says(images, trunk, pyramid):
    encoder = randomised(psp_encoder.Encoder, trunk=trunk, pyramid=pyramid, img_channels=6)

    codes, halvings = Twin(encoder).codes(images, trunk, pyramid)

    torch.testing.assert_close(encoder(images), codes + encoder.latent_avg)
    assert halvings == ([4] * 3 + [5] * 4 + [6] if pyramid else [4] * 8)


def test_e4e_adds_what_its_layers_say_to_what_the_first_says(images):
    encoder = randomised(e4e_encoder.Encoder)
    codes, _ = Twin(encoder).codes(images[:, :3], "ir_se50", True)

    all_stages = torch.cat([codes[:, :1], codes[:, :1] + codes[:, 1:]], dim=1)
    torch.testing.assert_close(encoder(images[:, :3]), all_stages + encoder.latent_avg)

    first = codes[:, :1].expand(-1, 8, -1) + encoder.latent_avg
    torch.testing.assert_close(encoder(images[:, :3], stage=0), first)
    half = torch.cat([all_stages[:, :4], codes[:, :1].expand(-1, 4, -1)], dim=1) + encoder.latent_avg
    torch.testing.assert_close(encoder(images[:, :3], stage=3), half)


@pytest.mark.parametrize("kind", [psp_encoder.Encoder, e4e_encoder.Encoder])
def test_codes_are_distances_from_the_mean_or_from_those_to_go_on_from(images, kind):
    encoder = randomised(kind, img_channels=6, pyramid=False)
    start = torch.randn(2, 8, 32, dtype=torch.float64)

    torch.testing.assert_close(encoder(images, start) - start, encoder(images) - encoder.latent_avg)


def test_codes_do_not_depend_on_company_even_in_training_mode(images):
    encoder = randomised(e4e_encoder.Encoder)

    codes = encoder(images[:, :3])

    torch.testing.assert_close(encoder(images[1:, :3]), codes[1:])
    assert torch.equal(encoder.train()(images[:, :3]), codes)


def test_cars_are_three_quarters_as_high(images):
    assert randomised(psp_encoder.Encoder)(images[:, :3, 32:224]).shape == (2, 8, 32)


@pytest.mark.parametrize("shape", [(1, 6, 256, 256), (1, 3, 128, 128), (1, 3, 512, 256), (3, 256, 256)])
def test_pictures_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"images must be \(N, 3, H, W\), the longer side 256"):
        psp_encoder.Encoder(StyleMapEncoderConfig(**FIELDS))(torch.zeros(shape))


@pytest.mark.parametrize(
    "change",
    [
        {"num_ws": 0},
        {"img_channels": 2**20},
        {"channels": (16, 20, 24)},
        {"channels": (8, 20, 24, 32)},  # nothing to squeeze to
        {"depths": (1, 2, 2, 0)},
        {"depths": (1, 2, 2, 10**9)},
    ],
)
def test_sizes_that_no_encoder_has_are_refused(change):
    with pytest.raises(ValueError):
        StyleMapEncoderConfig(**FIELDS | change)
