from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from generative.generator import sample_z
from generative.networks import dcgan
from generative.networks.eigengan import Subspace
from generative.networks.feature_network import FeatureNetwork
from generative.networks.frozen_batch_norm import FrozenBatchNorm
from generative.pixels import to_uint8
from generative.store import load_encoder, load_model
from generative.training import alae, bases, families, recipes, running, standing
from generative.training.__main__ import app
from generative.training.average import follow
from generative.training.dataset import Portraits
from generative.training.posterior import divergence, draw
from generative.training.ship_family import ship_family
from tests import elsewhere

ROOT = Path(__file__).parents[3]
SHIPPED = sorted(path.parent for path in (ROOT / "model_repo").glob("portraits-*/samples.png"))

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "dcgan": {"network": "dcgan", "architecture": {"z_dim": 32, "channels": (8, 8)}},
    "eigengan": {
        "network": "eigengan",
        "architecture": {"noise_dim": 4, "n_basis": (3, 2), "channels": (8, 8, 8)},
        "orthogonality": 1.0,
        "basis_rate": 0.1,
    },
    "alae": {
        "network": "alae",
        "architecture": {
            "img_resolution": 8,
            "channels": (8, 8),
            "latent_dim": 32,
            "mapping_layers": 2,
        },
        "encoder": {"img_resolution": 8, "channels": (8, 8, 8), "w_dim": 32},
        "r1_every": 2,
    },
}


@pytest.fixture
def base(dataset: Path, features: FeatureNetwork, tmp_path: Path) -> dict[str, Any]:
    """Four steps: two of the warm start, then the adversary."""
    features.save(tmp_path / "features")
    return {
        "dataset": dataset,
        "features": tmp_path / "features",
        "images": 16,
        "batch": 4,
        "warm_images": 8,
        "held_out": 16,
        "bfloat16": False,
        "log_every": 1,
    }


@pytest.fixture(params=list(ARCHITECTURES))
def config(request: pytest.FixtureRequest, base: dict[str, Any]) -> recipes.Config:
    return recipes.configure(base | ARCHITECTURES[request.param])


def stop_after(images: int) -> running.Callback:
    def callback(progress: running.Progress) -> None:
        if progress.images >= images:
            raise running.StopTraining

    return callback


def run(config: recipes.Config, folder: Path, callback: running.Callback | None = None) -> dict[str, Any]:
    """The checkpoint, without the clock."""
    running.train(recipes.trainer(config), folder, callback)
    state: dict[str, Any] = torch.load(folder / running.CHECKPOINT, weights_only=True)
    del state["processor_s"]
    return state


def flat(state: Any) -> list[Any]:
    if isinstance(state, dict):
        return [leaf for key in state for leaf in [key, *flat(state[key])]]
    return [leaf for item in state for leaf in flat(item)] if isinstance(state, list) else [state]


def same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else bool(a == b)


@pytest.mark.parametrize("stop", [4, 12])
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(
    config: recipes.Config, tmp_path: Path, stop: int
) -> None:
    whole = run(config, tmp_path / "whole")
    run(config, tmp_path / "parts", stop_after(stop))
    resumed = run(config, tmp_path / "parts")

    assert whole["images"] == resumed["images"] == 16
    assert all(same(a, b) for a, b in zip(flat(whole), flat(resumed), strict=True))


def test_a_run_can_be_on_another_device(config: recipes.Config) -> None:
    found = []
    for device in ("cpu", elsewhere.NAME):
        trainer = recipes.trainer(config.model_copy(update={"device": device}))
        found.append([[loss.cpu() for loss in trainer.step()] for _ in range(4)])
    torch.testing.assert_close(found[0], found[1])


def test_every_network_moves_once_the_adversary_has_come(config: recipes.Config, tmp_path: Path) -> None:
    config = config.model_copy(update={"head_start": 0} if config.network != "alae" else {})
    before = recipes.trainer(config).state()
    after = run(config, tmp_path / "run")

    networks = {"generator", "average", "discriminator", "posterior", "encoder", "average_encoder"}
    for name in networks & set(before):
        weights = zip(flat(before[name]), flat(after[name]), strict=True)
        assert any(not same(a, b) for a, b in weights if isinstance(a, torch.Tensor) and a.ndim > 1), name


def one_picture(dataset: Path) -> torch.Tensor:
    """Let all pictures of the data set be the same one, of a single colour; returns it."""
    images = np.broadcast_to(np.array([190, 90, 128], np.uint8), (64, 16, 16, 3))
    np.save(dataset / "images.npy", images)
    return Portraits(dataset).rows(torch.tensor([0]))[0]


@pytest.mark.parametrize("network", ["dcgan", "eigengan"])
def test_where_all_pictures_are_one_every_z_comes_to_paint_it(
    network: str, base: dict[str, Any], dataset: Path
) -> None:
    wanted = one_picture(dataset)
    changes = {"images": 1600, "batch": 8, "warm_images": 1600, "generator_lr": 5e-3, "log_every": 100}
    trainer = recipes.trainer(recipes.configure(base | ARCHITECTURES[network] | changes))
    assert isinstance(trainer, families.Trainer)

    first = trainer.step()[0]
    for _ in range(150):
        last = trainer.step()[0]

    standing.gather(trainer.average, 64)
    z = torch.randn(16, trainer.average.z_dim, generator=torch.Generator().manual_seed(0))
    assert last < 0.3 * first
    assert (trainer.average(z) - wanted).abs().mean() < 0.15


def test_a_critic_that_trains_alone_learns_to_tell_real_pictures(base: dict[str, Any], dataset: Path) -> None:
    one_picture(dataset)
    changes = {"warm_images": 0, "discriminator_lr": 2e-3, "batch": 8}
    trainer = recipes.trainer(recipes.configure(base | ARCHITECTURES["alae"] | changes))
    assert isinstance(trainer, alae.Trainer)
    trainer._set_rates()

    losses = []
    for _ in range(60):
        real = alae.shrink(trainer.portraits.batch(8, trainer.rng)[0], trainer.generator)
        losses.append(trainer._judge(real, torch.randn(8, 32, generator=trainer.rng)))
        trainer.steps += 1
    assert losses[-1] < 0.5 * losses[0]


def test_the_orthogonality_is_zero_for_orthonormal_bases_and_grows_with_their_scale() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.ModuleList([Subspace(3, 20), Subspace(2, 40)])
        bases.begin(module)
    assert bases.orthogonality(module) < 1e-10

    for subspace in bases.subspaces(module):
        subspace.U.data *= 2  # the Gram matrices are 4 I: (4 - 1)² for each of 3 + 2 vectors
    assert bases.orthogonality(module).item() == pytest.approx(9 * 5, rel=1e-5)


def test_importances_begin_as_in_the_official_code() -> None:
    module = Subspace(6, 20)
    bases.begin(module)
    assert module.L.tolist() == [18, 15, 12, 9, 6, 3]


def small_dcgan() -> dcgan.Generator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return dcgan.Generator(dcgan.DCGANConfig(z_dim=8, channels=(8, 8)))


def test_standing_statistics_are_those_of_the_samples() -> None:
    generator = small_dcgan()
    standing.gather(generator, 100, seed=3, batch=32)

    z = torch.randn(100, 8, generator=torch.Generator().manual_seed(3))
    seen: list[torch.Tensor] = []

    def keep(name: str, x: torch.Tensor) -> torch.Tensor:
        if isinstance(generator.main[int(name.removeprefix("main."))], FrozenBatchNorm):
            seen.append(x)
        return x

    with torch.no_grad():
        generator(z, hook=keep)
    assert len(seen) == 2
    for x in seen:  # weights are 1 and biases 0 in a new network, so what is normalised is standard
        assert x.mean(dim=(0, 2, 3)).abs().max() < 1e-5
        assert (x.var(dim=(0, 2, 3), correction=0) - 1).abs().max() < 1e-2  # the eps of the normalisation


def test_a_generator_in_training_normalises_by_its_batch_under_the_same_names() -> None:
    served, training = small_dcgan(), small_dcgan()
    standing.unfreeze(training)
    z = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))

    assert list(served.state_dict()) == list(training.state_dict())
    assert not torch.equal(training(z[:32]), training(z)[:32])
    standing.gather(served, 64)  # of the same z
    with torch.no_grad():
        assert torch.allclose(served(z), training(z), atol=1e-4)


def test_the_average_follows_and_keeps_its_share() -> None:
    average, module = nn.Linear(2, 2), nn.Linear(2, 2)
    wanted = 0.75 * average.weight.detach() + 0.25 * module.weight.detach()
    follow(average, module, 0.75)
    assert torch.allclose(average.weight, wanted)


def test_the_divergence_is_that_of_torch_and_zero_for_the_prior() -> None:
    rng = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(5, 3, generator=rng), torch.randn(5, 3, generator=rng)
    told = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    wanted = torch.distributions.kl_divergence(told, prior).sum(dim=1)
    assert torch.allclose(divergence(mean, log_variance), wanted, atol=1e-5)
    assert divergence(torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0, 0]


def test_what_is_drawn_has_the_mean_and_variance_that_were_told() -> None:
    mean, log_variance = torch.full((20_000, 1), 2.0), torch.full((20_000, 1), -1.0)
    z = draw(mean, log_variance, torch.Generator().manual_seed(0))
    assert z.mean().item() == pytest.approx(2, abs=0.02)
    assert z.var().log().item() == pytest.approx(-1, abs=0.05)


def test_the_mean_of_w_is_that_of_the_mapping() -> None:
    config = alae.ALAEConfig.model_validate(ARCHITECTURES["alae"] | {"dataset": ".", "features": "."})
    generator = alae.networks(config)[0]
    alae.center(generator)
    z = torch.randn(20_000, 32, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(generator.w_avg, generator.map(z).mean(dim=0).expand(4, -1), atol=0.05)


@pytest.mark.parametrize("network", ["dcgan", "eigengan", "alae"])
def test_a_trained_family_becomes_a_model_folder(network: str, base: dict[str, Any], tmp_path: Path) -> None:
    config = recipes.configure(base | ARCHITECTURES[network])
    run(config, tmp_path / "run")

    card = ship_family(tmp_path / "run", tmp_path / "tiny", count=16)

    generator, read = load_model(tmp_path / "tiny")
    assert read == card and card.network == network and card.images_seen == 16
    assert set(card.metrics) >= {"frechet", "frechet_of_renders", "frechet_of_renders_with_noise"}
    side = generator.img_resolution
    sizes = {"samples.png": (8 * side, 4 * side)}
    if network == "eigengan":
        sizes["traversal.png"] = (5 * side, 5 * side)
    if network == "alae":
        sizes["reconstruction.png"] = (2 * 8 * side, 2 * 2 * side)
        assert load_encoder(tmp_path / "tiny")(torch.zeros(1, 3, side, side)).shape == (1, 32)
    for name, size in sizes.items():
        with Image.open(tmp_path / "tiny" / name) as picture:
            assert picture.size == size


def test_the_commands_train_resume_and_ship(
    base: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(recipes.RECIPES, "dcgan", ARCHITECTURES["dcgan"])
    small = ("images=8", "batch=4", "warm_images=4", "held_out=16", "bfloat16=false")
    where = ("--name", "dcgan", "--run", str(tmp_path))
    settings = [word for setting in small for word in ("--set", setting)]
    for command in (["family", *where, *settings], ["family", *where, "--set", "images=12"]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    out = tmp_path / "tiny"
    assert CliRunner().invoke(app, ["ship-family", *where, "--out", str(out), "--count", "16"]).exit_code == 0

    card = load_model(out)[1]
    assert card.images_seen == 12 and card.training["batch"] == 4


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_model_paints_the_pictures_of_its_folder_and_agrees_with_its_card(folder: Path) -> None:
    generator, card = load_model(folder)

    assert card.name == folder.name and card.licence == "Apache-2.0" and card.training["world"] == "portraits"
    assert card.resolution == generator.img_resolution and card.size_bytes < 4e6
    assert card.metrics["frechet"] < card.metrics["frechet_of_renders_with_noise"]
    with torch.no_grad():
        images = generator(sample_z(range(8), generator))
        again = generator(sample_z(range(8), generator))
        alone = generator(sample_z([3], generator))
    assert torch.equal(images, again)
    assert torch.allclose(images[3:4], alone, atol=1e-4)
    with Image.open(folder / "samples.png") as picture:
        drawn = np.asarray(picture)[: card.resolution]
    row = torch.cat(list(to_uint8(images)), dim=1).numpy()  # (H, 8 W, 3)
    assert np.abs(drawn.astype(int) - row.astype(int)).max() <= 1


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: path.name)
def test_the_page_says_of_a_shipped_model_what_its_card_says(folder: Path) -> None:
    generator, card = load_model(folder)
    page = (ROOT / "docs" / "families.md").read_text()
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{card.name}`")]

    parameters = sum(p.numel() for p in generator.parameters()) / 1e6
    facts = (f"{parameters:.2f} M", f"{card.images_seen:,}", f"{card.metrics['frechet']:.3f}")
    assert all(f"| {fact} " in row for fact in facts)
