"""Readers of the perceptron, DCGAN, the GAN zoo and EigenGAN's port: what they infer, what they refuse."""

import argparse
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from generative.checkpoints import dcgan, eigengan, eigengan_tf, gan, gan_zoo, rosinality
from generative.checkpoints.contents import Folder
from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.pickles import Inert
from generative.networks.dcgan import DCGANConfig
from generative.networks.dcgan import Generator as DCGANGenerator
from generative.networks.eigengan import EigenGANConfig
from generative.networks.eigengan import Generator as EigenGANGenerator
from generative.networks.gan import GANConfig
from generative.networks.gan_zoo_pgan import Generator as ZooPGANGenerator
from generative.networks.gan_zoo_pgan import ZooPGANConfig

from ..networks.small_gans import BUDGET, built, saved

FORMATS = (dcgan.FORMAT, eigengan.FORMAT, eigengan_tf.FORMAT, gan.FORMAT, gan_zoo.DCGAN, gan_zoo.PGAN)
PGAN_CONFIG = {
    "latentVectorDim": 5,
    "categoryVectorDim": 0,
    "depthScale0": 6,
    "depthOtherScales": [4, 3],
    "dimOutput": 3,
    "alpha": 0.25,
    "leakyReluLeak": 0.1,
    "perChannelNormalization": True,
    "equalizedlR": True,
    "lossCriterion": "WGANGP",
}


def perceptron(out=64, norm=True):
    """As tutorials write it."""
    torch.manual_seed(0)
    hidden = [nn.Linear(7, 9), *([nn.BatchNorm1d(9)] if norm else []), nn.LeakyReLU(0.2)]
    net = nn.Sequential(nn.Linear(5, 7), nn.LeakyReLU(0.2), *hidden, nn.Linear(9, out), nn.Tanh())
    return with_statistics(net)


def with_statistics(net):
    """As after training: every statistic is a number of its own."""
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if "running" in name:
                value.uniform_(0.5, 2)
    return net.eval()


def csinva(nc=3, last=4, crop=0):
    """As the example of PyTorch writes it, for small pictures."""
    torch.manual_seed(0)
    end = {"kernel_size": 4, "stride": 2, "padding": 1} if last == 4 else {"kernel_size": 1, "padding": crop}
    return with_statistics(
        nn.Sequential(
            *(nn.ConvTranspose2d(5, 6, 4, 1, 0, bias=False), nn.BatchNorm2d(6), nn.ReLU()),
            *(nn.ConvTranspose2d(6, 4, 4, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
            *(nn.ConvTranspose2d(4, nc, bias=False, **end), nn.Tanh()),
        )
    )


def main(net):
    return {f"main.{name}": value for name, value in net.state_dict().items()}


def zoo_names(net):
    """The names that the zoo gives to the same layers."""
    ours = {"0": "formatLayer", "1": "main.batchNorm0", "3": "main.convTranspose1", "4": "main.batchNorm1"}
    ours["6"] = "main.outlayer"
    parts = (name.split(".") for name in net.state_dict())
    return {f"{ours[index]}.{part}": net.state_dict()[f"{index}.{part}"] for index, part in parts}


def zoo_dcgan(net=None, **config):
    state = zoo_names(net or csinva())
    settings = {"latentVectorDim": 5, "dimG": 4, "depth": 1, "dimOutput": 3, "lossCriterion": "DCGAN"}
    return {"config": settings | config, "netG": state, "netD": {}}


def zoo_pgan(**config):
    torch.manual_seed(0)
    state = ZooPGANGenerator(ZooPGANConfig(5, (6, 4, 3))).state_dict()
    return {"config": PGAN_CONFIG | config, "netG": state, "netD": {}, "avgG": state}


def port(**args):
    torch.manual_seed(0)
    state = EigenGANGenerator(EigenGANConfig(5, (2, 2), (6, 4, 3))).state_dict()
    options = {"size": 16, "n_basis": 2, "noise_dim": 5, "base_channels": 3, "lr": 1e-4} | args
    return {"step": 1, "args": argparse.Namespace(**options), "g": state, "d": {}, "g_ema": state}


FILES = {
    gan.FORMAT: lambda: perceptron().state_dict(),
    dcgan.FORMAT: lambda: main(csinva()),
    gan_zoo.DCGAN: zoo_dcgan,
    gan_zoo.PGAN: zoo_pgan,
    eigengan.FORMAT: port,
}


def refusal(known, root):
    with pytest.raises(CheckpointError) as error:
        known.read(saved(root), BUDGET)
    assert len(str(error.value)) < 1000
    return error.value.code


# --- recognising --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", FILES, ids=lambda f: f.name)
@pytest.mark.parametrize("old", [False, True], ids=["zip", "stream"])
def test_a_file_is_recognised_by_one_format(known, old):
    root = saved(FILES[known](), old)
    assert [f.name for f in (*FORMATS, rosinality.FORMAT) if f.recognises(root)] == [known.name]
    built(known.read(root, BUDGET))


@pytest.mark.parametrize("known", FILES, ids=lambda f: f.name)
def test_every_file_without_one_of_its_names_is_read_or_refused(known):
    """Never another error, whichever tensor is missing, of another shape, or no tensor."""
    whole = FILES[known]()
    inside = next((name for name in ("avgG", "netG", "g_ema") if name in whole), None)
    names = list(whole[inside] if inside else whole)
    for name in names:
        for change in (None, torch.zeros(()), torch.zeros(3), torch.zeros(2, 1, 4, 4), "text"):
            root = FILES[known]()
            part = dict(root[inside] if inside else root)
            part.pop(name) if change is None else part.update({name: change})
            root = saved(root | {inside: part} if inside else part)
            if known.recognises(root):
                try:
                    known.read(root, BUDGET)
                except CheckpointError:
                    pass


@pytest.mark.parametrize(
    "root",
    [
        *(None, 3, "text", [], {}, Folder(), Folder({"a": b"bytes"}), Inert("argparse.Namespace"), {1: 2}),
        *(
            {"config": {}},
            {"config": {}, "netG": 3},
            {"config": 3, "avgG": {}},
            {"g_ema": None},
            {"g_ema": {}},
        ),
        *({b"main.0.weight": 1}, {"main.0.weight": "text"}, {"model.0.weight": None}),
    ],
    ids=lambda root: type(root).__name__ if isinstance(root, Inert) else repr(root),
)
def test_other_things_are_not_recognised(root):
    assert not any(known.recognises(root) for known in FORMATS)


def test_discriminators_are_not_generators():
    conv = nn.Sequential(
        *(nn.Conv2d(3, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(8, 4, 4, 2, 1), nn.BatchNorm2d(4))
    )
    linear = nn.Sequential(nn.Linear(64, 9), nn.LeakyReLU(0.2), nn.Linear(9, 1), nn.Sigmoid())
    for state in (main(conv), linear.state_dict()):
        assert not any(known.recognises(saved(state)) for known in FORMATS)


# --- the perceptron -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "model.", "module.net."])
@pytest.mark.parametrize("norm", [False, True])
def test_a_perceptron_paints_what_its_tutorial_paints(prefix, norm):
    net = perceptron(norm=norm)
    contents = gan.FORMAT.read(saved({prefix + k: v for k, v in net.state_dict().items()}), BUDGET)
    z = torch.randn(3, 5)
    torch.testing.assert_close(built(contents)(z), net(z).detach().reshape(3, 1, 8, 8))
    assert contents.generator.config == GANConfig(5, (7, 9), (False, norm, False), 8)
    assert contents.notes == ((*gan.NOTES, gan.NORM_NOTE) if norm else gan.NOTES)


@pytest.mark.parametrize(
    ("numbers", "picture"), [(784, (1, 28)), (64 * 64, (1, 64)), (3 * 32 * 32, (3, 32)), (3 * 64, (3, 8))]
)
def test_the_picture_is_grey_if_its_numbers_make_a_square(numbers, picture):
    config = gan.FORMAT.read(saved(perceptron(numbers).state_dict()), BUDGET).generator.config
    assert (config.img_channels, config.img_resolution) == picture


@pytest.mark.parametrize("numbers", [1, 2, 10, 49, 50, 512, 1000])
def test_numbers_that_make_no_picture_are_no_perceptron(numbers):
    assert not gan.FORMAT.recognises(saved(perceptron(numbers).state_dict()))


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Linear(5, 7), nn.Linear(8, 64)),
        nn.Sequential(nn.Linear(5, 64)),
        nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)),
        nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 64)),
        nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.BatchNorm1d(7), nn.Linear(7, 64)),
        nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 7), nn.Linear(7, 64)),
        nn.Sequential(nn.Linear(5, 7, bias=False), nn.Linear(7, 64)),
        nn.ModuleList([nn.Sequential(nn.Linear(5, 7)), nn.Sequential(nn.Linear(7, 64))]),
    ],
    ids=range(8),
)
def test_other_layouts_are_not_guessed_at(net):
    assert not gan.FORMAT.recognises(saved(net.state_dict()))


# --- DCGAN --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("nc", "last", "crop"), [(3, 4, 0), (1, 4, 0), (3, 1, 0), (1, 1, 2)])
def test_a_dcgan_paints_what_torch_paints(nc, last, crop):
    net = csinva(nc, last, crop)
    contents = dcgan.FORMAT.read(saved(main(net)), BUDGET)
    z = torch.randn(3, 5)
    torch.testing.assert_close(built(contents)(z), net(z[:, :, None, None]).detach())
    assert contents.generator.config == DCGANConfig(5, (6, 4), nc, last, crop)
    assert contents.notes == ((dcgan.MNIST_NOTE,) if crop else ())


def test_mnist_pictures_have_28_pixels():
    assert DCGANConfig(100, (512, 256, 128, 64), 1, last_kernel=1, crop=2).img_resolution == 28


def test_kernels_that_no_dcgan_has_are_refused():
    state = main(csinva())
    assert refusal(dcgan.FORMAT, state | {"main.6.weight": torch.zeros(4, 3, 5, 5)}) == "bad_config"
    del state["main.3.weight"]
    assert refusal(dcgan.FORMAT, state) == "bad_config"


def test_names_that_are_not_known_stay():
    extra = {"main.3.bias": torch.zeros(4), "head.weight": torch.zeros(2)}
    state = dcgan.FORMAT.read(saved(main(csinva()) | extra), BUDGET).generator.state
    expected = set(DCGANGenerator(DCGANConfig(5, (6, 4))).state_dict())
    assert set(state) - expected == set(extra)
    assert expected <= set(state)


# --- the zoo ------------------------------------------------------------------------------------------------


def base_config(settings):
    """The zoo's own configuration: an instance of its class, importable only while the file is written."""
    modules = ["models", "models.utils", "models.utils.config"]
    sys.modules.update({name: types.ModuleType(name) for name in modules})
    BaseConfig = type("BaseConfig", (), {"__module__": modules[-1]})
    sys.modules[modules[-1]].BaseConfig = BaseConfig
    config = BaseConfig()
    vars(config).update(settings)
    return config, modules


@pytest.mark.parametrize("old", [False, True], ids=["zip", "stream"])
@pytest.mark.parametrize("known", [gan_zoo.DCGAN, gan_zoo.PGAN], ids=lambda f: f.name)
def test_the_configuration_may_be_the_zoos_own_object(known, old):
    root = FILES[known]()
    expected = known.read(saved(root), BUDGET)
    config, modules = base_config(root["config"])
    try:
        read = saved(root | {"config": config, "tmp": config}, old)
    finally:
        for name in modules:
            del sys.modules[name]
    assert known.recognises(read)
    assert known.read(read, BUDGET).generator.config == expected.generator.config


def test_a_zoo_dcgan_is_the_same_network_by_other_names():
    net, z = csinva(), torch.randn(3, 5)
    generator = built(gan_zoo.DCGAN.read(saved(zoo_dcgan(net)), BUDGET))
    torch.testing.assert_close(generator(z), net(z[:, :, None, None]).detach())
    linear = built(gan_zoo.DCGAN.read(saved(zoo_dcgan(net, lossCriterion="WGANGP")), BUDGET))
    torch.testing.assert_close(linear(z).tanh(), generator(z))


def test_the_average_is_served_if_its_statistics_mean_anything():
    root = zoo_dcgan()
    averaged = {name: value + 1 for name, value in root["netG"].items()}  # one batch was counted
    for average, expected, notes in (
        (averaged, averaged, ()),
        (
            averaged | {"main.batchNorm0.num_batches_tracked": torch.tensor(0)},
            root["netG"],
            (gan_zoo.NO_STATISTICS,),
        ),
        ({}, root["netG"], (gan_zoo.NO_AVERAGE,)),
    ):
        contents = gan_zoo.DCGAN.read(saved(root | {"avgG": average}), BUDGET)
        assert torch.equal(contents.generator.state["main.0.weight"], expected["formatLayer.weight"])
        assert contents.notes == notes
    alone = {"config": {}, "avgG": averaged | {"main.batchNorm0.num_batches_tracked": torch.tensor(0)}}
    assert gan_zoo.DCGAN.read(saved(alone), BUDGET).notes == ()


def test_the_progressive_gan_serves_its_average():
    root = zoo_pgan()
    average = {name: value + 1 for name, value in root["netG"].items()}
    name = "formatLayer.module.weight"
    contents = gan_zoo.PGAN.read(saved(root | {"avgG": average}), BUDGET)
    assert torch.equal(contents.generator.state[name], average[name])
    del root["avgG"]
    contents = gan_zoo.PGAN.read(saved(root), BUDGET)
    assert torch.equal(contents.generator.state[name], root["netG"][name])
    assert contents.notes == (gan_zoo.NO_AVERAGE,)


def test_the_configuration_of_a_progressive_gan_is_read():
    config = gan_zoo.PGAN.read(saved(zoo_pgan()), BUDGET).generator.config
    assert config == ZooPGANConfig(5, (6, 4, 3), 3, alpha=0.25, slope=0.1)
    config = gan_zoo.PGAN.read(saved(zoo_pgan(lossCriterion="MSE")), BUDGET).generator.config
    assert config.tanh
    bare = zoo_pgan() | {"config": {}}
    assert gan_zoo.PGAN.read(saved(bare), BUDGET).generator.config == ZooPGANConfig(5, (6, 4, 3))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"latentVectorDim": 6}, "bad_config"),
        ({"depthScale0": 7}, "bad_config"),
        ({"depthOtherScales": [4]}, "bad_config"),
        ({"dimOutput": 1}, "bad_config"),
        ({"alpha": 2}, "bad_config"),
        ({"alpha": [1]}, "bad_config"),
        ({"leakyReluLeak": "steep"}, "bad_config"),
        ({"latentVectorDim": torch.zeros(2)}, "bad_config"),
        ({"categoryVectorDim": 10}, "unsupported_format"),
        ({"perChannelNormalization": False}, "unsupported_format"),
        ({"equalizedlR": False}, "unsupported_format"),
    ],
    ids=str,
)
def test_a_configuration_that_contradicts_the_weights_is_refused(changes, code):
    assert refusal(gan_zoo.PGAN, zoo_pgan(**changes)) == code


@pytest.mark.parametrize("name", ["latentVectorDim", "dimG", "depth", "dimOutput"])
def test_a_dcgan_that_contradicts_itself_is_refused(name):
    assert refusal(gan_zoo.DCGAN, zoo_dcgan(**{name: 7})) == "bad_config"


def test_a_layer_by_two_names_is_refused():
    root = zoo_dcgan()
    root["netG"]["main.0.weight"] = root["netG"]["formatLayer.weight"]
    assert refusal(gan_zoo.DCGAN, root) == "unexpected_keys"


# --- EigenGAN -----------------------------------------------------------------------------------------------


def test_sizes_of_an_eigengan_are_read_from_shapes():
    config = eigengan.FORMAT.read(saved(port()), BUDGET).generator.config
    assert config == EigenGANConfig(5, (2, 2), (6, 4, 3))
    unequal = EigenGANConfig(5, (2, 3), (6, 4, 3), img_channels=1)
    root = {"g_ema": EigenGANGenerator(unequal).state_dict()}
    assert eigengan.FORMAT.read(saved(root), BUDGET).generator.config == unequal


def test_the_average_of_an_eigengan_is_served():
    root = port()
    root["g"] = {name: value * 0 for name, value in root["g"].items()}
    state = eigengan.FORMAT.read(saved(root), BUDGET).generator.state
    assert all(torch.equal(value, root["g_ema"][name]) for name, value in state.items())


@pytest.mark.parametrize("name", ["size", "n_basis", "noise_dim", "base_channels"])
def test_arguments_that_contradict_the_weights_are_refused(name):
    assert refusal(eigengan.FORMAT, port(**{name: 64})) == "bad_config"


def test_budgets_hold():
    for known, root in FILES.items():
        with pytest.raises(CheckpointError, match="larger than 100 bytes"):
            known.read(saved(root()), 100)


def test_numbers_that_are_not_finite_are_refused():
    state = main(csinva())
    state["main.0.weight"] = torch.full((5, 6, 4, 4), np.nan)
    assert refusal(dcgan.FORMAT, state) == "non_finite"
