from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from generative.editing.swapping import swapped
from generative.networks.parts_network import PartsNetwork
from generative.networks.stylegan2 import Generator
from generative.store import load_model
from generative.training.__main__ import app

SMALL = ["batch=4", "held_out=10", "channel_base=128", "channel_max=8", "w_dim=8", "mapping_layers=1"]


def settings(*more: str) -> list[str]:
    return [word for setting in [*SMALL, "bfloat16=false", *more] for word in ("--set", setting)]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_the_commands_lead_from_nothing_to_a_model_folder(tmp_path: Path) -> None:
    where = ("--run", str(tmp_path))
    run("render", *where, "--count", "60", "--size", "16")
    assert "glasses" in run("features", *where, "--epochs", "1", "--held-out", "10")
    parts = ("--images", "64", "--pictures", "20", "--held-out", "10")
    assert "background" in run("parts", *where, *parts)
    run("warm", *where, "--images", "32", *settings())
    run("gan", *where, *settings("images=8", "head_start=4"))
    run("gan", *where, "--set", "images=12")  # goes on, with the settings of before
    assert "floor" in run("score", str(tmp_path / "gan" / "checkpoint.pt"), *where, "--count", "10")
    run("ship", *where, "--out", str(tmp_path / "small"))

    _, card = load_model(tmp_path / "small")
    assert PartsNetwork.load(tmp_path / "small").record.pictures == 20
    with Image.open(tmp_path / "small" / "parts.png") as picture:
        assert picture.size == (2 * 8 * 16, 2 * 8 * 16)  # four rows of samples, and of their maps
    assert card.images_seen == 12 + 32 and card.training["pairing"] == 3.0

    run("start", str(tmp_path / "small"), *where, *settings())
    kept = ("freeze_below=8", "structure_weight=1", "structure_below=8", "head_start=0", "images=8")
    run("gan", *where, "--name", "child", *settings(f"init={tmp_path}/start/checkpoint.pt", *kept))
    run("ship", *where, "--name", "child", "--out", str(tmp_path / "child"))
    parent, child = (load_model(tmp_path / name)[0] for name in ("small", "child"))
    assert isinstance(parent, Generator) and isinstance(child, Generator)
    ws = torch.randn(1, parent.num_ws, parent.w_dim)
    mixed = swapped(parent, child, range(1, parent.num_ws))  # the frozen layers are the same in both
    assert torch.allclose(mixed.synthesize(ws, "none"), child.synthesize(ws, "none"), atol=1e-2)
    assert not torch.equal(mixed.synthesize(ws, "none"), parent.synthesize(ws, "none"))


def test_a_misspelt_setting_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["gan", "--run", str(tmp_path), "--set", "learning_rate=1"])
    assert result.exit_code != 0 and "learning_rate" in str(result.exception)


def test_a_checkpoint_is_not_overwritten_without_resuming(tmp_path: Path) -> None:
    (tmp_path / "gan").mkdir()
    (tmp_path / "gan" / "checkpoint.pt").touch()
    result = CliRunner().invoke(app, ["gan", "--run", str(tmp_path), "--no-resume"])
    assert result.exit_code == 2 and (tmp_path / "gan" / "checkpoint.pt").stat().st_size == 0


@pytest.mark.parametrize(
    "command",
    ["render", "features", "parts", "warm", "start", "gan", "score", "ship", "family", "ship-family"],
)
def test_every_command_explains_itself(command: str) -> None:
    assert len(run(command, "--help").splitlines()) > 5
