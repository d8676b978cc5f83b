import pytest
import torch
import torch.nn.functional as F

from generative.networks.vgg16 import IDINVERT, MGANPRIOR, feature_distance_from, features
from tests.generative.networks import hash_weights

CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def state():
    """Under torchvision's names."""
    shapes = {f"features.{name}": tuple(p.shape) for name, p in features().named_parameters()}
    filled = (hash_weights.parameter(shape, i, "bias") for i, shape in enumerate(shapes.values()))
    return dict(zip(shapes, map(torch.from_numpy, filled), strict=True))


@pytest.fixture
def pictures():
    """Two pairs."""
    rng = torch.Generator().manual_seed(0)
    return torch.rand(2, 2, 3, 32, 32, generator=rng, dtype=torch.float64) * 2 - 1


def twin(state, x, convolutions):
    """The first convolutions, each with its ReLU, and pooling between the groups."""
    for i in CONVOLUTIONS[:convolutions]:
        x = F.max_pool2d(x, 2) if i in (5, 10, 17, 24) else x
        weight, bias = state[f"features.{i}.weight"].double(), state[f"features.{i}.bias"].double()
        x = F.conv2d(x, weight, bias, padding=1).clamp(min=0)
    return x


def test_names_are_those_of_torchvision():
    assert tuple(i for i, module in enumerate(features()) if hasattr(module, "weight")) == CONVOLUTIONS
    assert len(features()) == 31


def test_in_domain_inversion_compares_ten_convolutions_of_bytes_in_the_order_of_keras(state, pictures):
    a, b = pictures
    distance = feature_distance_from(state, IDINVERT).double()

    def seen(x):
        red, green, blue = ((x + 1) / 2 * 255).unbind(1)
        return twin(state, torch.stack([blue - 103.939, green - 116.779, red - 123.68], dim=1), 10)

    expected = (seen(a) - seen(b)).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(distance(a, b), expected)


def test_the_multi_code_prior_compares_seven_convolutions_by_absolute_value(state, pictures):
    a, b = pictures
    distance = feature_distance_from(state, MGANPRIOR).double()

    def seen(x):
        channels = zip((x * 0.5 + 0.5).unbind(1), MEAN, STD, strict=True)
        return twin(state, torch.stack([(c - mean) / std for c, mean, std in channels], dim=1), 7)

    expected = 0.001 * (seen(a) - seen(b)).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(distance(a, b), expected)


def test_the_file_of_in_domain_inversion_has_other_names_for_the_same(state):
    renamed = {name.replace("features.", "layer"): value for name, value in state.items()}

    theirs, ours = (feature_distance_from(s, IDINVERT).state_dict() for s in (renamed, state))

    assert set(theirs) == set(ours)
    assert all(torch.equal(theirs[name], value) for name, value in ours.items())


def test_a_target_can_be_described_once_and_company_does_not_count(state, pictures):
    a, b = pictures.float()
    distance = feature_distance_from(state, IDINVERT)
    described = distance.describe(b)

    torch.testing.assert_close(distance.compare(distance.describe(a), described), distance(a, b))
    torch.testing.assert_close(distance(a[1:], b[1:]), distance(a, b)[1:], rtol=1e-4, atol=0)
    assert torch.equal(distance(a, a), torch.zeros(2))


def test_layers_above_are_not_needed_but_those_below_are(state):
    below = {name: t for name, t in state.items() if int(name.split(".")[1]) < 16}

    feature_distance_from(below | {"classifier.0.bias": torch.zeros(4096)}, MGANPRIOR)

    with pytest.raises(RuntimeError, match=r"features\.17\.weight"):
        feature_distance_from(below, IDINVERT)
    with pytest.raises(RuntimeError, match="stranger"):
        feature_distance_from(below | {"stranger": torch.zeros(1)}, MGANPRIOR)
