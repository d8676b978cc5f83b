import pytest
import torch
from torch.nn import functional as F

from generative.discovery.dissection import (
    IOU_REPORTED,
    Levels,
    causal_effect,
    count,
    edit,
    enlarge,
    information_quality,
    iou,
    sums_in_labels,
    top_pictures,
    unit_levels,
)

from .vectors import Vectors, rel

CATEGORIES = torch.tensor([0, 0, 0, 1, 1])


def test_counts_and_scores_agree_with_the_official_code():
    stored = Vectors("gandissect", "iou")
    segmentation = stored["segmentation"].long()
    published = enlarge(stored["activations"], (32, 32))
    # what the official call does on a newer torch: corners are read as areas
    grid = stored["upsample_grid"].expand(24, -1, -1, -1)
    stretched = F.grid_sample(stored["activations"], grid, padding_mode="border", align_corners=False)
    assert rel(published[:1, :1], stored["upsampled_unit0_image0_ac1"]) < 1e-5
    assert rel(stretched[:1, :1], stored["upsampled_unit0_image0_ac0"]) < 1e-5

    for case, maps in (("0005_ac1", published), ("005_ac1", published), ("0005_ac0", stretched)):
        levels = stored[f"levels_{case.split('_')[0]}"]
        assert torch.equal(levels, stored[f"{case}__levels"])
        found = count(maps, segmentation, levels, CATEGORIES)
        assert torch.equal(found.total, stored[f"{case}__total_counts"])
        assert torch.equal(found.label, stored[f"{case}__label_counts"])
        assert torch.equal(found.on, stored[f"{case}__category_activation_counts"])
        assert torch.equal(found.both, stored[f"{case}__intersection_counts"])
        torch.testing.assert_close(iou(found, CATEGORIES), stored[f"{case}__iou_scores"], rtol=0, atol=1e-9)
        quality = information_quality(found, CATEGORIES)
        torch.testing.assert_close(quality, stored[f"{case}__iqr_scores"], rtol=0, atol=1e-9)

    values, indices = top_pictures(stored["activations"], 10)
    assert torch.equal(values, stored["topk_values"]) and torch.equal(indices, stored["topk_index"])
    for share, exact, estimated in ((0.005, "0995", "0005"), (0.05, "095", "005")):
        levels = unit_levels(stored["activations"], share)
        torch.testing.assert_close(levels, stored[f"exact_quantile_{exact}_numpy"], rtol=1e-6, atol=0)
        assert rel(levels, stored[f"levels_{estimated}"]) < 0.02
    stored.assert_all_read()


def test_edits_agree_with_the_official_code():
    stored = Vectors("gandissect", "edit")
    x = F.conv2d(stored["x"], stored["param_layer4_weight"], stored["param_layer4_bias"], padding=1)

    def render(activations):
        hidden = activations.relu()
        return F.conv2d(hidden, stored["param_out_weight"], stored["param_out_bias"], padding=1)

    inserted = edit(x, stored["insert_mask"], stored["insert_values"])
    ours = {
        "retained": x,
        "base": render(x),
        "ablation_units_0_3": render(edit(x, torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0]))),
        "insertion_out": render(inserted),
        "partial_out": render(edit(x, stored["partial_ablation"])),
    }
    for name, value in ours.items():
        assert rel(value, stored[name]) < 1e-5
    stored.assert_all_read()


def test_levels_do_not_depend_on_how_activations_are_cut_into_batches():
    values = torch.randn(7, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    for share in (0.005, 0.05, 0.5):
        levels = Levels(7 * 25, share)
        for batch in values.split((3, 1, 3)):
            levels.add(batch)
        assert torch.equal(levels.value(), unit_levels(values, share))


def test_sums_in_labels_are_those_of_each_label_alone():
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 4, 4, generator=rng)
    labels = torch.randint(3, (2, 4, 4), generator=rng)
    found = sums_in_labels(maps, labels, 3)
    for label in range(3):
        inside = (labels == label)[:, None]
        torch.testing.assert_close(found[label].float(), (maps * inside).sum(dim=(0, 2, 3)))


def test_levels_are_numpy_s_quantiles():
    values = torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    for share in (0.005, 0.05, 0.5, 1.0):
        expected = torch.quantile(values.transpose(0, 1).flatten(1).double(), 1 - share, dim=1)
        torch.testing.assert_close(unit_levels(values, share).double(), expected, rtol=1e-6, atol=0)


def test_counts_of_batches_add_up():
    rng = torch.Generator().manual_seed(0)
    maps, segmentation = torch.randn(6, 3, 4, 4, generator=rng), torch.randint(5, (6, 2, 4, 4), generator=rng)
    levels = unit_levels(maps, 0.3)
    whole = count(maps, segmentation, levels, CATEGORIES)
    parts = count(maps[:2], segmentation[:2], levels, CATEGORIES)
    parts = parts + count(maps[2:], segmentation[2:], levels, CATEGORIES)
    assert all(torch.equal(a, b) for a, b in zip(vars(whole).values(), vars(parts).values(), strict=True))


def test_counts_are_those_of_a_slow_twin():
    rng = torch.Generator().manual_seed(1)
    maps, segmentation = torch.randn(3, 2, 4, 4, generator=rng), torch.randint(5, (3, 1, 4, 4), generator=rng)
    segmentation[0] = 1  # a picture without the second category
    found = count(maps, segmentation, torch.zeros(2), CATEGORIES)
    for label in range(1, 5):
        for unit in range(2):
            both = ((segmentation[:, 0] == label) & (maps[:, unit] > 0)).sum()
            assert found.both[label, unit] == both
    with_second = [n for n in range(3) if bool((segmentation[n] >= 3).any())]
    assert found.on[1].tolist() == [int((maps[with_second, u] > 0).sum()) for u in range(2)]
    assert found.total.tolist() == [48, 16 * len(with_second)]


def test_a_unit_that_draws_a_thing_and_nothing_else_matches_it_wholly():
    segmentation = torch.zeros(2, 1, 8, 8, dtype=torch.int64)
    segmentation[:, :, :4] = 1
    segmentation[:, :, 4:, 4:] = 3
    maps = torch.stack([(segmentation[:, 0] == 1).float(), (segmentation[:, 0] == 3).float()], dim=1)
    found = count(maps, segmentation, torch.full((2,), 0.5), CATEGORIES)
    matches = iou(found, CATEGORIES)
    assert matches[1].tolist() == [1, 0] and matches[3].tolist() == [0, 1]
    torch.testing.assert_close(information_quality(found, CATEGORIES)[1, 0], torch.tensor(1.0).double())
    assert (matches > IOU_REPORTED).sum() == 2


def test_things_that_never_occur_match_nothing():
    found = count(torch.zeros(1, 2, 2, 2), torch.zeros(1, 1, 2, 2), torch.ones(2), CATEGORIES)
    assert not iou(found, CATEGORIES).any() and not information_quality(found, CATEGORIES).any()


def test_the_effect_of_units_is_what_is_lost_without_them():
    activations = torch.ones(3, 4, 2, 2)
    lost = causal_effect(
        activations,
        torch.tensor([1, 2]),
        render=lambda x: x.sum(dim=1),
        pixels=lambda pictures: (pictures > 2.5).sum(dim=(1, 2)),
    )
    assert float(lost) == pytest.approx(4)
