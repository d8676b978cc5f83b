"""The encoder that ships, on pictures that it has not seen."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.losses import PerceptualDistance
from generative.metrics.reconstruction import Fidelity, fidelity, psnr_db
from generative.spaces import broadcast
from generative.store import ENCODER, load_encoder
from generative.training.encoder import StyleModel
from generative.training.ship_encoder import RECORD, EncoderRecord
from generative.worlds.portraits import render, replace, sample

SHIPPED = Path(__file__).parents[2] / "model_repo" / "portraits"
pytestmark = pytest.mark.skipif(not (SHIPPED / ENCODER).exists(), reason="no encoder in the model folder")
COUNT = 48


@pytest.fixture(scope="module")
def model() -> StyleModel:
    return StyleModel.load(SHIPPED)


@pytest.fixture(scope="module")
def encoder() -> nn.Module:
    return load_encoder(SHIPPED)


@pytest.fixture(scope="module")
def record() -> EncoderRecord:
    return EncoderRecord.model_validate_json((SHIPPED / RECORD).read_text())


@pytest.fixture(scope="module")
def ws(model: StyleModel) -> Tensor:
    """(COUNT, L, w_dim) of new samples."""
    z = torch.randn(COUNT, model.generator.z_dim, generator=torch.Generator().manual_seed(987_654))
    return broadcast(model.generator.map(z), model.generator.num_ws)


@pytest.fixture(scope="module")
def samples(model: StyleModel, ws: Tensor) -> Tensor:
    return model.generator.synthesize(ws).clamp(-1, 1)


@pytest.fixture(scope="module")
def renders() -> Tensor:
    return render(sample(COUNT, torch.Generator().manual_seed(987_654)), 64).image


def seen(model: StyleModel, images: Tensor, ws: Tensor) -> Fidelity:
    return fidelity(PerceptualDistance(model.features), images, model.generator.synthesize(ws))


def test_its_file_is_small_and_its_answer_the_same_every_time(encoder: nn.Module, renders: Tensor) -> None:
    assert (SHIPPED / ENCODER).stat().st_size < 4e6
    assert torch.equal(encoder(renders), load_encoder(SHIPPED)(renders))
    alone = torch.cat([encoder(image[None]) for image in renders[:4]])
    torch.testing.assert_close(encoder(renders)[:4], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["samples", "renders"])
def test_it_paints_unseen_pictures_far_better_than_the_mean_face_and_as_its_record_says(
    kind: str, model: StyleModel, encoder: nn.Module, record: EncoderRecord, request: pytest.FixtureRequest
) -> None:
    images = request.getfixturevalue(kind)
    mean = broadcast(model.statistics.mean.expand(COUNT, -1), model.generator.num_ws)
    blind, found = seen(model, images, mean), seen(model, images, encoder(images))
    assert found.psnr_db > blind.psnr_db + 10
    assert found.perceptual < 0.2 * blind.perceptual
    assert found.factor_error < 0.45 * blind.factor_error and found.factors_kept > 0.9
    promised = record.scores[kind]["encoder"]
    assert found.psnr_db == pytest.approx(promised.psnr_db, abs=1)
    assert found.perceptual == pytest.approx(promised.perceptual, rel=0.25)


def test_its_codes_of_samples_are_near_those_that_they_were_painted_from(
    model: StyleModel, encoder: nn.Module, samples: Tensor, ws: Tensor
) -> None:
    found = (encoder(samples) - model.statistics.mean) / model.statistics.std
    truth = (ws - model.statistics.mean) / model.statistics.std
    assert (found - truth).square().mean() < 0.6 * truth.square().mean()
    alike = F.normalize(found.flatten(1)) @ F.normalize(truth.flatten(1)).T
    assert (alike.argmax(dim=1) == torch.arange(COUNT)).float().mean() > 0.9


def test_the_codes_of_renders_stay_near_w(model: StyleModel, encoder: nn.Module, renders: Tensor) -> None:
    offsets = (encoder(renders) - model.statistics.mean) / model.statistics.std
    middle = offsets.mean(dim=1, keepdim=True)
    assert (offsets - middle).square().mean() < 0.3 and middle.square().mean() < 1.2


@pytest.mark.parametrize("worn", [0.0, 1.0])
def test_glasses_show_in_the_painting_when_they_are_worn(
    worn: float, model: StyleModel, encoder: nn.Module
) -> None:
    images = render(replace(sample(24, torch.Generator().manual_seed(5)), glasses=worn), 64).image
    painted = model.generator.synthesize(encoder(images)).clamp(-1, 1)
    assert (model.features.factors(painted)["glasses"].round() == worn).float().mean() > 0.85


def test_noise_on_a_picture_moves_its_code_little(encoder: nn.Module, renders: Tensor) -> None:
    noisy = renders + 0.02 * torch.randn(renders.shape, generator=torch.Generator().manual_seed(0))
    found, moved = encoder(renders), encoder(noisy)
    between = (found - found.roll(1, 0)).square().mean()
    assert (moved - found).square().mean() < 0.1 * between
    assert psnr_db(renders, noisy).min() > 30
