import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from typer.testing import CliRunner

from generative.cards import About, read_card
from generative.networks.dcgan import DCGANConfig
from generative.networks.dcgan import Generator as DCGAN
from generative.networks.feature_network import FeatureNetwork, FeatureRecord, Readout
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.store import load_encoder, load_model, save_model
from generative.training import ship_encoder
from generative.training.__main__ import app
from generative.training.dataset import DatasetRecord, render_dataset
from generative.training.encoder import EncoderProgress, EncoderTraining, StyleModel, new_encoder
from generative.training.encoder_journal import Journal

CONFIG = StyleGAN2Config(32, z_dim=8, w_dim=8, mapping_layers=1, channel_base=128, channel_max=8)


@contextmanager
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small, untrained model with a feature network."""
    folder = tmp_path / "small"
    with seeded():
        save_model(folder, Generator(CONFIG).eval(), About(name="small"))
        readouts = (Readout(name="smile", kind="continuous"), Readout(name="hat", kind="binary"))
        FeatureNetwork(FeatureRecord(resolution=32, channels=(4, 4, 4), readouts=readouts)).save(folder)
    return folder


def test_the_command_leads_from_a_model_and_renders_to_an_encoder_beside_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ship_encoder, "COUNT", 16)
    monkeypatch.setattr(ship_encoder, "STEPS", 2)
    render_dataset(tmp_path / "run" / "dataset", DatasetRecord(resolution=32, count=40, seed=0, shard=40))
    weights = (folder / "weights.safetensors").read_bytes()
    model, sizes = ("--model", str(folder), "--run", str(tmp_path / "run")), ("lateral=4", "hidden=8")
    settings = [word for s in ("images=16", "batch=8", "bfloat16=false", *sizes) for word in ("--set", s)]
    result = CliRunner().invoke(app, ["encoder", *model, "--held-out", "32", *settings])
    assert result.exit_code == 0, result.output

    encoder, card = load_encoder(folder), read_card(folder)
    assert card.encoder["network"] == "style_encoder" and card.encoder["hidden"] == 8
    with safe_open(folder / "encoder.safetensors", "pt") as file:
        assert json.loads(file.metadata()["config"]) == card.encoder
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}
    assert encoder(torch.zeros(1, 3, 32, 32)).shape == (1, 8, 8)
    assert (folder / "weights.safetensors").read_bytes() == weights and load_model(folder)[1] == card

    record = ship_encoder.EncoderRecord.model_validate_json((folder / "encoder.json").read_text())
    assert record.training["images"] == 16 and record.pictures == 16 and record.ms_per_picture > 0
    assert set(record.scores) == {"renders", "samples"} and len(record.scores["renders"]) == 4
    with Image.open(folder / "encoder.png") as picture:
        assert picture.size == (2 * 8 * 32, 2 * 8 * 32)  # two rows of each kind, and what became of them


def test_a_model_without_w_can_have_no_encoder(tmp_path: Path) -> None:
    with seeded():
        save_model(tmp_path, DCGAN(DCGANConfig(z_dim=4, channels=(4, 4, 4))), About(name="z"))
    with pytest.raises(ValueError, match="no unconditional model with a W"):
        StyleModel.load(tmp_path)


def test_unseen_pictures_are_the_same_every_time_and_the_samples_those_of_their_ws(folder: Path) -> None:
    generator = StyleModel.load(folder).generator
    first, again = (ship_encoder.draw_unseen(generator, 4) for _ in range(2))
    assert torch.equal(first.renders, again.renders) and torch.equal(first.samples, again.samples)
    assert torch.equal(generator.synthesize(first.ws).clamp(-1, 1), first.samples)
    assert not torch.equal(first.samples, ship_encoder.draw_unseen(generator, 4, seed=1).samples)


def test_the_journal_has_means_since_the_last_line_and_a_strip(folder: Path, tmp_path: Path) -> None:
    model = StyleModel.load(folder)
    encoder = new_encoder(model, EncoderTraining())
    journal = Journal(tmp_path / "log", model.generator, torch.zeros(8, 3, 32, 32), every_s=1000)
    journal.note(EncoderProgress(8, 24, {"pixel": 1.0}, encoder))
    assert not (tmp_path / "log" / "log.jsonl").exists()
    journal.every_s = 0
    journal.note(EncoderProgress(16, 24, {"pixel": 3.0}, encoder))
    journal.note(EncoderProgress(24, 24, {"pixel": 5.0}, encoder))
    lines = [json.loads(line) for line in (tmp_path / "log" / "log.jsonl").read_text().splitlines()]
    assert lines == [{"images": 16, "pixel": 2.0}, {"images": 24, "pixel": 5.0}]
    with Image.open(tmp_path / "log" / "strip.png") as picture:
        assert picture.size == (8 * 32, 2 * 32)


def test_the_command_explains_itself() -> None:
    result = CliRunner().invoke(app, ["encoder", "--help"])
    assert result.exit_code == 0 and "--set" in result.output
