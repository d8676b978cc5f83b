from pathlib import Path

import numpy as np
import pytest
import torch

from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.statistics import sample_w, w_statistics

PROJECTOR = (
    Path(__file__).parents[3] / "shared" / "conformance" / "methods" / "projector" / "full_run_12steps.npz"
)


def correlated(count=4000):
    rng = torch.Generator().manual_seed(0)
    mixing = torch.randn(6, 6, generator=rng)
    return torch.randn(count, 6, generator=rng) @ mixing + 3


def test_moments_and_axes_are_those_of_numpy():
    w = correlated()
    ours, samples = w_statistics(w), w.double().numpy()

    np.testing.assert_allclose(ours.mean, samples.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(ours.std, samples.std(axis=0), rtol=1e-5)
    values, vectors = np.linalg.svd(np.cov(samples.T, ddof=0))[1:]
    np.testing.assert_allclose(ours.variances, values, rtol=1e-4)
    np.testing.assert_allclose(np.abs((ours.components.numpy() * vectors).sum(axis=1)), 1, atol=1e-4)


def test_the_spread_along_a_vector_is_that_of_the_projected_samples():
    w = correlated()
    vector = torch.randn(6, generator=torch.Generator().manual_seed(1))
    assert w_statistics(w).sigma_along(vector) == pytest.approx(
        float((w @ vector).std(correction=0)), rel=1e-4
    )


def test_signs_are_fixed():
    components = w_statistics(correlated()).components
    assert (components.gather(1, components.abs().argmax(dim=1, keepdim=True)) > 0).all()


def test_the_sample_is_the_same_each_time_and_covers_the_classes():
    config = StyleGAN2Config(img_resolution=4, z_dim=6, w_dim=5, c_dim=3, mapping_layers=1, channel_max=4)
    generator = Generator(config)
    w = sample_w(generator, count=1500)
    assert w.shape == (1500, 5)
    assert torch.equal(w, sample_w(generator, count=1500))
    with torch.no_grad():
        z = torch.from_numpy(np.random.RandomState(123).randn(1500, 6).astype(np.float32))
        of_one_class = generator.map(z, torch.eye(3)[torch.zeros(1500, dtype=torch.int64)])
    assert not torch.allclose(w.mean(dim=0), of_one_class.mean(dim=0), atol=1e-3)


def test_mean_and_spread_are_those_of_the_official_projector():
    if not PROJECTOR.exists():
        pytest.skip("the vectors are not beside this repository")
    case = {name: torch.from_numpy(value) for name, value in np.load(PROJECTOR).items()}
    config = StyleGAN2Config(
        img_resolution=32, z_dim=16, w_dim=16, mapping_layers=2, channel_base=256, channel_max=16
    )
    generator = Generator(config)
    weights = {k.removeprefix("G__").replace("__", "."): v for k, v in case.items() if k.startswith("G__")}
    generator.load_state_dict(weights)

    w = sample_w(generator, count=500)
    ours = w_statistics(w)

    torch.testing.assert_close(w, case["w_samples"][:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.mean, case["w_avg"].flatten(), atol=1e-5, rtol=1e-5)
    assert ours.total_std == pytest.approx(float(case["w_std"]), rel=1e-5)
