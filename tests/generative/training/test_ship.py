from pathlib import Path

import pytest
import torch
from PIL import Image

from generative.losses import PerceptualDistance
from generative.networks.feature_network import FeatureNetwork
from generative.store import load_model
from generative.training import loop, running
from generative.training.config import TrainingConfig
from generative.training.dataset import Portraits
from generative.training.score import Reference, load_average, samples
from generative.training.ship import half_shows, ship


@pytest.fixture
def checkpoint(config: TrainingConfig, tmp_path: Path) -> Path:
    loop.train(config, tmp_path / "gan")
    return tmp_path / "gan" / running.CHECKPOINT


def test_a_shipped_folder_is_a_model_with_card_pictures_and_features(
    checkpoint: Path, tmp_path: Path
) -> None:
    ship(tmp_path, checkpoint, tmp_path / "tiny")

    generator, card = load_model(tmp_path / "tiny")
    assert card.name == "tiny" and card.images_seen == 12 and card.licence == "Apache-2.0"
    assert card.training["pictures"] == 48
    assert set(card.metrics) >= {"frechet", "frechet_of_renders", "frechet_of_renders_with_noise"}
    for name, size in (("samples.png", (128, 128)), ("interpolation.png", (320, 96))):
        with Image.open(tmp_path / "tiny" / name) as picture:
            assert picture.size == size

    images = generator(torch.zeros(2, 8) + 0.5)
    distance = PerceptualDistance(FeatureNetwork.load(tmp_path / "tiny"))
    assert distance(images, images).tolist() == [0, 0]


def test_the_average_of_a_checkpoint_is_what_is_loaded(
    config: TrainingConfig, checkpoint: Path, tmp_path: Path
) -> None:
    trained = loop.train(config, tmp_path / "gan")  # already at its end
    z = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(load_average(checkpoint)(z), trained.average(z), atol=1e-5)


def test_samples_are_the_same_for_the_same_seed_and_differ_for_another(checkpoint: Path) -> None:
    generator = load_average(checkpoint)
    one, same, other = (torch.cat(samples(generator, 5, seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_noise_is_farther_from_renders_than_other_renders(
    checkpoint: Path, tmp_path: Path, dataset: Path
) -> None:
    reference = Reference(FeatureNetwork.load(tmp_path / "features"), Portraits(dataset, held_out=16))
    assert 0 <= reference.floor() < reference.distance(load_average(checkpoint))
    assert reference.noisy() > 0


def test_half_precision_does_not_show_in_small_weights_but_does_in_huge_ones(checkpoint: Path) -> None:
    generator = load_average(checkpoint)
    assert not half_shows(generator)
    generator.synthesis.b4.torgb.bias.fill_(30_011.0)  # float16 has no number between 30000 and 30016
    generator.synthesis.b8.torgb.bias.fill_(-30_011.3)
    assert half_shows(generator)
