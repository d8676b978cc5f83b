from pathlib import Path

import numpy as np
import pytest
import torch

from generative.training.dataset import DatasetRecord, Portraits, render_dataset
from generative.worlds import portraits as world

RECORD = DatasetRecord(resolution=16, count=10, seed=3, shard=4)


class Stop(Exception):
    pass


def stop_at(count: int) -> object:
    def callback(done: int) -> None:
        if done >= count:
            raise Stop

    return callback


def test_an_interrupted_rendering_ends_with_the_same_bytes(tmp_path: Path) -> None:
    render_dataset(tmp_path / "whole", RECORD)
    with pytest.raises(Stop):
        render_dataset(tmp_path / "parts", RECORD, stop_at(4))
    assert Portraits(tmp_path / "parts").record.done == 4
    render_dataset(tmp_path / "parts", RECORD)

    for name in ("images.npy", "factors.npy", "dataset.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_pictures_are_those_of_their_factors(tmp_path: Path) -> None:
    render_dataset(tmp_path, RECORD)
    images, factors = Portraits(tmp_path).rows(torch.tensor([5, 0]))

    rendered = world.render(factors, 16).image
    assert images.shape == (2, 3, 16, 16)
    assert (images - rendered).abs().max().item() <= 0.5 / 127.5 + 1e-6  # 8 bits


def test_a_folder_of_another_record_is_refused(tmp_path: Path) -> None:
    render_dataset(tmp_path, RECORD)
    with pytest.raises(ValueError, match="another data set"):
        render_dataset(tmp_path, RECORD.model_copy(update={"seed": 4}))


def test_held_out_pictures_never_come_up_in_training(dataset: Path) -> None:
    portraits = Portraits(dataset, held_out=16)
    held_out = {row.tobytes() for batch in portraits.held_out_batches(5) for row in batch[1].numpy()}

    drawn = portraits.batch(500, torch.Generator().manual_seed(0))[1].numpy()

    assert len(portraits) == 48 and len(held_out) == 16
    assert held_out.isdisjoint(row.tobytes() for row in drawn)
    assert len(np.unique(drawn, axis=0)) == 48


def test_a_growing_folder_is_counted_again(dataset: Path) -> None:
    portraits = Portraits(dataset)
    record = portraits.record.model_copy(update={"done": 40})
    (dataset / "dataset.json").write_text(record.model_dump_json())
    assert len(portraits.refresh()) == 40


def test_a_folder_with_nothing_but_held_out_pictures_is_refused(dataset: Path) -> None:
    with pytest.raises(ValueError, match="held out"):
        Portraits(dataset, held_out=64)
