"""LPIPS against the `lpips` package, and against a twin that is written out."""

import pytest
import torch
import torch.nn.functional as F

from generative.networks.lpips import CHANNELS, LPIPS, lpips_from, unit
from tests.generative.networks import hash_weights

SHIFTS, SCALES = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
#: of the two pairs of `pictures`, by lpips 0.1.4 in float64 on the networks of torchvision 0.29.1
PUBLISHED = {
    "vgg": (0.008801519920112645, 0.008952951331557739),
    "alex": (0.008069889666969553, 0.008095695231826705),
}


def weights(kind):
    """Those of the network and of its five maps, under their official names."""
    shapes = {name: tuple(p.shape) for name, p in LPIPS(kind).named_parameters() if "features" in name}
    network = {name: hash_weights.parameter(s, i, "bias") for i, (name, s) in enumerate(shapes.items())}
    lins = {
        f"lin{i}.model.1.weight": ((1 + hash_weights.u(C, 200 + i)) / C).reshape(1, C, 1, 1)
        for i, C in enumerate(CHANNELS[kind])
    }
    return ({n: torch.from_numpy(v).float() for n, v in group.items()} for group in (network, lins))


@pytest.fixture(scope="module", params=["vgg", "alex"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def distance(kind):
    return lpips_from(*weights(kind))


@pytest.fixture(scope="module")
def pictures():
    """Two pairs: noise, and its mean with other noise."""
    a, b = (
        torch.from_numpy(hash_weights.u(2 * 3 * 64 * 64, k)).float().reshape(2, 3, 64, 64) for k in (11, 12)
    )
    return a, (a + b) / 2


def test_distances_are_those_of_the_published_code(kind, distance, pictures):
    a, b = pictures

    torch.testing.assert_close(
        distance(a, b).double(), torch.tensor(PUBLISHED[kind]).double(), rtol=1e-6, atol=0
    )


def test_distances_are_what_the_paper_says(kind, pictures):
    """Five maps of unit features, their squared differences weighted by channel and averaged over places."""
    network, lins = ({n: t.double() for n, t in group.items()} for group in weights(kind))
    seen = {"vgg": (2, 7, 14, 21, 28), "alex": (0, 3, 6, 8, 10)}[kind]  # convolutions before the ReLUs

    def maps(x):
        channels = zip(x.unbind(1), SHIFTS, SCALES, strict=True)
        x = torch.stack([(c - shift) / scale for c, shift, scale in channels], dim=1)
        for i in sorted({int(name.split(".")[1]) for name in network}):
            weight, bias = network[f"features.{i}.weight"], network[f"features.{i}.bias"]
            if kind == "vgg":
                x = F.max_pool2d(x, 2) if i in (5, 10, 17, 24) else x
                x = F.conv2d(x, weight, bias, padding=1)
            else:
                x = F.max_pool2d(x, 3, 2) if i in (3, 6) else x
                stride, padding = (4, 2) if i == 0 else (1, 2 if i == 3 else 1)
                x = F.conv2d(x, weight, bias, stride, padding)
            x = x.clamp(min=0)
            if i in seen:
                yield x / x.square().sum(dim=1, keepdim=True).sqrt()

    a, b = (x.double() for x in pictures)
    expected = torch.zeros(2, dtype=torch.float64)
    for i, (x, y) in enumerate(zip(maps(a), maps(b), strict=True)):
        expected += ((x - y).square() * lins[f"lin{i}.model.1.weight"]).sum(dim=1).mean(dim=(1, 2))

    exact = lpips_from(*weights(kind)).double()
    torch.testing.assert_close(exact(a, b), expected, rtol=1e-7, atol=0)


def test_a_target_can_be_described_once_and_company_does_not_count(distance, pictures):
    a, b = pictures
    described = distance.describe(b)

    torch.testing.assert_close(distance.compare(distance.describe(a), described), distance(a, b))
    torch.testing.assert_close(distance(a[1:], b[1:]), distance(a, b)[1:])
    assert torch.equal(distance(a, a), torch.zeros(2))


def test_features_of_nothing_have_a_gradient():
    x = torch.zeros(1, 3, 2, 2, requires_grad=True)

    unit(x).sum().backward()

    assert torch.equal(unit(x), x)
    assert x.grad.isfinite().all()


def test_fully_connected_layers_may_lie_beside_but_nothing_else(kind):
    network, lins = weights(kind)

    lpips_from(network | {"classifier.6.weight": torch.zeros(1000, 4096)}, lins)

    with pytest.raises(RuntimeError, match="stranger"):
        lpips_from(network | {"stranger": torch.zeros(1)}, lins)
    with pytest.raises(RuntimeError, match=r"lins\.4\.weight"):
        lpips_from(network, {name: t for name, t in lins.items() if not name.startswith("lin4")})


def test_weights_of_another_network_are_refused():
    network, _ = weights("vgg")
    _, lins = weights("alex")

    with pytest.raises(RuntimeError, match="size mismatch"):
        lpips_from(network, lins)
    with pytest.raises(ValueError, match="VGG16 or AlexNet"):
        lpips_from({"conv1.weight": torch.zeros(64, 3, 7, 7)}, lins)
