import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from generative.training import loop, running
from generative.training.config import TrainingConfig
from generative.training.dataset import Portraits
from tests import elsewhere


def stop_after(images: int) -> running.Callback:
    def callback(progress: running.Progress) -> None:
        if progress.images >= images:
            raise running.StopTraining

    return callback


def assert_same(a: object, b: object) -> None:
    if isinstance(a, torch.Tensor):
        assert isinstance(b, torch.Tensor) and torch.equal(a, b)
    elif isinstance(a, dict):
        assert isinstance(b, dict) and a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list):
        assert isinstance(b, list) and len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


def timeless(trainer: loop.Trainer) -> dict[str, object]:
    return {name: value for name, value in trainer.state().items() if name != "processor_s"}


def plain(config: TrainingConfig) -> TrainingConfig:
    changes = {
        "discriminator": "plain",
        "loss": "logistic",
        "path_weight": 1.0,
        "path_every": 2,
        "r1_every": 2,
    }
    return config.model_copy(update=changes)


def paired(config: TrainingConfig) -> TrainingConfig:
    return config.model_copy(update={"pairing": 1.0, "z_dim": 32})


def untangled(config: TrainingConfig) -> TrainingConfig:
    return config.model_copy(update={"hessian_weight": 0.1, "hessian_every": 2})


def unchanged(config: TrainingConfig) -> TrainingConfig:
    return config


@pytest.mark.parametrize("change", [unchanged, plain, paired, untangled])
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(
    config: TrainingConfig, tmp_path: Path, change: Callable[[TrainingConfig], TrainingConfig]
) -> None:
    config = change(config)

    whole = loop.train(config, tmp_path / "whole")
    loop.train(config, tmp_path / "parts", stop_after(4))
    resumed = loop.train(config, tmp_path / "parts")

    assert whole.images == resumed.images == 12
    assert whole.strength.probability > 0
    assert_same(timeless(whole), timeless(resumed))


@pytest.mark.parametrize("change", [unchanged, plain, paired, untangled])
def test_a_run_can_be_on_another_device(
    config: TrainingConfig,
    change: Callable[[TrainingConfig], TrainingConfig],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "Generator", elsewhere.Generator)
    found = []
    for device in ("cpu", elsewhere.NAME):
        given = change(config).model_copy(update={"device": device})
        trainer = loop.Trainer(given, Portraits(given.dataset, given.held_out))
        trainer.noise = elsewhere.Generator().manual_seed(given.seed)  # as every device but the CPU has
        found.append([[loss.cpu() for loss in trainer.step()] for _ in range(2)])
    torch.testing.assert_close(found[0], found[1])


def test_a_stopped_run_leaves_a_checkpoint_and_a_log(config: TrainingConfig, tmp_path: Path) -> None:
    loop.train(config, tmp_path / "run", stop_after(8))

    state = torch.load(tmp_path / "run" / running.CHECKPOINT, weights_only=True)
    lines = [json.loads(line) for line in (tmp_path / "run" / running.LOG).read_text().splitlines()]
    assert state["images"] == 8
    assert [line["images"] for line in lines] == [4, 8]
    assert TrainingConfig.model_validate_json((tmp_path / "run" / running.CONFIG).read_text()) == config


def test_a_step_moves_both_networks_and_leaves_the_features_alone(config: TrainingConfig) -> None:
    trainer = loop.Trainer(config, Portraits(config.dataset, config.held_out))
    before = {n: t.clone() for n, t in trainer.state()["discriminator"].items()}
    generator = {n: t.clone() for n, t in trainer.state()["generator"].items()}

    trainer.step()

    after = trainer.state()
    frozen = [n for n in before if n.startswith("projection.")]
    assert frozen and all(torch.equal(before[n], after["discriminator"][n]) for n in frozen)
    heads = [n for n in before if n.endswith("original")]
    assert heads and all(not torch.equal(before[n], after["discriminator"][n]) for n in heads)
    assert any(not torch.equal(generator[n], after["generator"][n]) for n in generator)


def test_with_a_head_start_the_generator_waits(config: TrainingConfig) -> None:
    config = config.model_copy(update={"head_start": 4})
    trainer = loop.Trainer(config, Portraits(config.dataset, config.held_out))
    before = trainer.generator.synthesis.b4.const.detach().clone()

    trainer.step()
    assert torch.equal(before, trainer.generator.synthesis.b4.const)
    trainer.step()
    assert not torch.equal(before, trainer.generator.synthesis.b4.const)


def test_the_generator_can_start_from_the_average_of_another_run(
    config: TrainingConfig, tmp_path: Path
) -> None:
    first = loop.train(config, tmp_path / "first")
    trainer = loop.Trainer(plain(config), Portraits(config.dataset, config.held_out))

    trainer.start_from(torch.load(tmp_path / "first" / running.CHECKPOINT, weights_only=True))

    assert_same(first.state()["average"], trainer.state()["generator"])
    assert_same(first.state()["average"], trainer.state()["average"])
    assert trainer.images == 0 and trainer.images_before == 12


def test_the_hessian_penalty_reaches_every_layer(config: TrainingConfig) -> None:
    trainer = loop.Trainer(untangled(config), Portraits(config.dataset, config.held_out))
    trainer.generator_optimizer.zero_grad()
    trainer._untangle_generator()
    weights = {n: p for n, p in trainer.generator.named_parameters() if n.endswith("weight")}
    assert all(p.grad is not None and bool(p.grad.any()) for p in weights.values())


def test_path_lengths_and_compiled_code_are_not_combined(config: TrainingConfig) -> None:
    with pytest.raises(ValueError, match="second derivatives"):
        TrainingConfig.model_validate(config.model_dump() | {"compile": True, "path_weight": 1.0})


def test_an_unknown_setting_is_refused(config: TrainingConfig) -> None:
    with pytest.raises(ValueError, match="learning_rate"):
        TrainingConfig.model_validate(config.model_dump() | {"learning_rate": 1.0})


def test_half_of_the_average_is_left_after_the_half_life(config: TrainingConfig) -> None:
    config = config.model_copy(update={"batch": 10, "ema_images": 100, "ema_rampup": 0.5})
    assert config.average_beta(1_000) ** 10 == pytest.approx(0.5)  # 10 steps of 10 images are one half-life
    assert config.average_beta(40) ** 2 == pytest.approx(0.5)  # early on, half of the 40 images seen
    assert config.average_beta(0) == 0  # at first the average is the generator


def test_the_average_follows_the_generator_by_the_written_rule(config: TrainingConfig) -> None:
    trainer = loop.Trainer(config, Portraits(config.dataset, config.held_out))
    name = "synthesis.b4.conv1.weight"
    expected = trainer.generator.state_dict()[name].clone()
    for _ in range(3):
        trainer.step()
        beta = config.average_beta(trainer.images)
        expected = beta * expected + (1 - beta) * trainer.generator.state_dict()[name]

    assert torch.allclose(trainer.average.state_dict()[name], expected, atol=1e-6)
    assert torch.equal(trainer.average.mapping.w_avg, trainer.generator.mapping.w_avg)


def test_the_mapping_learns_at_its_own_rate(config: TrainingConfig) -> None:
    config = config.model_copy(update={"mapping_boost": 4.0})
    trainer = loop.Trainer(config, Portraits(config.dataset, config.held_out))
    trainer.step()
    rates = [group["lr"] for group in trainer.generator_optimizer.param_groups]
    assert rates == [4 * config.generator_lr, config.generator_lr]


def test_rates_fall_to_a_tenth_at_the_end(config: TrainingConfig) -> None:
    config = config.model_copy(update={"images": 100, "decay_images": 50})
    assert [config.rate(n) for n in (0, 50, 75, 100)] == pytest.approx([1.0, 1.0, 0.5, 0.1])
