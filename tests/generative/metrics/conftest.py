"""A tiny generator and an untrained feature network that reads the factors of the world."""

import pytest
import torch

from generative.cards import About
from generative.losses import PerceptualDistance
from generative.metrics.examiner import Examiner
from generative.metrics.extractors import ShippedFeatures
from generative.networks.feature_network import FeatureNetwork, FeatureRecord, Readout
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.store import save_model
from generative.worlds.portraits import FACTORS

SIDE = 16


@pytest.fixture(scope="session")
def network() -> FeatureNetwork:
    readouts = tuple(
        Readout(name=f.name, kind=f.kind, classes=len(f.values) if f.kind == "categorical" else 1)
        for f in FACTORS
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = FeatureNetwork(FeatureRecord(resolution=SIDE, channels=(8, 16), readouts=readouts))
    return network.eval().requires_grad_(False)


def tiny(**changes: int) -> Generator:
    sizes = {"z_dim": 8, "w_dim": 8, "mapping_layers": 2, "channel_base": 128, "channel_max": 8} | changes
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Generator(StyleGAN2Config(img_resolution=SIDE, **sizes)).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def generator() -> Generator:
    return tiny()


@pytest.fixture
def examiner(generator, network) -> Examiner:
    return Examiner(generator, ShippedFeatures(network), network, PerceptualDistance(network))


@pytest.fixture(scope="session")
def folder(tmp_path_factory, generator, network):
    """A model folder with the network beside it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, generator, About(name="tiny"))
    network.save(folder)
    return folder
