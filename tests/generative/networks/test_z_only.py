"""What holds of every family that has z alone: the perceptron, DCGAN, the zoo's progressive GAN, EigenGAN."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from generative.generator import sample_z
from generative.networks import dcgan, eigengan, gan, gan_zoo_pgan

CONFIGS = {
    "gan": gan.GANConfig(z_dim=5, widths=(7, 9), norms=(False, True, False), img_resolution=8),
    "gan, colours": gan.GANConfig(4, (6,), (True, True), 9, 3, slope=0.0, output="sigmoid"),
    "dcgan": dcgan.DCGANConfig(z_dim=5, channels=(6, 4), img_channels=3),
    "dcgan, cropped": dcgan.DCGANConfig(5, (6, 4, 3), 1, last_kernel=1, crop=2, tanh=False),
    "pgan": gan_zoo_pgan.ZooPGANConfig(z_dim=5, channels=(6, 4, 3), alpha=0.3),
    "pgan, one scale": gan_zoo_pgan.ZooPGANConfig(5, (6,), 1, slope=0.1, tanh=True),
    "eigengan": eigengan.EigenGANConfig(noise_dim=5, n_basis=(2, 3), channels=(6, 4, 3)),
    "eigengan, tensorflow": eigengan.EigenGANConfig(5, (2, 3), (6, 4, 3), 1, tensorflow_padding=True),
}
MODULES = {
    gan.GANConfig: gan,
    dcgan.DCGANConfig: dcgan,
    gan_zoo_pgan.ZooPGANConfig: gan_zoo_pgan,
    eigengan.EigenGANConfig: eigengan,
}


def random_network(config):
    """Every parameter and statistic is a number of its own, so that one that is left out shows."""
    torch.manual_seed(1)
    network = MODULES[type(config)].Generator(config)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            value.uniform_(0.5, 1.5) if name.endswith("running_var") else value.normal_(0, 0.3)
    return network.eval().requires_grad_(False)


@pytest.fixture(params=CONFIGS, ids=str)
def network(request):
    return random_network(CONFIGS[request.param])


@pytest.fixture
def z(network):
    return sample_z([3, 4, 5], network)


def test_pictures_have_the_promised_shape_and_depend_on_every_number_of_z(network, z):
    images = network(z)
    assert images.shape == (3, network.img_channels, network.img_resolution, network.img_resolution)
    assert images.isfinite().all()
    for i in range(network.z_dim):
        changed = z.clone()
        changed[:, i] += 1
        assert not torch.allclose(network(changed), images)


def test_a_picture_does_not_depend_on_its_company(network, z):
    together = network(z)
    for i in range(len(z)):
        torch.testing.assert_close(network(z[i : i + 1])[0], together[i], rtol=1e-4, atol=1e-5)


def test_float64_says_the_same_with_more_digits(network, z):
    single = network(z)
    torch.testing.assert_close(network.double()(z.double()).float(), single, rtol=1e-4, atol=1e-5)


def test_training_mode_changes_nothing(network, z):
    expected = network(z)
    assert torch.equal(network.train()(z), expected)


def test_every_weight_counts_and_all_are_floats(network, z):
    images, unused = network(z), []
    for name, value in network.state_dict().items():
        assert value.dtype == torch.float32
        before = value.clone()
        value += 0.1
        if torch.allclose(network(z), images):
            unused.append(name)
        value.copy_(before)
    outgrown = ["toRGBLayers.0.module.weight", "toRGBLayers.0.module.bias"]  # painted a scale long ago
    assert unused == (outgrown if network.config == CONFIGS["pgan"] else [])


def test_a_hook_decides_what_the_next_layer_sees(network, z):
    seen = {}

    def spy(name, value):
        seen[name] = value
        return value * 0 if name == first else value

    first = None
    expected = network(z, hook=spy)
    assert all(value.ndim == 4 and len(value) == len(z) for value in seen.values())
    assert torch.equal(expected, network(z))
    names = set(seen)
    first = next(iter(seen))
    changed = network(z, hook=spy)
    assert set(seen) == names
    assert not torch.allclose(changed, expected)
    assert set(network.features(z, names)) == names
    with pytest.raises(ValueError, match="no such layers: nonsense"):
        network.features(z, ["nonsense"])


def test_the_configuration_survives_json(network):
    text = json.dumps(dataclasses.asdict(network.config))
    assert TypeAdapter(type(network.config)).validate_python(json.loads(text)) == network.config


def test_arguments_that_the_family_does_not_have_are_refused(network, z):
    with pytest.raises(ValueError, match="z must be"):
        network(z[:, 1:])
    with pytest.raises(ValueError, match="z must be"):
        network(z[:, :, None])
    with pytest.raises(ValueError, match="no classes"):
        network(z, torch.ones(3, 1))
    for lod in (-0.1, network.max_lod + 0.1, float("nan")):
        with pytest.raises(ValueError, match="lod"):
            network(z, lod=lod)
    if network.psi_acts_on == "none":
        assert torch.equal(network(z, psi=torch.ones(3)), network(z))
        for psi in (0.5, torch.tensor([1, 1, 0.5])):
            with pytest.raises(ValueError, match="psi"):
                network(z, psi=psi)


def test_z_of_a_seed_is_numpys(network):
    z = sample_z([7], network)
    expected = np.random.RandomState(7).randn(network.z_dim).astype(np.float32)
    assert np.array_equal(z[0].numpy(), expected)


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        ("gan", {"z_dim": 0}),
        ("gan", {"widths": (10**9, 9)}),
        ("gan", {"widths": ()}),
        ("gan", {"img_resolution": 4096}),
        ("gan", {"img_resolution": 0}),
        ("gan", {"norms": (True,)}),
        ("gan", {"slope": -1.0}),
        ("gan", {"norm_eps": float("nan")}),
        ("dcgan", {"channels": ()}),
        ("dcgan", {"channels": (4,) * 12}),
        ("dcgan", {"channels": (4,) * 60}),
        ("dcgan", {"img_channels": 10**6}),
        ("dcgan", {"crop": 2}),
        ("dcgan", {"crop": 1, "last_kernel": 1}),
        ("pgan", {"channels": (4,) * 12}),
        ("pgan", {"channels": (0, 4)}),
        ("pgan", {"alpha": 1.5}),
        ("pgan", {"alpha": float("nan")}),
        ("pgan, one scale", {"alpha": 0.5}),
        ("eigengan", {"n_basis": (2,) * 11, "channels": (4,) * 12}),
        ("eigengan", {"n_basis": (), "channels": (4,)}),
        ("eigengan", {"n_basis": (0, 3)}),
        ("eigengan", {"channels": (6, 4)}),
        ("eigengan", {"noise_dim": 10**8}),
    ],
)
def test_impossible_sizes_are_refused(config, changes):
    with pytest.raises(ValueError):
        dataclasses.replace(CONFIGS[config], **changes)


# --- each family by what must be true of it -----------------------------------------------------------------


def test_the_perceptron_is_a_chain_of_matrix_products():
    network = random_network(CONFIGS["gan"]).double()
    z = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    W = {name: value.numpy() for name, value in network.state_dict().items()}
    x = z.numpy()
    for i in range(3):
        x = x @ W[f"layers.{i}.weight"].T + W[f"layers.{i}.bias"]
        if i == 1:
            mean, variance = W["norms.1.running_mean"], W["norms.1.running_var"]
            x = (x - mean) / np.sqrt(variance + 1e-5) * W["norms.1.weight"] + W["norms.1.bias"]
        x = np.tanh(x) if i == 2 else np.where(x > 0, x, 0.2 * x)
    np.testing.assert_allclose(network(z).numpy(), x.reshape(2, 1, 8, 8), rtol=1e-10)


def test_a_sigmoid_picture_is_moved_to_the_range_of_all_pictures():
    config = CONFIGS["gan, colours"]
    z = torch.randn(2, 4)
    sigmoid, tanh = (random_network(dataclasses.replace(config, output=o)) for o in ("sigmoid", "tanh"))
    torch.testing.assert_close(sigmoid(z).atanh() * 2, tanh(z).atanh(), rtol=1e-4, atol=1e-4)


def test_a_cropped_picture_is_the_middle_of_the_whole():
    config = CONFIGS["dcgan, cropped"]
    z = torch.randn(2, 5)
    whole = random_network(dataclasses.replace(config, crop=0))(z)
    assert torch.equal(random_network(config)(z), whole[:, :, 2:-2, 2:-2])


def test_lod_blends_the_last_two_scales_evenly():
    network, z = random_network(CONFIGS["pgan"]), torch.randn(2, 5)
    fine, coarse = network(z, lod=0), network(z, lod=1)
    torch.testing.assert_close(network(z, lod=0.25), 0.75 * fine + 0.25 * coarse)
    torch.testing.assert_close(network(z), 0.7 * fine + 0.3 * coarse)  # as its configuration says
    assert torch.equal(coarse[:, :, ::2, ::2], coarse[:, :, 1::2, 1::2])
    assert not torch.equal(fine[:, :, ::2, ::2], fine[:, :, 1::2, 1::2])


def test_the_length_of_z_means_nothing_to_the_progressive_gan():
    network, z = random_network(CONFIGS["pgan"]).double(), torch.randn(2, 5, dtype=torch.float64)
    torch.testing.assert_close(network(3 * z), network(z), rtol=1e-6, atol=1e-6)


def test_the_constant_of_the_equalised_rate_multiplies_the_bias_too():
    layer = gan_zoo_pgan.Equalised(torch.nn.Conv2d(2, 3, 3, padding=1)).requires_grad_(False)
    layer.module.bias += 5
    pixel = layer(torch.zeros(1, 2, 4, 4))[0, :, 2, 2]
    torch.testing.assert_close(pixel, layer.module.bias * (2 / 18) ** 0.5)


@pytest.mark.parametrize("tensorflow", [False, True])
def test_parts_of_z_are_named_and_move_their_level_only(tensorflow):
    config = dataclasses.replace(CONFIGS["eigengan"], tensorflow_padding=tensorflow)
    network, z = random_network(config), torch.randn(1, 10)
    assert network.z_slices == {"noise": slice(0, 5), "level1": slice(5, 7), "level2": slice(7, 10)}
    layers = {"noise": "fc", "level1": "blocks.0.projection", "level2": "blocks.1.projection"}
    before = network.features(z, layers.values())
    for part, where in network.z_slices.items():
        changed = z.clone()
        changed[:, where] += 1
        after = network.features(changed, layers.values())
        for other, layer in layers.items():
            assert torch.equal(before[layer], after[layer]) == (other != part)


def test_eigengan_points_move_along_the_rows_of_u():
    subspace = eigengan.Subspace(3, 20).requires_grad_(False)
    subspace.L[:] = torch.tensor([3.0, 2.0, 1.0])
    steps = subspace(torch.eye(3)) - subspace(torch.zeros(1, 3))
    torch.testing.assert_close(steps, torch.tensor([[3.0], [2.0], [1.0]]) * subspace.U)


def test_truncation_of_eigengan_scales_all_of_z_and_never_exaggerates():
    network, z = random_network(CONFIGS["eigengan"]), torch.randn(3, 10)
    assert torch.equal(network(z, psi=0.5), network(z * 0.5))
    assert torch.equal(network(z, psi=0), network(z * 0))
    assert torch.equal(network(z, psi=1.5), network(z))
    psi = torch.tensor([0.2, 0.5, 2.0])
    assert torch.equal(network(z, psi=psi), network(z * torch.tensor([[0.2], [0.5], [1.0]])))


@pytest.mark.parametrize("first", [0, 1])
def test_a_doubling_convolution_keeps_one_end_of_the_full_output(first):
    """By the definition: every pixel adds its 3x3 patch at twice its place."""
    conv = eigengan.DoublingConv(2, 3, first).requires_grad_(False).double()
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64)
    full = conv.bias[:, None, None].expand(3, 9, 9).clone()
    for h in range(4):
        for w in range(4):
            full[:, 2 * h : 2 * h + 3, 2 * w : 2 * w + 3] += torch.einsum(
                "i,iokl->okl", x[0, :, h, w], conv.weight
            )
    torch.testing.assert_close(conv(x)[0], full[:, first : first + 8, first : first + 8])
