from pathlib import Path

import numpy as np
import pytest
import torch

from generative.networks.feature_network import FeatureNetwork, FeatureRecord, Readout
from generative.training.config import TrainingConfig
from generative.training.dataset import DatasetRecord
from generative.worlds.portraits import NAMES


@pytest.fixture
def features() -> FeatureNetwork:
    """A small, untrained feature network for 16 px."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        record = FeatureRecord(
            resolution=16, channels=(8, 8, 16, 16), readouts=(Readout(name="smile", kind="continuous"),)
        )
        return FeatureNetwork(record).eval().requires_grad_(False)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A folder of 64 noise pictures of 16 px, as `render_dataset` would leave it."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    rng = np.random.default_rng(0)
    np.save(folder / "images.npy", rng.integers(0, 256, (64, 16, 16, 3), dtype=np.uint8))
    np.save(folder / "factors.npy", rng.random((64, len(NAMES)), dtype=np.float32))
    record = DatasetRecord(resolution=16, count=64, seed=0, done=64)
    (folder / "dataset.json").write_text(record.model_dump_json())
    return folder


@pytest.fixture
def config(dataset: Path, features: FeatureNetwork, tmp_path: Path) -> TrainingConfig:
    """Three steps of a projected training with everything random in use, in float32."""
    features.save(tmp_path / "features")
    return TrainingConfig(
        dataset=dataset,
        features=tmp_path / "features",
        images=12,
        batch=4,
        channel_base=128,
        channel_max=16,
        z_dim=8,
        w_dim=8,
        mapping_layers=2,
        held_out=16,
        bfloat16=False,
        log_every=1,
        ada_every=1,
        ada_target=-1.0,  # below every sign, so that p rises at once
        ada_ramp=20,
    )
