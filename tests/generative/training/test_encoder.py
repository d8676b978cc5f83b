import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from generative.generator import StyleGenerator
from generative.networks.feature_network import FeatureNetwork, FeatureRecord, Readout
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.statistics import sample_w, w_statistics
from generative.training.dataset import DatasetRecord, Portraits
from generative.training.encoder import (
    EncoderProgress,
    EncoderTrainer,
    EncoderTraining,
    StyleModel,
    new_encoder,
    straying,
    train_encoder,
)
from generative.worlds.portraits import NAMES
from tests import elsewhere

SMALL = EncoderTraining(
    images=1_600, batch=16, lateral=8, hidden=64, learning_rate=1e-2, ramp_images=160, bfloat16=False
)


class Stripes(StyleGenerator):
    """Each w is the colour of a stripe of 8 pixels: the inverse is known, it is the mean of the stripe."""

    img_resolution, img_channels, z_dim, c_dim, w_dim, num_ws = 32, 3, 3, 0, 3, 4

    def map(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return 0.1 + 0.25 * z

    def synthesize(self, ws: Tensor, noise: str = "const", *_: Any, **__: Any) -> Tensor:
        return ws.transpose(1, 2).repeat_interleave(8, dim=2)[:, :, None].expand(-1, -1, 32, -1)

    @property
    def w_avg(self) -> Tensor:
        return torch.full((3,), 0.1)

    @staticmethod
    def invert(images: Tensor) -> Tensor:
        """(N, 3, 32, 32) -> (N, 4, 3)."""
        return images.unflatten(3, (4, 8)).mean(dim=(2, 4)).transpose(1, 2)


def small_features() -> FeatureNetwork:
    """Untrained, with statistics in its normalisation as if it had been."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        record = FeatureRecord(
            resolution=32, channels=(8, 12, 16), readouts=(Readout(name="smile", kind="continuous"),)
        )
        features = FeatureNetwork(record)
        for name, value in features.state_dict().items():
            if "norm" in name and value.is_floating_point():
                value.uniform_(0.5, 1.5)
        return features.eval().requires_grad_(False)


@pytest.fixture
def model() -> StyleModel:
    generator = Stripes()
    return StyleModel(generator, w_statistics(sample_w(generator)), small_features())


@pytest.fixture
def portraits(tmp_path: Path) -> Portraits:
    """64 pictures of stripes that no w of one piece paints."""
    ws = 0.3 * torch.randn(64, 4, 3, generator=torch.Generator().manual_seed(5))
    images = Stripes().synthesize(ws).clamp(-1, 1).permute(0, 2, 3, 1)
    np.save(tmp_path / "images.npy", (images.numpy() * 127.5 + 127.5).astype(np.uint8))
    np.save(tmp_path / "factors.npy", np.zeros((64, len(NAMES)), dtype=np.float32))
    record = DatasetRecord(resolution=32, count=64, seed=0, done=64)
    (tmp_path / "dataset.json").write_text(record.model_dump_json())
    return Portraits(tmp_path, held_out=16)


def test_an_encoder_learns_the_known_inverse(model: StyleModel, portraits: Portraits) -> None:
    seen: list[EncoderProgress] = []
    trained = train_encoder(model, portraits, SMALL, seen.append)

    assert [p.images for p in seen[:2]] == [16, 32] and seen[-1].images == seen[-1].total == 1_600
    first, last = seen[0].losses, seen[-1].losses
    assert first["latent"] == pytest.approx(0.6, abs=0.25)  # the variance of w, truncated at random
    assert last["latent"] < 0.4 * first["latent"] and last["pixel"] < 0.5 * first["pixel"]

    images = portraits.rows(torch.arange(16))[0]  # held out
    truth = Stripes.invert(images)
    error, blind = ((ws - truth).square().mean() for ws in (trained(images), trained.w_mean))
    assert error < 0.5 * blind
    assert not trained.training and not any(p.requires_grad for p in trained.parameters())


def test_a_training_can_be_on_another_device(
    model: StyleModel, portraits: Portraits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "Generator", elsewhere.Generator)
    found = []
    for device in ("cpu", elsewhere.NAME):
        settings = SMALL.model_copy(update={"device": device})
        trainer = EncoderTrainer(copy.deepcopy(model), portraits, settings)
        found.append([trainer.step() for _ in range(3)])
    for here, there in zip(*found, strict=True):
        assert here == pytest.approx(there, rel=1e-4)


def test_an_interrupted_training_ends_with_the_same_encoder(
    model: StyleModel, portraits: Portraits, tmp_path: Path
) -> None:
    short = SMALL.model_copy(update={"images": 96, "checkpoint_every_s": -1.0})
    checkpoint = tmp_path / "checkpoint.pt"

    def break_off(progress: EncoderProgress) -> None:
        if progress.images == 48:
            raise KeyboardInterrupt

    whole = train_encoder(model, portraits, short).state_dict()
    with pytest.raises(KeyboardInterrupt):
        train_encoder(model, portraits, short, break_off, checkpoint)
    went_on: list[EncoderProgress] = []
    resumed = train_encoder(model, portraits, short, went_on.append, checkpoint).state_dict()

    assert [p.images for p in went_on] == [64, 80, 96]
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    assert not checkpoint.exists()


def test_training_leaves_the_generator_and_the_features_alone(
    model: StyleModel, portraits: Portraits
) -> None:
    generator = Generator(
        StyleGAN2Config(32, z_dim=8, w_dim=8, mapping_layers=1, channel_base=128, channel_max=8)
    )
    subject = replace(model, generator=generator, statistics=w_statistics(sample_w(generator)))
    before = {n: t.clone() for n, t in (generator.state_dict() | model.features.state_dict()).items()}
    train_encoder(subject, portraits, SMALL.model_copy(update={"images": 32}))
    after = generator.state_dict() | model.features.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_new_encoder_sees_what_the_feature_network_sees_and_answers_the_mean(model: StyleModel) -> None:
    encoder = new_encoder(model, SMALL)
    x = images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for stage, seen in zip(encoder.stages, model.features(images), strict=True):
        x = stage(x)
        torch.testing.assert_close(x, seen, rtol=1e-4, atol=1e-5)
    assert torch.equal(encoder(images), model.statistics.mean.expand(2, 4, 3))


def test_samples_are_truncated_and_some_are_of_two_styles(model: StyleModel, portraits: Portraits) -> None:
    def offsets(**settings: float) -> Tensor:
        trainer = EncoderTrainer(model, portraits, SMALL.model_copy(update=settings))
        return trainer.sample_ws(200) - model.statistics.mean

    pure = offsets(mixing=0.0, smallest_psi=1.0)
    assert torch.equal(pure, pure[:, :1].expand_as(pure))
    shrunk = offsets(mixing=0.0, smallest_psi=0.5) / pure
    assert 0.5 <= shrunk.min() < 0.52 and 0.98 < shrunk.max() <= 1
    assert offsets(smallest_psi=0.0).abs().mean() < 0.6 * pure.abs().mean()
    mixed = (offsets(mixing=0.4).diff(dim=1).abs() > 1e-6).any(dim=2).sum(dim=1)  # places where styles change
    assert mixed.max() == 1 and 0.3 < mixed.float().mean() < 0.5


def test_the_losses_of_the_truth_are_nothing(model: StyleModel, portraits: Portraits) -> None:
    trainer = EncoderTrainer(model, portraits, SMALL)
    ws = trainer.sample_ws(4)
    images = model.generator.synthesize(ws)
    trainer.network.forward = lambda _: ws  # type: ignore[method-assign]
    losses = trainer.losses(images, ws)
    assert {name: loss.item() for name, loss in losses.items() if name != "spread"} == pytest.approx(
        {"latent": 0, "pixel": 0, "perceptual": 0}, abs=1e-6
    )
    blind = trainer.losses(images, ws[:2] + model.statistics.std)
    assert blind["latent"].item() == pytest.approx(1, rel=1e-5) and blind["pixel"] == 0


def test_straying_is_free_inside_w_and_counts_layers_that_part_and_middles_that_leave() -> None:
    inside = torch.full((2, 8, 4), 0.9)
    assert straying(inside).item() == pytest.approx(0, abs=1e-12)
    assert straying(inside * 2).item() == pytest.approx(1.8**2 - 1, rel=1e-6)
    apart = inside.clone()
    apart[:, ::2] += 0.2
    apart[:, 1::2] -= 0.2
    assert straying(apart).item() == pytest.approx(0.04, rel=1e-5)


def test_the_rate_grows_and_falls_to_nothing_and_the_average_begins_as_the_network() -> None:
    settings = EncoderTraining(images=10_000, batch=10, learning_rate=2.0, ramp_images=1_000)
    assert settings.rate(0) == pytest.approx(0.02)
    assert settings.rate(990) == pytest.approx(1 + math.cos(math.pi * 0.099))
    assert settings.rate(5_000) == pytest.approx(1) and settings.rate(10_000) == pytest.approx(0, abs=1e-12)
    assert settings.average_beta(10) < 1e-5 and settings.average_beta(10**6) == pytest.approx(0.5**0.002)


@pytest.mark.parametrize("wrong", [{"batch": 1}, {"mixing": 2}, {"learning_rate": 0}, {"perceptua": 1}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EncoderTraining.model_validate(wrong)


def test_a_feature_network_of_another_depth_is_refused(model: StyleModel) -> None:
    record = model.features.record.model_copy(update={"channels": (8, 8)})
    with pytest.raises(ValueError, match="stages"):
        new_encoder(replace(model, features=FeatureNetwork(record)), SMALL)
