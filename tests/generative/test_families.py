"""What holds for every network that can be served, of whatever family."""

import json
from pathlib import Path

import pytest
import torch

from generative.cards import About
from generative.checkpoints import CheckpointError, import_checkpoint
from generative.checkpoints.configs import understand
from generative.families import GENERATORS, describe, network_name
from generative.generator import Generator, StyleGenerator, sample_z
from generative.spaces import Space, broadcast
from generative.store import load_model, load_statistics, save_model
from jobs.cards import Card
from jobs.catalog import read_folder
from tests.families import TINY, tiny

N = 3
STYLED = [name for name, kind in GENERATORS.items() if issubclass(kind.module, StyleGenerator)]
GROWN = [name for name in GENERATORS if tiny(name).max_lod]


@pytest.fixture(scope="module", params=sorted(GENERATORS))
def network(request: pytest.FixtureRequest) -> Generator:
    return tiny(request.param)


@pytest.fixture(scope="module")
def z(network: Generator) -> torch.Tensor:
    return sample_z(range(N), network)


@pytest.fixture(scope="module")
def c(network: Generator) -> torch.Tensor | None:
    return torch.eye(network.c_dim)[torch.arange(N) % network.c_dim] if network.c_dim else None


def test_every_network_has_a_tiny_twin_here() -> None:
    assert set(TINY) == set(GENERATORS)


def test_it_is_described_by_plain_data_and_built_again_from_it(network: Generator) -> None:
    name = network_name(network)
    described = json.loads(json.dumps(describe(name, network.config)))
    assert understand(described) == (name, network.config)


def test_its_weights_are_all_floating_point(network: Generator) -> None:
    assert all(value.dtype == torch.float32 for value in network.state_dict().values())


def test_a_picture_does_not_depend_on_its_company(
    network: Generator, z: torch.Tensor, c: torch.Tensor | None
) -> None:
    together = network(z, c)
    assert together.shape == (N, network.img_channels, network.img_resolution, network.img_resolution)
    assert together.std(dim=0).max() > 1e-3, "all pictures are the same"
    for i in range(N):
        alone = network(z[i : i + 1], None if c is None else c[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-5 * float(together.abs().max()))


def test_it_computes_in_double_precision(network: Generator, z: torch.Tensor, c: torch.Tensor | None) -> None:
    single = network(z, c)
    try:
        double = network.double()(z.double(), None if c is None else c.double())
    finally:
        network.float()
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-4 * float(double.abs().max()))


def test_truncation_acts_where_the_family_has_it(
    network: Generator, z: torch.Tensor, c: torch.Tensor | None
) -> None:
    full, half = network(z, c), None
    if network.psi_acts_on == "none":
        with pytest.raises(ValueError, match="psi"):
            network(z, c, 0.5)
        return
    half = network(z, c, 0.5)
    assert not torch.allclose(full, half)
    if network.psi_acts_on == "w":  # everything becomes the mean, if the noise is the same
        mean = network(z, c, 0.0)
        torch.testing.assert_close(mean[0], mean[1])


@pytest.mark.parametrize("network", GROWN, indirect=True)
def test_levels_of_detail_are_left_out_where_the_family_has_them(
    network: Generator, z: torch.Tensor, c: torch.Tensor | None
) -> None:
    coarse, between = network(z, c, lod=1.0), network(z, c, lod=0.5)
    blocks = coarse.unfold(2, 2, 2).unfold(3, 2, 2)
    torch.testing.assert_close(blocks.amax(dim=(-1, -2)), blocks.amin(dim=(-1, -2)))  # doubled pixels
    assert not torch.allclose(between, coarse)


def test_a_space_is_there_or_is_not(network: Generator, z: torch.Tensor, c: torch.Tensor | None) -> None:
    assert Space.Z in network.spaces
    if not isinstance(network, StyleGenerator):
        assert network.spaces == (Space.Z,)
        return
    assert {Space.W_PLUS, Space.S} <= set(network.spaces)
    ws = broadcast(network.map(z, c), network.num_ws)
    assert ws.shape == (N, network.num_ws, network.w_dim)
    assert set(network.ws_index.values()) <= set(range(network.num_ws))
    styles = network.styles(ws)
    assert tuple(styles) == network.layers
    assert {name: s.shape[1] for name, s in styles.items()} == network.style_widths()
    torch.testing.assert_close(network.synthesize(ws), network(z, c))
    torch.testing.assert_close(network.synthesize_styles(styles), network(z, c))


@pytest.mark.parametrize("network", STYLED, indirect=True)
def test_each_style_follows_from_its_w_alone(network: Generator) -> None:
    assert isinstance(network, StyleGenerator)
    ws = torch.randn(1, network.num_ws, network.w_dim, generator=torch.Generator().manual_seed(5))
    before = network.styles(ws)
    for i in range(network.num_ws):
        moved = ws.clone()
        moved[:, i] += 1
        changed = {name for name, s in network.styles(moved).items() if not torch.equal(s, before[name])}
        assert changed == {name for name, index in network.ws_index.items() if index == i}


@pytest.mark.parametrize("network", STYLED, indirect=True)
def test_noise_is_what_its_sizes_say(network: Generator) -> None:
    assert isinstance(network, StyleGenerator)
    ws = torch.zeros(1, network.num_ws, network.w_dim)
    noises = {name: torch.randn(1, 1, side, side) for name, side in network.noise_sizes.items()}
    given = network.synthesize(ws, "none", noises)
    assert torch.equal(given, network.synthesize(ws, "const", noises))
    if noises:
        assert not torch.equal(given, network.synthesize(ws, "none"))


def test_gradients_reach_the_latent(network: Generator, z: torch.Tensor, c: torch.Tensor | None) -> None:
    z = z.clone().requires_grad_()
    [gradient] = torch.autograd.grad(network(z, c).square().sum(), z)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0


def test_a_model_folder_gives_back_the_same_network(
    network: Generator, z: torch.Tensor, c: torch.Tensor | None, tmp_path: Path
) -> None:
    written = save_model(tmp_path, network, About(name="tiny"))
    loaded, card = load_model(tmp_path)
    assert card == written
    assert torch.equal(loaded(z, c), network(z, c))
    assert (load_statistics(tmp_path) is None) == (not isinstance(network, StyleGenerator))
    assert import_checkpoint(tmp_path / "weights.safetensors").generator.config == network.config


def test_the_gateway_understands_its_card(network: Generator, tmp_path: Path) -> None:
    save_model(tmp_path, network, About(name="tiny"))
    card = Card.model_validate(read_folder(tmp_path))
    assert card.family == network.family
    assert (card.classes, card.truncation, card.max_lod) == (
        network.c_dim,
        network.psi_acts_on,
        network.max_lod,
    )
    assert (card.num_ws > 0) == ("w+" in card.spaces)
    if isinstance(network, StyleGenerator):
        assert card.style_size == sum(network.style_widths().values())


@pytest.mark.parametrize("name", ["nothing", 5, None, ["stylegan2"]])
def test_an_unknown_network_is_refused(name: object) -> None:
    with pytest.raises(CheckpointError) as error:
        understand({"network": name})
    assert error.value.code == "unsupported_format"
