"""What a child keeps of the generator that it is fine-tuned from."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from generative.networks.stylegan2 import Generator
from generative.training import loop
from generative.training.config import TrainingConfig
from generative.training.structure import frozen, low_pictures, structure_loss


@pytest.fixture
def start(config: TrainingConfig, tmp_path: Path) -> Path:
    torch.manual_seed(3)
    loop.write_start(tmp_path / "start", config, Generator(config.generator(16)), 5)
    return tmp_path / "start" / "checkpoint.pt"


def test_a_child_keeps_its_mapping_and_coarse_blocks_to_the_bit(
    config: TrainingConfig, start: Path, tmp_path: Path
) -> None:
    changes = {"init": start, "freeze_below": 8, "structure_weight": 1.0, "structure_below": 16}
    child = loop.train(config.model_copy(update=changes), tmp_path / "child").generator
    parent = torch.load(start, weights_only=True)["average"]
    kept = {name for name, weight in child.named_parameters() if torch.equal(weight, parent[name])}
    coarse = {n for n, _ in child.named_parameters() if n.startswith(("mapping.", "synthesis.b4."))}
    assert coarse <= kept and not any(
        name.startswith("synthesis.b16.conv") and "weight" in name for name in kept
    )
    assert {id(p) for p in frozen(child, 8)} == {id(dict(child.named_parameters())[n]) for n in coarse}


def test_the_structure_loss_is_that_of_the_running_pictures(config: TrainingConfig) -> None:
    torch.manual_seed(0)
    one, other = (Generator(config.generator(16)).eval() for _ in range(2))
    ws = torch.randn(2, one.num_ws, one.w_dim)
    expected = sum(
        F.mse_loss(*(g.features_of_ws(ws, [name], "none")[name] for g in (one, other)))
        for name in ("b4.img", "b8.img")
    )
    torch.testing.assert_close(structure_loss(one, other, ws, 16), expected)
    assert structure_loss(one, one, ws, 16).item() == 0
    assert [p.shape[-1] for p in low_pictures(one, ws, 9)] == [4, 8]


def test_what_a_child_keeps_is_its_start_s(config: TrainingConfig) -> None:
    for change in ({"freeze_below": 8}, {"structure_weight": 1.0}):
        with pytest.raises(ValidationError, match="init"):
            TrainingConfig.model_validate(config.model_dump() | change)
