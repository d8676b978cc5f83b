"""The encoder against what must be true of it; its training and what it learnt are tested elsewhere."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from generative.networks.style_encoder import Encoder, StyleEncoderConfig

SMALL = StyleEncoderConfig(img_resolution=64, num_ws=10, w_dim=6, channels=(4, 6, 8, 10), lateral=5, hidden=7)


def random_encoder(config: StyleEncoderConfig = SMALL, seed: int = 0) -> Encoder:
    """Every parameter and buffer random, so that none can be forgotten."""
    rng = torch.Generator().manual_seed(seed)
    encoder = Encoder(config).eval().requires_grad_(False)
    for tensor in encoder.state_dict().values():
        tensor.copy_(0.3 * torch.randn(tensor.shape, generator=rng))
    return encoder


def pictures(count: int, config: StyleEncoderConfig = SMALL) -> Tensor:
    size = config.img_resolution
    return (
        torch.rand(count, config.img_channels, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    )


def slow(encoder: Encoder, image: Tensor) -> Tensor:
    """(C, R, R) -> (L, w_dim), one picture at a time, straight from the names of the state."""
    state = {name: value.double() for name, value in encoder.state_dict().items()}
    x, maps = image.double()[None], []
    for i in range(len(encoder.config.channels)):
        s = {n.removeprefix(f"stages.{i}."): t for n, t in state.items() if n.startswith(f"stages.{i}.")}
        y = F.leaky_relu(F.conv2d(x, s["conv0.weight"], s["conv0.bias"], padding=1), 0.2)
        y = F.conv2d(y, s["conv1.weight"], s["conv1.bias"], padding=1) + F.conv2d(x, s["skip.weight"])
        y = F.leaky_relu(y, 0.2)
        x = (y[..., ::2, ::2] + y[..., 1::2, ::2] + y[..., ::2, 1::2] + y[..., 1::2, 1::2]) / 4
        maps.append(x)
    seen = []
    for i, depth in enumerate([maps[-1], maps[-2], maps[-3]]):
        y = torch.einsum("oc,chw->ohw", state[f"laterals.{i}.weight"][:, :, 0, 0], depth[0])
        y = y + state[f"laterals.{i}.bias"][:, None, None]
        cell = y.shape[-1] // 4
        seen.append(y.reshape(-1, 4, cell, 4, cell).mean(dim=(2, 4)).flatten())
    offsets = []
    for i, y in enumerate([seen[0], seen[1] + seen[0], seen[2] + seen[0]]):
        y = F.leaky_relu(y, 0.2)
        y = F.leaky_relu(state[f"heads.{i}.fc0.weight"] @ y + state[f"heads.{i}.fc0.bias"], 0.2)
        offsets.append(state[f"heads.{i}.fc1.weight"] @ y + state[f"heads.{i}.fc1.bias"])
    ws = torch.cat(offsets).reshape(encoder.num_ws, encoder.w_dim)
    return state["w_mean"] + state["w_std"] * ws


def test_it_computes_what_its_docstring_says() -> None:
    encoder, images = random_encoder(), pictures(3)
    expected = torch.stack([slow(encoder, image) for image in images])
    torch.testing.assert_close(encoder.double()(images.double()), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(random_encoder()(images), expected.float(), rtol=1e-4, atol=1e-5)


def test_a_new_encoder_answers_the_mean_of_w() -> None:
    encoder = Encoder(SMALL)
    encoder.w_mean.copy_(torch.arange(6.0))
    encoder.w_std.fill_(3.0)
    assert torch.equal(encoder(pictures(2)), torch.arange(6.0).expand(2, 10, 6))


def test_features_keep_their_size_on_the_way_down_a_new_encoder() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = Encoder(replace(SMALL, channels=(64, 64, 64, 64)))
        x = torch.randn(2, 3, 64, 64)
    spreads = [x.std()]
    for stage in encoder.stages:
        x = stage(x)
        spreads.append(x.std())
    assert all(0.4 < after / before < 1.2 for before, after in pairwise(spreads))


def test_a_row_of_a_batch_is_the_picture_alone() -> None:
    encoder, images = random_encoder(), pictures(4)
    alone = torch.cat([encoder(image[None]) for image in images])
    torch.testing.assert_close(encoder(images), alone, rtol=1e-5, atol=1e-6)
    assert (alone[0] - alone[1]).abs().max() > 1e-3


def test_coarse_ws_see_no_shallow_map() -> None:
    encoder, images = random_encoder(), pictures(1)
    before = encoder(images)
    encoder.laterals[2].weight.add_(1.0)
    changed = (encoder(images) != before).any(dim=2)[0]
    assert changed.tolist() == [False] * 7 + [True] * 3


@pytest.mark.parametrize("num_ws", [3, 8, 10, 14, 18])
def test_the_depths_share_the_ws_nearly_evenly_and_coarse_comes_first(num_ws: int) -> None:
    shares = replace(SMALL, num_ws=num_ws).shares
    assert sum(shares) == num_ws and max(shares) - min(shares) <= 1
    assert list(shares) == sorted(shares, reverse=True)


@pytest.mark.parametrize(("resolution", "channels"), [(32, (4, 4, 4)), (256, (2, 2, 4, 4, 4, 4))])
def test_it_works_at_other_resolutions(resolution: int, channels: tuple[int, ...]) -> None:
    config = StyleEncoderConfig(resolution, 2 * len(channels) + 2, 5, channels, img_channels=1, hidden=3)
    assert random_encoder(config)(pictures(2, config)).shape == (2, config.num_ws, 5)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 3, 32, 32), (1, 1, 64, 64)])
def test_pictures_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="images must be"):
        random_encoder()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("img_resolution", 48),
        ("img_resolution", 128),
        ("img_resolution", 1 << 20),
        ("channels", ()),
        ("channels", (4, 4, 10**9, 4)),
        ("channels", (4, 4, 0, 4)),
        ("num_ws", 2),
        ("num_ws", 10**6),
        ("w_dim", 0),
        ("img_channels", 10**6),
        ("lateral", 0),
        ("hidden", 10**6),
    ],
)
def test_impossible_and_absurd_sizes_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        replace(SMALL, **{field: value})


def test_sixteen_pixels_have_too_few_depths() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        replace(SMALL, img_resolution=16, channels=(4, 4))


def test_all_its_state_is_floating_point_and_needed() -> None:
    encoder, images = random_encoder(), pictures(1)
    before = encoder(images)
    for name, tensor in encoder.state_dict().items():
        assert tensor.is_floating_point()
        kept = tensor.clone()
        tensor.add_(0.5)
        assert not torch.equal(encoder(images), before), name
        tensor.copy_(kept)
