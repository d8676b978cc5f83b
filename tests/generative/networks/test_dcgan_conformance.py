"""DCGAN against numbers of csinva's code and of the GAN zoo, read as their checkpoints are."""

import pytest
import torch
import torch.nn.functional as F

from generative.checkpoints import gan_zoo
from generative.checkpoints.dcgan import FORMAT

from .small_gans import BUDGET, Case, built, saved


@pytest.fixture(scope="module")
def csinva():
    return Case("dcgan_csinva/cifar10_dcgan")


@pytest.fixture(scope="module")
def zoo():
    return Case("gan_zoo/dcgan_r64")


def conv(x, state, name, stride):
    return F.conv2d(x, state[f"{name}.weight"], stride=stride, padding=1 if stride == 2 else 0)


def norm(x, state, name):
    """Batch normalisation by its definition, and leaky ReLU."""
    part = {k: state[f"{name}.{k}"][:, None, None] for k in ("weight", "bias", "running_mean", "running_var")}
    x = (x - part["running_mean"]) / (part["running_var"] + 1e-5).sqrt() * part["weight"] + part["bias"]
    return F.leaky_relu(x, 0.2)


@pytest.mark.parametrize("old", [False, True], ids=["zip", "stream"])
def test_csinva_outputs_agree(csinva, old):
    generator = built(FORMAT.read(saved(csinva.part("netG."), old), BUDGET))
    z = csinva.inputs["z"][:, :, 0, 0]
    images = generator(z)
    layers = {name for name in csinva.outputs if name.startswith("layer.")}
    features = generator.features(z, {name.removeprefix("layer.") for name in layers})
    ours = {f"layer.{name}": value[:1] for name, value in features.items()}
    logits = csinva_logits(images, csinva.part("netD."))

    csinva.assert_outputs(ours | {"img": images, "D_logits": logits, "D_prob": logits.sigmoid()})


def csinva_logits(x, D):
    """Their discriminator, which is not served: it says whether our pictures are what it was made for."""
    x = F.leaky_relu(F.conv2d(x, D["main.0.weight"], stride=2, padding=1), 0.2)
    for i in (2, 5, 8):
        x = norm(F.conv2d(x, D[f"main.{i}.weight"], stride=2, padding=1), D, f"main.{i + 1}")
    return F.conv2d(x, D["main.11.weight"], stride=2).flatten()


@pytest.mark.parametrize("old", [False, True], ids=["zip", "stream"])
def test_gan_zoo_outputs_agree(zoo, old):
    G = zoo.part("avgG.")
    config = {"latentVectorDim": 24, "dimG": 8, "dimD": 8, "depth": 3, "dimOutput": 3}
    root = saved({"config": config, "netG": G, "netD": zoo.part("netD."), "avgG": G}, old)
    images = built(gan_zoo.DCGAN.read(root, BUDGET))(zoo.inputs["z"])

    zoo.assert_outputs({"img": images, "D_out": gan_zoo_scores(images, zoo.part("netD."))})


def gan_zoo_scores(x, D):
    """The zoo's discriminator; its convolutions are called transposed."""
    x = F.leaky_relu(F.conv2d(x, D["main.convTranspose3.weight"], stride=2, padding=1), 0.2)
    for i in (2, 1, 0):
        x = norm(
            F.conv2d(x, D[f"main.convTranspose{i}.weight"], stride=2, padding=1), D, f"main.batchNorm{i}"
        )
    return F.conv2d(x, D["decisionLayer.weight"]).flatten(1)


def test_batch_normalisation_is_a_formula_of_the_stored_statistics(csinva):
    state = csinva.part("netG.")
    generator = built(FORMAT.read(saved(state), BUDGET)).double()
    x = torch.randn(2, 128, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = norm(x, {k: v.double() for k, v in state.items()}, "main.1")
    torch.testing.assert_close(F.leaky_relu(generator.main[1](x), 0.2), expected)
