import pytest
import torch

from generative.networks import stylegan
from generative.networks.idinvert import Generator, IdInvertConfig
from generative.networks.idinvert_encoder import Encoder, IdInvertEncoderConfig
from generative.spaces import Space
from tests.generative.networks.genforce_vectors import randomised

FIELDS = {"img_resolution": 16, "channels": (12, 8, 6), "z_dim": 10, "w_dim": 9, "mapping_layers": 2}


@pytest.fixture
def generator():
    return randomised(Generator(IdInvertConfig(**FIELDS)))


@pytest.fixture
def encoder():
    return randomised(Encoder(IdInvertEncoderConfig(16, channels=(4, 8, 8), w_dim=9))).double()


@pytest.fixture
def images():
    return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_every_layer_has_a_w_of_its_own_and_there_is_no_w_for_all(generator):
    ws = generator.map(torch.ones(2, 10))

    assert ws.shape == (2, 6, 9)
    assert not torch.equal(ws[:, 0], ws[:, 1])
    assert Space.W not in generator.spaces


def test_pictures_are_those_of_stylegan_through_tanh(generator):
    twin = stylegan.Generator(stylegan.StyleGANConfig(**FIELDS))
    twin.synthesis.load_state_dict(generator.synthesis.state_dict())
    ws = generator.map(torch.ones(2, 10))

    with torch.no_grad():
        torch.testing.assert_close(generator.synthesize(ws), twin.synthesize(ws).tanh())
    assert torch.equal(generator(torch.ones(2, 10)), generator.synthesize(ws))


def test_truncation_pulls_every_layer_to_the_one_mean(generator):
    ws = generator.w_avg.expand(1, 6, -1)

    torch.testing.assert_close(generator(torch.ones(1, 10), psi=0), generator.synthesize(ws))
    with pytest.raises(ValueError, match="psi must be a number"):
        generator(torch.ones(1, 10), psi=torch.ones(1))


def test_codes_do_not_depend_on_company_even_in_training_mode(encoder, images):
    codes = encoder(images)

    assert codes.shape == (3, 6, 9)
    torch.testing.assert_close(encoder(images[1:2]), codes[1:2])
    assert torch.equal(encoder.train()(images), codes)


def test_blocks_halve_the_size_down_to_4_pixels(encoder, images):
    shapes = {}
    encoder(images, hook=lambda name, x: shapes.setdefault(name, tuple(x.shape[1:])) and x)

    assert shapes == {"block0": (4, 16, 16), "block1": (8, 8, 8), "block2": (8, 4, 4), "block3": (54,)}


def test_a_hook_changes_what_the_next_block_sees(encoder, images):
    codes = encoder(images, hook=lambda name, x: 0 * x if name == "block1" else x)

    assert torch.equal(codes[0], codes[1])


def test_pictures_of_another_size_are_refused(encoder):
    with pytest.raises(ValueError, match=r"images must be \(N, 3, 16, 16\)"):
        encoder(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("change", [{"w_dim": 0}, {"channels": (4, 8)}, {"channels": (4, 8, 2**20)}])
def test_sizes_that_no_encoder_has_are_refused(change):
    with pytest.raises(ValueError):
        IdInvertEncoderConfig(**{"img_resolution": 16, "channels": (4, 8, 8)} | change)
