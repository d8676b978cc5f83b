import dataclasses
from pathlib import Path

import pytest
import torch

from generative.training.dataset import DatasetRecord, Portraits, render_dataset
from generative.training.part_maps import PartMaps, render_part_maps
from generative.training.parts import PartsProgress, PartsTraining, mirror, parts_loss, train_parts
from generative.training.vary import vary
from generative.worlds.portraits import PARTS, render, replace, sample
from tests import elsewhere

SMALL = PartsTraining(images=16 * 40, batch=16, channels=(8, 16), learning_rate=1e-2, bfloat16=False)


class Stop(Exception):
    pass


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> Portraits:
    folder = tmp_path_factory.mktemp("dataset")
    render_dataset(folder, DatasetRecord(resolution=16, count=64, seed=0, shard=64))
    return Portraits(folder, held_out=16)


@pytest.fixture(scope="module")
def maps(portraits: Portraits) -> PartMaps:
    return render_part_maps(portraits, 48)


def test_maps_are_those_that_the_world_gives_with_the_pictures(portraits: Portraits, maps: PartMaps) -> None:
    rows = torch.tensor([40, 3])
    truth = render(portraits.factors(rows), 16, truth=True).parts
    assert len(maps) == 48 and torch.equal(maps.rows(rows), truth)
    with pytest.raises(IndexError, match="48"):
        maps.rows(torch.tensor([48]))


def test_an_interrupted_painting_goes_on_and_can_be_made_longer(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("generative.training.part_maps.SHARD", 4)
    render_dataset(tmp_path, DatasetRecord(resolution=8, count=14, seed=0, shard=14))
    portraits, seen = Portraits(tmp_path), []

    def stop(done: int) -> None:
        seen.append(done)
        if done == 4:
            raise Stop

    with pytest.raises(Stop):
        render_part_maps(portraits, 10, stop)
    assert len(PartMaps(portraits)) == 4
    whole = render_part_maps(portraits, 14, stop := seen.append)
    assert stop is not None and seen == [4, 8, 12, 14]
    every = torch.arange(14)
    assert torch.equal(whole.rows(every), render(portraits.factors(every), 8, truth=True).parts)


def test_maps_of_other_pictures_are_refused(tmp_path: Path) -> None:
    render_dataset(tmp_path, DatasetRecord(resolution=8, count=2, seed=0, shard=2))
    render_part_maps(Portraits(tmp_path), 2)
    (tmp_path / "dataset.json").unlink()
    render_dataset(tmp_path, DatasetRecord(resolution=8, count=2, seed=1, shard=2))
    with pytest.raises(ValueError, match="other pictures"):
        PartMaps(Portraits(tmp_path))
    with pytest.raises(ValueError, match="fewer than 3"):
        render_part_maps(Portraits(tmp_path), 3)


def test_training_finds_the_large_parts_and_scores_each_that_occurs(
    portraits: Portraits, maps: PartMaps
) -> None:
    seen = []
    trained = train_parts(portraits, maps, SMALL, seen.append)

    assert seen[-1].images == seen[-1].total == 640
    assert seen[-1].loss < 0.7 * seen[0].loss
    record = trained.record
    assert record.iou["background"] > 0.7 and record.iou["shirt"] > 0.5
    occurring = maps.rows(torch.arange(16)).unique().tolist()
    assert {PARTS[label] for label in occurring} <= set(record.iou)
    assert record.pictures == 32 and record.seen == 640 and not trained.training


def test_a_training_that_was_interrupted_ends_with_the_same_weights(
    portraits: Portraits, maps: PartMaps, tmp_path: Path
) -> None:
    short = PartsTraining(images=48, batch=16, channels=(8, 8), bfloat16=False, checkpoint_every_s=-1)

    def stop(progress) -> None:
        if progress.images == 16:
            raise Stop

    with pytest.raises(Stop):
        train_parts(portraits, maps, short, stop, checkpoint=tmp_path / "parts.pt")
    resumed = train_parts(portraits, maps, short, checkpoint=tmp_path / "parts.pt").state_dict()
    whole = train_parts(portraits, maps, short).state_dict()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert not (tmp_path / "parts.pt").exists()


def test_a_training_can_be_on_another_device(portraits: Portraits, maps: PartMaps) -> None:
    found = []
    for device in ("cpu", elsewhere.NAME):
        steps: list[PartsProgress] = []
        settings = dataclasses.replace(SMALL, images=48, device=device)
        train_parts(portraits, maps, settings, steps.append)
        found.append([progress.loss for progress in steps])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_maps_of_held_out_pictures_alone_are_nothing_to_learn_from(portraits: Portraits) -> None:
    few = render_part_maps(portraits, 16)
    few.record = few.record.model_copy(update={"done": 16})
    with pytest.raises(ValueError, match="held-out"):
        train_parts(portraits, few, SMALL)


def test_the_loss_is_nothing_for_a_sure_and_right_answer_and_known_for_a_blind_one() -> None:
    labels = torch.tensor([[[0, 1], [1, 1]]])
    sure = torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).float() * 60
    assert parts_loss(sure, labels).item() == pytest.approx(0, abs=1e-6)

    # A third for each part: of the one-pixel part 1/3 of a pixel is met, 1 + 4/3 - 1/3 pixels are in either.
    blind = parts_loss(torch.zeros(1, 3, 2, 2), labels).item()
    shares = [(1 / 3) / (1 + 4 / 3 - 1 / 3), 1 / (3 + 4 / 3 - 1)]
    assert blind == pytest.approx(torch.tensor(3.0).log().item() + 1 - sum(shares) / 2)


def test_a_part_counts_as_much_with_one_pixel_as_with_many() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[0, 0, 0] = 1
    right = torch.nn.functional.one_hot(labels, 2).permute(0, 3, 1, 2).float() * 60
    missed = right.clone()
    missed[0, :, 0, 0] = torch.tensor([5.0, 0.0])  # one pixel of 64, but a whole part
    assert parts_loss(missed, labels) > 1 / 2


def test_mirrored_pictures_have_the_labels_of_a_mirrored_person() -> None:
    # A person who is his own mirror image, but for the light and the parting of the hair
    people = replace(sample(8, torch.Generator().manual_seed(0)), yaw=0.0, fringe=1.0, gaze=0.0, curl=0.0)
    truth = render(people, 64, truth=True)
    images, labels = mirror(truth.image, truth.parts.long(), torch.Generator().manual_seed(0))
    turned = (images != truth.image).flatten(1).any(1)
    assert 1 < turned.sum() < 7
    assert torch.equal(images[turned], truth.image.flip(3)[turned])
    assert (labels == truth.parts).float().mean() > 0.99
    flipped_alone = (truth.parts.flip(2) == truth.parts)[turned].float().mean()
    assert flipped_alone < (labels == truth.parts)[turned].float().mean()


def test_variation_leaves_half_of_the_pictures_alone_and_the_others_recognisable() -> None:
    images = render(sample(40, torch.Generator().manual_seed(0)), 32).image
    varied = vary(images, torch.Generator().manual_seed(0))
    same = (varied == images).flatten(1).all(1)
    assert 10 < same.sum() < 30
    moved = (varied - images).abs().flatten(1).mean(1)[~same]
    assert moved.min() > 0.001 and moved.max() < 0.2
