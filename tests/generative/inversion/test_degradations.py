"""Degradations by what must be true of them."""

import pytest
import torch
from torch import Tensor

from generative.batch import Tensors
from generative.inversion.degradations import (
    Degradation,
    Downsample,
    Gray,
    Jpeg,
    Mask,
    Noise,
    feathered,
    luminance,
)

SIZE = 16


def drawn(seed: int, N: int = 3, channels: int = 3) -> Tensor:
    """Pictures over the whole range, float64."""
    rng = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(N, channels, SIZE, SIZE, generator=rng, dtype=torch.float64) - 1


def half_known(N: int = 3) -> Tensor:
    """The left half is known, of each picture two columns more."""
    columns = torch.arange(SIZE) < (6 + 2 * torch.arange(N))[:, None]
    return columns[:, None, None, :].expand(N, 1, SIZE, SIZE).double()


CONSTANTS: Tensors = {"mask": half_known(), "noise": drawn(9)}
LINEAR: list[Degradation] = [
    Mask(), Gray(), Downsample(2), Downsample(4), Downsample(4, "bilinear"), Noise(0.1)
]  # fmt: skip
ALL: list[Degradation] = [*LINEAR, Mask(feather=2), Jpeg(40), Jpeg(40, subsampled=False)]


def alone(constants: Tensors, i: int) -> dict[str, Tensor]:
    return {name: t[i : i + 1] for name, t in constants.items()}


@pytest.mark.parametrize("degradation", LINEAR, ids=repr)
def test_its_gradient_is_its_adjoint(degradation: Degradation) -> None:
    x = drawn(1).requires_grad_()
    y = degradation(x, CONSTANTS)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (adjoint,) = torch.autograd.grad((y * weights).sum(), x)
    other = drawn(3)
    one, two = (degradation(other, CONSTANTS) * weights).sum(), (other * adjoint).sum()
    torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("degradation", ALL, ids=repr)
def test_a_picture_does_not_depend_on_its_company(degradation: Degradation) -> None:
    x, restored = drawn(1), drawn(2)
    y = degradation.observe(x, CONSTANTS)
    whole = degradation.composite(restored, y, CONSTANTS)
    for i in range(3):
        one = alone(CONSTANTS, i)
        rows = slice(i, i + 1)
        torch.testing.assert_close(degradation(x[rows], one), degradation(x, CONSTANTS)[rows])
        torch.testing.assert_close(degradation.composite(restored[rows], y[rows], one), whole[rows])


@pytest.mark.parametrize("degradation", ALL, ids=repr)
def test_pictures_stay_in_their_range(degradation: Degradation) -> None:
    observed = degradation(drawn(1), CONSTANTS)
    composed = degradation.composite(drawn(2), observed, CONSTANTS)
    assert composed.shape == (3, 3, SIZE, SIZE)
    assert composed.abs().max() <= 1 + 1e-12


@pytest.mark.parametrize("degradation", ALL, ids=repr)
def test_the_truth_is_its_own_restoration(degradation: Degradation) -> None:
    truth = drawn(1)
    observed = degradation.observe(truth, CONSTANTS)
    torch.testing.assert_close(degradation.composite(truth, observed, CONSTANTS), truth)


@pytest.mark.parametrize("degradation", [Mask(), Gray(), Downsample(4)], ids=repr)
def test_a_composite_agrees_with_the_observation(degradation: Degradation) -> None:
    observed = degradation.observe(drawn(1), CONSTANTS)
    composed = degradation.composite(drawn(2), observed, CONSTANTS)
    torch.testing.assert_close(degradation(composed, CONSTANTS), observed, rtol=0, atol=1e-12)


def test_known_pixels_are_kept_to_the_bit_and_the_others_are_the_restored() -> None:
    truth, restored, mask = drawn(1).float(), drawn(2).float(), half_known()
    known = mask.expand_as(truth) == 1
    composed = Mask().composite(restored, Mask().observe(truth, {"mask": mask}), {"mask": mask})
    assert torch.equal(composed[known], truth[known])
    assert torch.equal(composed[~known], restored[~known])


def test_what_lies_in_the_hole_of_an_uploaded_picture_is_not_seen() -> None:
    truth, mask = drawn(1), half_known()
    scribbled = torch.where(mask == 1, truth, drawn(5))
    assert torch.equal(Mask()(scribbled, CONSTANTS), Mask()(truth, CONSTANTS))


def test_a_feathered_edge_is_a_ramp_within_the_known_part() -> None:
    mask = half_known(1)  # the first 6 columns
    row = feathered(mask, 1)[0, 0, 8]
    assert torch.equal(row[6:], torch.zeros(10).double()) and torch.equal(row[:4], torch.ones(4).double())
    assert (row[:6].diff() <= 0).all() and 0 < row[5] < row[4] < 1
    assert torch.equal(feathered(torch.ones(1, 1, 9, 9), 3), torch.ones(1, 1, 9, 9))
    assert torch.equal(feathered(mask, 0), mask)


def test_a_soft_mask_blends() -> None:
    truth, restored, mask = drawn(1), drawn(2), torch.full((3, 1, SIZE, SIZE), 0.25).double()
    composed = Mask().composite(restored, Mask()(truth, {"mask": mask}), {"mask": mask})
    torch.testing.assert_close(composed, 0.25 * truth + 0.75 * restored)


def test_gray_is_the_luminance_of_rec_601() -> None:
    red = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    torch.testing.assert_close(Gray()(red, {}), torch.full((1, 3, 1, 1), 0.299))
    white = torch.ones(1, 3, 2, 2)
    torch.testing.assert_close(Gray()(white, {}), white)
    one_channel = drawn(1, channels=1)
    assert torch.equal(Gray()(one_channel, {}), one_channel)


def test_colour_is_that_of_the_restored_where_there_is_room_for_it() -> None:
    truth, restored = 0.2 * drawn(1), 0.2 * drawn(2)
    composed = Gray().composite(restored, Gray()(truth, {}), {})
    chroma = restored - luminance(restored)
    torch.testing.assert_close(composed - luminance(composed), chroma)
    white = Gray().composite(restored, torch.ones_like(restored), {})
    torch.testing.assert_close(white, torch.ones_like(restored))


def test_downsampling_takes_the_means_of_blocks() -> None:
    x = drawn(1)
    y = Downsample(4)(x, {})
    torch.testing.assert_close(y[1, 2, 0, 3], x[1, 2, 0:4, 12:16].mean())
    constant = torch.full((1, 3, SIZE, SIZE), 0.3)
    torch.testing.assert_close(Downsample(8)(constant, {}), torch.full((1, 3, 2, 2), 0.3))


@pytest.mark.parametrize("factor, middle", [(16, slice(7, 9)), (4, slice(1, 3)), (2, slice(0, 2))])
def test_bilinear_sees_the_middle_of_each_block(factor: int, middle: slice) -> None:
    """By the coordinates of bilinear sampling: block k has its centre at f (k + 1/2) - 1/2."""
    x, side = drawn(1), SIZE // factor
    blocks = x.reshape(3, 3, side, factor, side, factor)[:, :, :, middle, :, middle]
    torch.testing.assert_close(Downsample(factor, "bilinear")(x, {}), blocks.mean(dim=(3, 5)))


@pytest.mark.parametrize("filter", ["mean", "bilinear"])
def test_what_was_restored_is_the_observation_when_it_is_made_small_again(filter: str) -> None:
    down = Downsample(4, filter)  # type: ignore[arg-type]
    observed = down(drawn(1), {})
    torch.testing.assert_close(down(down.composite(drawn(2), observed, {}), {}), observed)


def test_detail_is_that_of_the_restored_where_there_is_room_for_it() -> None:
    truth, restored, down = 0.2 * drawn(1), 0.2 * drawn(2), Downsample(4)
    composed = down.composite(restored, down(truth, {}), {})
    blocks = [x.unfold(2, 4, 4).unfold(3, 4, 4) for x in (composed, restored)]
    detail = [x - x.mean(dim=(4, 5), keepdim=True) for x in blocks]
    torch.testing.assert_close(detail[0], detail[1])


def test_noise_is_in_the_observation_alone() -> None:
    x = drawn(1)
    assert Noise(0.1)(x, {}) is x
    torch.testing.assert_close(Noise(0.1).observe(x, CONSTANTS), x + 0.1 * CONSTANTS["noise"])


def test_what_cannot_be_is_refused() -> None:
    for make in (lambda: Mask(-1), lambda: Downsample(1), lambda: Downsample(17), lambda: Noise(0.0)):
        with pytest.raises(ValueError, match="must be"):
            make()
    for quality in (0, 101):
        with pytest.raises(ValueError, match="from 1 to 100"):
            Jpeg(quality)
    with pytest.raises(ValueError, match="cannot be divided by 3"):
        Downsample(3)(drawn(1), {})
