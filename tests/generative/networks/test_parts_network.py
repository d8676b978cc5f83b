from pathlib import Path

import pytest
import torch

from generative.networks.parts_network import PartsNetwork, PartsRecord, overlap

PARTS = ("background", "left eye", "hat")


def network() -> PartsNetwork:
    """Small and untrained, for 16 px."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        record = PartsRecord(resolution=16, channels=(8, 8), parts=PARTS, iou={"hat": 0.5, "left eye": 0.25})
        return PartsNetwork(record).eval().requires_grad_(False)


def pictures(n: int = 2, side: int = 16) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("size", [(16, 16), (8, 24), (64, 64)])
def test_logits_are_as_large_as_the_picture(size):
    images = torch.zeros(2, 3, *size)
    assert network()(images).shape == (2, len(PARTS), *size)
    assert network().record.stride == 4


def test_a_pixel_answers_to_itself_and_its_surroundings_alone_not_to_other_pictures():
    net, images = network(), pictures(3)
    assert torch.allclose(net(images)[1:2], net(images[1:2]), atol=1e-5)
    changed = images.clone()
    changed[:, :, 3, 3] += 1
    assert (net(changed) != net(images))[:, :, 3, 3].all()


def test_labels_name_the_largest_logit():
    net, images = network(), pictures()
    logits = net(images)
    net.head.bias[8:] += 100  # the last part's four pixels of each cell
    assert (net.label(images) == 2).all()
    net.head.bias[8:] -= 100
    assert torch.equal(net.label(images).long(), logits.argmax(1))
    assert net.label(images).dtype == torch.uint8


def test_a_larger_picture_gets_the_same_map_larger():
    net, images = network(), pictures(side=4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    large = images.repeat_interleave(3, 2).repeat_interleave(3, 3)
    small = net.label(images).repeat_interleave(3, 1).repeat_interleave(3, 2)
    assert net.label(large).shape == (2, 48, 48)
    assert (net.label(large) == small).float().mean() > 0.8
    assert net.label(pictures(side=37)).shape == (2, 37, 37)


def test_a_mask_is_where_one_of_the_named_parts_is():
    net, images = network(), pictures()
    labels = net.label(images)
    assert torch.equal(net.mask(images, "hat"), labels == 2)
    assert torch.equal(net.mask(images, "hat", "background"), (labels == 2) | (labels == 0))
    with pytest.raises(ValueError, match="not parts: \\['shoe'\\]"):
        net.mask(images, "hat", "shoe")


def test_a_saved_network_comes_back_frozen_and_nearly_the_same(tmp_path: Path):
    net, images = network(), pictures()
    net.save(tmp_path)
    loaded = PartsNetwork.load(tmp_path)

    assert loaded.record == net.record and loaded.record.mean_iou == pytest.approx(0.375)
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    assert torch.allclose(net(images), loaded(images), atol=1e-2)  # half precision


def test_weights_of_another_shape_are_refused(tmp_path: Path):
    network().save(tmp_path)
    record = network().record.model_copy(update={"channels": (8, 12)})
    (tmp_path / "parts.json").write_text(record.model_dump_json())
    with pytest.raises(RuntimeError, match="size mismatch"):
        PartsNetwork.load(tmp_path)


def test_overlap_counts_what_sets_of_pixels_count():
    rng = torch.Generator().manual_seed(1)
    labels, truth = (torch.randint(0, 4, (3, 5, 5), generator=rng).to(torch.uint8) for _ in range(2))
    found = [set(enumerate_where(labels, part)) for part in range(5)]
    wanted = [set(enumerate_where(truth, part)) for part in range(5)]
    both, either = overlap(labels, truth, 5).tolist()
    assert both == [len(f & w) for f, w in zip(found, wanted, strict=True)]
    assert either == [len(f | w) for f, w in zip(found, wanted, strict=True)]


def enumerate_where(labels: torch.Tensor, part: int) -> list[tuple[int, ...]]:
    return [tuple(place) for place in (labels == part).nonzero().tolist()]
