import pytest
import torch

from generative.checkpoints.errors import CheckpointError
from generative.metrics.extractors import ShippedFeatures, open_extractor
from generative.networks.clip_image import ClipImageConfig, ClipImageEncoder
from generative.networks.inception import InceptionV3

from .conftest import SIDE


def pictures(n: int = 3, side: int = SIDE) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_shipped_network_gives_features_and_factors_in_one_pass(network) -> None:
    features, readings = ShippedFeatures(network).embed_and_read(pictures())
    torch.testing.assert_close(features, network.embed(pictures()))
    for name, values in network.factors(pictures()).items():
        torch.testing.assert_close(network.decode(readings)[name], values)


def test_pictures_of_another_size_are_brought_to_the_networks(network) -> None:
    large = pictures().repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    small = torch.nn.functional.interpolate(large, (SIDE, SIDE), mode="bilinear", antialias=True)
    extractor = ShippedFeatures(network)
    torch.testing.assert_close(extractor.embed(large), extractor.embed(small))


def test_each_is_opened_by_its_name(folder, tmp_path) -> None:
    torch.save(InceptionV3().state_dict(), tmp_path / "inception.pth")
    small = ClipImageEncoder(ClipImageConfig(side=32, patch=16, width=64, layers=1, features=12))
    torch.save({f"visual.{n}": t for n, t in small.state_dict().items()}, tmp_path / "clip.pt")
    wanted = {
        "shipped": 24,
        f"inception={tmp_path / 'inception.pth'}": 2048,
        f"clip={tmp_path / 'clip.pt'}": 12,
    }
    for text, dimensions in wanted.items():
        extractor = open_extractor(text, folder)
        assert extractor.name == text.partition("=")[0]
        with torch.no_grad():
            assert extractor.embed(pictures()).shape == (3, dimensions)


@pytest.mark.parametrize("text", ["", "fid", "shipped=x", "inception", "clip=", "resnet=x"])
def test_other_names_are_refused(folder, text) -> None:
    with pytest.raises(ValueError, match="extractors are"):
        open_extractor(text, folder)


def test_weights_of_something_else_are_refused_with_a_code(folder, tmp_path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "weights")
    with pytest.raises(CheckpointError) as refused:
        open_extractor(f"inception={tmp_path / 'weights'}", folder)
    assert refused.value.code == "wrong_shapes"
    with pytest.raises(ValueError, match="OpenAI's layout"):
        open_extractor(f"clip={tmp_path / 'weights'}", folder)
