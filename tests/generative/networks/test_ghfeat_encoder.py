"""GH-Feat's encoder by what its description promises: no vectors of the official code exist."""

import pytest
import torch
import torch.nn.functional as F

from generative.networks.ghfeat_encoder import Conv, Encoder, GHFeatEncoderConfig, padded, styles_of

WIDTHS = (16,) * 8 + (8, 8, 4, 4)
FIELDS = {"img_resolution": 64, "width": 4, "depths": (1, 2, 1, 1), "pyramid": 8, "style_widths": WIDTHS}


@pytest.fixture(scope="module")
def encoder():
    """Small, with weights that hide no term."""
    encoder = Encoder(GHFeatEncoderConfig(**FIELDS)).double()
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in encoder.state_dict().items():
            fan_in = value[0].numel() if value.ndim > 1 else 1
            value.copy_(torch.randn(value.shape, generator=rng, dtype=torch.float64) / fan_in**0.5)
            if name.endswith("running_var"):
                value.abs_().add_(0.5)
    return encoder.eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_a_short_style_is_repeated_until_it_fills_its_row(encoder, images):
    features = encoder(images)

    assert features.shape == (2, 12, 16)
    for row, width in zip(features.unbind(1), WIDTHS, strict=True):
        assert torch.equal(row, row[:, :width].repeat(1, 16 // width))
    assert [style.shape for style in styles_of(features, WIDTHS)] == [(2, width) for width in WIDTHS]
    assert torch.equal(styles_of(features, WIDTHS)[9], features[:, 9, :8])


def test_the_deepest_map_makes_the_first_four_layers_and_the_shallowest_the_last(encoder, images):
    """A map acts through its head; what is deep also lies under what is shallow, not the other way round."""

    def acts_on(parameter):
        """The layers whose rows depend on it."""
        gradients = [
            torch.autograd.grad(row.sum(), parameter, retain_graph=True, allow_unused=True)[0] for row in rows
        ]
        return {i for i, g in enumerate(gradients) if g is not None and g.any()}

    rows = encoder(images).unbind(1)

    first, middle, last = set(range(4)), set(range(4, 8)), set(range(8, 12))
    assert [acts_on(head.fc.weight) for head in encoder.heads] == [last, middle, first]
    assert [acts_on(conv.weight) for conv in encoder.laterals] == [last, last | middle, last | middle | first]
    assert [acts_on(conv.weight) for conv in encoder.fusions] == [last, middle, last | middle | first]
    assert acts_on(encoder.res6.conv2.weight) == first | middle | last


def test_the_whole_is_what_its_description_says(encoder, images):
    p = {name: value.detach() for name, value in encoder.state_dict().items()}

    def norm(name, x):
        mean, var, weight, bias = (
            p[f"{name}.{kind}"].reshape(1, -1, *[1] * (x.ndim - 2))
            for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def conv(name, x, stride=1):
        weight = p[f"{name}.weight"]
        k = weight.shape[-1]
        before = (k - stride) // 2  # sides are even, so that k - stride pixels are added in all
        x = F.pad(x, (before, k - stride - before) * 2) if k > 1 else x
        return F.conv2d(x, weight, p.get(f"{name}.bias"), stride)

    def block(name, x, stride):
        y = norm(f"{name}.norm0", conv(f"{name}.conv0", x)).clamp(min=0)
        y = norm(f"{name}.norm1", conv(f"{name}.conv1", y, stride)).clamp(min=0)
        y = norm(f"{name}.norm2", conv(f"{name}.conv2", y))
        if f"{name}.shortcut.0.weight" in p:
            x = norm(f"{name}.shortcut.1", conv(f"{name}.shortcut.0", x, stride))
        return (x + y).clamp(min=0)

    x = F.leaky_relu(norm("norm", conv("stem", images, 2)), 0.2)
    x = F.pad(x, (0, 1, 0, 1), value=-1e9)
    x = torch.stack([x[:, :, i : i + 31 : 2, j : j + 31 : 2] for i in range(3) for j in range(3)]).amax(0)
    seen = []
    for i, stride in enumerate((1, 2, 1, 2, 2)):
        seen.append(x := block(f"stages.{i}", x, stride))
    res4, res5 = seen[3:]
    maps = [conv(f"laterals.{i}", x) for i, x in enumerate((res4, res5, block("res6", res5, 2)))]
    maps[1] = maps[1] + maps[2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    maps[0] = maps[0] + maps[1].repeat_interleave(2, 2).repeat_interleave(2, 3)
    maps = [
        conv(f"outputs.{i}", x).mean(dim=(2, 3), keepdim=True) for i, x in enumerate(maps)
    ]  # 1 place is left
    maps = [conv(f"fusions.{i}", x).flatten(1) for i, x in enumerate(maps)]
    maps = [maps[0] + maps[2], maps[1] + maps[2], maps[2]]
    flat = [
        norm(f"heads.{i}.norm", x @ p[f"heads.{i}.fc.weight"].mT + p[f"heads.{i}.fc.bias"])
        for i, x in enumerate(maps)
    ]
    styles = [*flat[2].split(16, 1), *flat[1].split(16, 1), *flat[0].split([8, 8, 4, 4], 1)]
    with torch.no_grad():
        for style, expected in zip(styles_of(encoder(images), WIDTHS), styles, strict=True):
            torch.testing.assert_close(style, expected)


def test_padding_is_larger_right_and_below_as_in_tensorflow():
    ones = torch.ones(1, 1, 6, 8)

    assert padded(ones, 3, 2).shape == (1, 1, 7, 9)
    assert padded(ones, 3, 2)[0, 0, :, 0].tolist() == [1] * 6 + [0]
    assert padded(ones, 7, 2)[0, 0, 3].tolist() == [0] * 2 + [1] * 8 + [0] * 3
    assert torch.equal(padded(ones, 1, 2), ones)
    assert Conv(1, 1, 7, 2)(ones).shape == (1, 1, 3, 4)


def test_features_do_not_depend_on_company_even_in_training_mode(encoder, images):
    with torch.no_grad():
        features = encoder(images)

        torch.testing.assert_close(encoder(images[1:]), features[1:])
        assert torch.equal(encoder.train()(images), features)
    encoder.eval()


def test_the_published_encoders_are_the_default():
    config = GHFeatEncoderConfig()
    with torch.device("meta"):
        encoder = Encoder(config)

    assert (config.row, config.channels) == (1024, (256, 512, 1024, 2048))
    assert encoder.heads[0].fc.weight.shape == (2 * (512 + 256 + 128), 512 * 4 * 4)
    assert encoder(torch.zeros(1, 3, 256, 256, device="meta")).shape == (1, 14, 1024)
    assert len(encoder.stages) == 16


def test_pictures_of_another_size_are_refused(encoder):
    with pytest.raises(ValueError, match=r"images must be \(N, 3, 64, 64\)"):
        encoder(torch.zeros(1, 3, 128, 128))


@pytest.mark.parametrize(
    "change",
    [
        {"img_resolution": 32},
        {"width": 0},
        {"depths": (1, 2, 1)},
        {"depths": (1, 2, 1, 10**9)},
        {"style_widths": (16,) * 8},
        {"style_widths": (16,) * 8 + (5,)},
        {"style_widths": (16,) * 8 + (0,)},
        {"style_widths": ()},
    ],
)
def test_sizes_that_no_encoder_has_are_refused(change):
    with pytest.raises(ValueError):
        GHFeatEncoderConfig(**FIELDS | change)
