from pathlib import Path

import numpy as np
import pytest
import torch

from generative.discovery.sefa import sefa_directions, sefa_set, style_weights
from generative.editing.direction import Direction, apply
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.spaces import Space
from generative.statistics import sample_w, w_statistics

SEFA = Path(__file__).parents[4] / "shared" / "conformance" / "methods" / "sefa"
LAYERS = {"all": range(8), "0-1": range(0, 2), "2-5": range(2, 6), "4": range(4, 5)}


def official(name):
    path = SEFA / f"{name}.npz"
    if not path.exists():
        pytest.skip("the vectors are not beside this repository")
    return dict(np.load(path))


@pytest.mark.parametrize("network, layers", [
    ("sg2", "all"), ("sg2", "0-1"), ("sg2", "2-5"), ("sg1", "all"), ("sg1", "0-1"), ("sg1", "4"),
])  # fmt: skip
def test_directions_and_eigenvalues_agree_with_the_official_code(network, layers):
    case = official("factorize")
    weights = [torch.from_numpy(case[f"{network}__style_weight_layer{i:02}"]) for i in LAYERS[layers]]
    published = case[f"{network}__idx_{layers}__eigenvalues"]
    order = np.argsort(-published)  # the official list is not sorted

    directions, values = sefa_directions(weights, 16)

    np.testing.assert_allclose(values[:5], published[order[:5]], rtol=1e-4)
    np.testing.assert_allclose(values, case[f"{network}__idx_{layers}__eigh64_values"], rtol=1e-4, atol=1e-5)
    theirs = case[f"{network}__idx_{layers}__directions"][order[:5]]
    cosine = np.abs((directions[:5].double().numpy() * theirs).sum(axis=1))
    assert (cosine > 1 - 1e-6).all()


def test_rosinality_s_variant_is_something_else():
    case, weights = official("variants_layers_2_5"), official("factorize")
    directions, _ = sefa_directions(
        [torch.from_numpy(weights[f"sg2__style_weight_layer{i:02}"]) for i in range(2, 6)], 1
    )
    assert abs(directions[0].numpy() @ case["official_sorted"][0]) > 1 - 1e-5
    assert np.abs(case["rosinality_svd_unnormalised"] @ directions[0].numpy())[0] < 0.999


def test_edits_agree_with_the_official_code():
    case = {name: torch.from_numpy(value) for name, value in official("edit").items()}
    edit = Direction("d", Space.W, case["boundary"].flatten().float(), layers=tuple(case["layers"].tolist()))
    ours = apply(case["code"].float().expand(11, -1, -1), edit, case["distances"].float())
    torch.testing.assert_close(ours, case["edited"].float(), atol=1e-6, rtol=1e-6)


def test_a_planted_direction_comes_first():
    rng = torch.Generator().manual_seed(0)
    planted = torch.zeros(16)
    planted[3] = 1
    directions, _ = sefa_directions([torch.randn(64, 16, generator=rng) + 5 * planted], 1)
    assert directions[0] @ planted > 0.95


def test_signs_do_not_depend_on_the_sign_of_the_weights():
    weights = [torch.randn(32, 16, generator=torch.Generator().manual_seed(0))]
    assert torch.equal(sefa_directions(weights, 3)[0], sefa_directions([-w for w in weights], 3)[0])


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    config = StyleGAN2Config(
        img_resolution=64, z_dim=12, w_dim=10, mapping_layers=2, channel_base=256, channel_max=16
    )
    return Generator(config).eval()


def test_each_w_is_read_by_its_convolution_and_the_last_by_the_last_torgb(generator):
    weights = style_weights(generator, range(generator.num_ws))
    layer = generator.synthesis.layer
    assert weights[0] is not None and torch.equal(weights[0], layer("b4.conv1").affine.weight)
    assert torch.equal(weights[1], layer("b8.conv0").affine.weight)
    assert torch.equal(weights[-1], layer("b64.torgb").affine.weight)
    assert len(weights) == 10


def test_a_step_of_one_sigma_is_one_standard_deviation_of_w(generator):
    w = sample_w(generator)
    found = {d.name: d for d in sefa_set(generator, w_statistics(w))}
    assert {"sefa_0", "sefa_7", "sefa_coarse_0", "sefa_middle_3", "sefa_fine_7"} <= set(found)
    for edit in found.values():
        moved = apply(torch.zeros(1, 10, 10), edit, 1.0)
        step = moved[0, edit.layers[0] if edit.layers else 0]
        spread = (w @ edit.vector).std(correction=0)
        torch.testing.assert_close(step, spread * edit.vector, rtol=1e-3, atol=1e-5)


def test_the_groups_end_where_the_network_ends():
    small = Generator(StyleGAN2Config(img_resolution=8, z_dim=3, w_dim=3, mapping_layers=1, channel_max=4))
    names = [d.name for d in sefa_set(small, w_statistics(sample_w(small, count=100)))]
    assert names == [f"sefa_{i}" for i in range(3)] + [f"sefa_coarse_{i}" for i in range(3)]
