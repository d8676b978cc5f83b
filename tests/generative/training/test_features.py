from dataclasses import replace
from pathlib import Path

import pytest
import torch

from generative.networks.feature_network import FeatureNetwork, FeatureRecord, Readout, readout_loss
from generative.training.dataset import DatasetRecord, Portraits, render_dataset
from generative.training.features import FeatureProgress, FeatureTraining, train_features
from tests import elsewhere

READOUTS = (
    Readout(name="yaw", kind="continuous", mean=0.5, std=2.0),
    Readout(name="glasses", kind="binary"),
    Readout(name="hair_color", kind="categorical", classes=3),
)


def network() -> FeatureNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        record = FeatureRecord(resolution=16, channels=(8, 8, 8), readouts=READOUTS)
        return FeatureNetwork(record).eval().requires_grad_(False)


def test_training_lowers_both_losses_and_scores_every_factor(tmp_path: Path) -> None:
    render_dataset(tmp_path, DatasetRecord(resolution=16, count=96, seed=0, shard=96))
    seen = []
    trained = train_features(
        Portraits(tmp_path, held_out=32), FeatureTraining(epochs=15, batch=32, bfloat16=False), seen.append
    )

    assert seen[-1].step == seen[-1].steps == 30
    assert seen[-1].reconstruction < 0.7 * seen[0].reconstruction
    assert seen[-1].readout < 0.9 * seen[0].readout
    scores = {r.name: r.score for r in trained.record.readouts}
    assert len(scores) == 27 and all(s is not None and s <= 1 for s in scores.values())
    assert trained.record.pictures == 64 and not trained.training


def test_an_interrupted_training_ends_with_the_same_network(tmp_path: Path) -> None:
    render_dataset(tmp_path, DatasetRecord(resolution=16, count=96, seed=0, shard=96))
    portraits = Portraits(tmp_path, held_out=32)
    settings = FeatureTraining(epochs=3, batch=32, bfloat16=False, checkpoint_every_s=0)
    checkpoint = tmp_path / "features.pt"

    def break_off(progress: FeatureProgress) -> None:
        if progress.step == 4:
            raise KeyboardInterrupt

    whole = train_features(portraits, settings).state_dict()
    with pytest.raises(KeyboardInterrupt):
        train_features(portraits, settings, break_off, checkpoint=checkpoint)
    resumed = train_features(portraits, settings, checkpoint=checkpoint).state_dict()

    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    assert not checkpoint.exists()


def test_a_training_can_be_on_another_device(tmp_path: Path) -> None:
    render_dataset(tmp_path, DatasetRecord(resolution=16, count=64, seed=0, shard=64))
    portraits, found = Portraits(tmp_path, held_out=32), []
    for device in ("cpu", elsewhere.NAME):
        steps: list[FeatureProgress] = []
        settings = FeatureTraining(epochs=3, batch=16, bfloat16=False, device=device)
        train_features(portraits, settings, steps.append)
        found.append([(p.reconstruction, p.readout) for p in steps])
    assert len(found[0]) == 6
    torch.testing.assert_close(torch.tensor(found[0]), torch.tensor(found[1]))


def test_stages_may_begin_with_those_of_another_network(tmp_path: Path) -> None:
    render_dataset(tmp_path, DatasetRecord(resolution=16, count=64, seed=0, shard=64))
    portraits = Portraits(tmp_path, held_out=32)
    settings = FeatureTraining(epochs=2, batch=32, learning_rate=1e-12, weight_decay=0, bfloat16=False)
    first = train_features(portraits, settings)
    other = train_features(portraits, replace(settings, seed=1, hidden=0), start=first)

    assert torch.allclose(other.stages[0].conv0.weight, first.stages[0].conv0.weight, atol=1e-6)
    assert other.record.hidden == 0 and first.record.hidden > 0


def test_columns_lie_side_by_side() -> None:
    slices = [column.slice for column in network().columns]
    assert [(s.start, s.stop) for s in slices] == [(0, 1), (1, 2), (2, 5)]


def test_a_perfect_readout_costs_nothing_and_a_blind_one_what_theory_says() -> None:
    columns = network().columns
    factors = torch.tensor([[2.5, 1.0, 2.0], [-1.5, 0.0, 0.0]])
    right = torch.tensor([[1.0, 50.0, 0, 0, 50.0], [-1.0, -50.0, 50.0, 0, 0]])
    assert readout_loss(right, factors, columns).item() == pytest.approx(0, abs=1e-6)

    blind = readout_loss(torch.zeros(2, 5), factors, columns).item()
    assert blind == pytest.approx((1.0 + torch.tensor(2.0).log().item() + torch.tensor(3.0).log().item()) / 3)


def test_factors_come_back_in_the_units_of_the_world() -> None:
    net, images = network(), torch.zeros(2, 3, 16, 16)
    net.readout.weight.zero_()
    net.readout.bias.copy_(torch.tensor([1.5, 0.0, 0.1, 3.0, 0.2]))
    factors = net.factors(images)
    assert factors["yaw"].tolist() == pytest.approx([3.5, 3.5])
    assert factors["glasses"].tolist() == [0.5, 0.5]
    assert factors["hair_color"].tolist() == [1.0, 1.0]


def test_a_saved_network_comes_back_frozen_and_nearly_the_same(tmp_path: Path) -> None:
    net, images = network(), torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    net.save(tmp_path)
    loaded = FeatureNetwork.load(tmp_path)

    assert loaded.record == net.record
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    for a, b in zip(net(images), loaded(images), strict=True):
        assert torch.allclose(a, b, atol=2e-3)  # half precision


def test_the_embedding_is_the_mean_of_every_map() -> None:
    net, images = network(), torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = [m[n, c].mean() for n in range(2) for m in net(images) for c in range(m.shape[1])]
    assert torch.allclose(net.embed(images).flatten(), torch.stack(expected), atol=1e-6)
