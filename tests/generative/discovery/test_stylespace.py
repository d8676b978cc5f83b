import torch

from generative.discovery.stylespace import (
    Channel,
    StyleStatistics,
    attribute_channels,
    effective_channels,
    local_channels,
    move,
    region_overlap,
    style_statistics,
)

SIZES = (6, 3, 4)


def sampled(count, seed):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(count, size, generator=rng) * 2 + 1 for size in SIZES]


def test_channels_that_an_answer_depends_on_are_ranked_by_slope_and_spread():
    statistics = StyleStatistics([torch.zeros(3)] * 2, [torch.tensor([1.0, 2.0, 4.0]), torch.ones(3)])
    slopes = [torch.tensor([[1.0, -1.0, 0.1], [1.0, -1.0, 0.1]]), torch.tensor([[9.0, 0.0, 0.5]] * 2)]
    found = effective_channels(slopes, statistics, 2, [0])
    assert [(c.layer, c.index, c.score) for c in found] == [(0, 1, -2.0), (0, 0, 1.0)]


def test_statistics_are_those_of_each_channel():
    statistics = style_statistics(sampled(5000, 0))
    assert [len(m) for m in statistics.mean] == list(SIZES)
    torch.testing.assert_close(statistics.std[0], torch.full((6,), 2.0), atol=0.1, rtol=0)


def test_channels_that_are_unusual_in_the_examples_come_first_with_their_sign():
    statistics, examples = style_statistics(sampled(2000, 0)), sampled(20, 1)
    examples[0][:, 2] = 9 + 0.1 * examples[0][:, 2]
    examples[2][:, 1] = -6 + 0.5 * examples[2][:, 1]
    examples[1][:, 0] = 50 + 0.01 * examples[1][:, 0]  # in a layer that is not looked at
    found = attribute_channels(examples, statistics, 3, layers=(0, 2))
    assert [(c.layer, c.index) for c in found[:2]] == [(0, 2), (2, 1)]
    assert found[0].score > 0 > found[1].score and abs(found[1].score) > abs(found[2].score)


def test_the_overlap_is_the_share_over_the_squared_area():
    gradients = torch.zeros(1, 2, 4, 4)
    gradients[0, 0, :2] = 1  # the upper half
    gradients[0, 1] = 1  # everywhere
    segmentation = torch.zeros(1, 4, 4, dtype=torch.int64)
    segmentation[0, 0] = 1  # the upper quarter
    overlap = region_overlap(gradients, segmentation, 3)
    torch.testing.assert_close(overlap[0, 0], torch.tensor([0.5 / 0.75**2, 0.5 / 0.25**2, 0.0]))
    torch.testing.assert_close(overlap[0, 1], torch.tensor([1 / 0.75, 1 / 0.25, 0.0]))


def test_a_channel_without_effect_overlaps_with_nothing():
    assert not region_overlap(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2), 2).any()


def test_channels_are_local_where_their_best_region_is_the_same_in_most_pictures():
    overlaps = [torch.zeros(4, size, 3) for size in SIZES]
    overlaps[0][:, 5, 2] = 1  # always region 2
    overlaps[2][:3, 0, 2] = 1  # in three of four pictures
    overlaps[1][:, 1, 2] = 1  # in a layer that is not looked at
    found = local_channels(overlaps, region=2, count=10, layers=(0, 2))
    assert found == [Channel(0, 5, 1.0), Channel(2, 0, 0.75)]


def test_a_move_is_in_standard_deviations_and_leaves_the_others_and_the_input():
    statistics, styles = style_statistics(sampled(100, 0)), sampled(2, 1)
    before = [s.clone() for s in styles]
    moved = move(styles, Channel(1, 2, 0.0), 3.0, statistics)
    torch.testing.assert_close(moved[1][:, 2] - styles[1][:, 2], (3 * statistics.std[1][2]).expand(2))
    assert all(torch.equal(a, b) for a, b in zip(styles, before, strict=True))
    assert moved[0] is styles[0] and torch.equal(moved[1][:, :2], styles[1][:, :2])
