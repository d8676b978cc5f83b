import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from generative.networks.feature_network import FeatureNetwork
from generative.networks.stylegan2 import Generator
from generative.training.codes import Codes
from generative.training.config import TrainingConfig
from generative.training.dataset import DatasetRecord, Portraits, render_dataset
from generative.training.warm_start import WarmProgress, WarmStart, warm_start
from tests import elsewhere


def test_a_warm_start_brings_pictures_near_those_of_their_factors(
    config: TrainingConfig, features: FeatureNetwork, tmp_path: Path
) -> None:
    render_dataset(tmp_path / "world", DatasetRecord(resolution=16, count=64, seed=0, shard=64))
    portraits = Portraits(tmp_path / "world")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = Generator(config.model_copy(update={"z_dim": 27, "w_dim": 32}).generator(16))
    seen: list[WarmProgress] = []

    settings = WarmStart(images=2_560, batch=16, learning_rate=5e-3, bfloat16=False, ema_images=50)
    average = warm_start(generator, features, portraits, settings, seen.append)

    assert [p.images for p in seen[:2]] == [16, 32] and seen[-1].images == seen[-1].total == 2_560
    assert seen[-1].pixels < 0.5 * seen[0].pixels
    rows = torch.arange(64)
    painted = average(Codes(portraits, 27).draw(rows, torch.Generator().manual_seed(1)))
    real = portraits.rows(rows)[0]
    right, wrong = (painted - real).abs().mean(), (painted - real.roll(1, 0)).abs().mean()
    assert right < 0.9 * wrong


def test_a_warm_start_can_be_on_another_device(
    config: TrainingConfig, features: FeatureNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "Generator", elsewhere.Generator)
    render_dataset(tmp_path / "world", DatasetRecord(resolution=16, count=32, seed=0, shard=32))
    found = []
    for device in ("cpu", elsewhere.NAME):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            generator = Generator(config.model_copy(update={"z_dim": 27, "w_dim": 32}).generator(16))
        steps: list[WarmProgress] = []
        settings = WarmStart(images=48, batch=16, bfloat16=False, device=device)
        warm_start(generator, copy.deepcopy(features), Portraits(tmp_path / "world"), settings, steps.append)
        found.append([progress.pixels for progress in steps])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_an_interrupted_warm_start_ends_with_the_same_generator(
    config: TrainingConfig, features: FeatureNetwork, tmp_path: Path
) -> None:
    render_dataset(tmp_path / "world", DatasetRecord(resolution=16, count=32, seed=0, shard=32))
    portraits = Portraits(tmp_path / "world")
    settings = WarmStart(images=96, batch=16, bfloat16=False, checkpoint_every_s=0)

    def start(callback: Callable[[WarmProgress], None] | None) -> Generator:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            generator = Generator(config.model_copy(update={"z_dim": 27, "w_dim": 32}).generator(16))
        return warm_start(generator, features, portraits, settings, callback, tmp_path / "warm.pt")

    def break_off(progress: WarmProgress) -> None:
        if progress.images == 48:
            raise KeyboardInterrupt

    whole = start(None).state_dict()
    with pytest.raises(KeyboardInterrupt):
        start(break_off)
    went_on: list[WarmProgress] = []
    resumed = start(went_on.append).state_dict()

    assert [p.images for p in went_on] == [64, 80, 96]
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    assert not (tmp_path / "warm.pt").exists()
