"""P spaces against numbers of II2S and PULSE, and against what whitening means."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from generative.p_space import PStatistics, from_p, from_pn, geocross, p_norm, p_statistics, to_p, to_pn

SHARED = Path(__file__).parents[3] / "shared" / "conformance"


def arrays(path: str) -> dict[str, Tensor]:
    if not (SHARED / path).exists():
        pytest.skip("the conformance data are not beside this repository")
    with np.load(SHARED / path, allow_pickle=False) as file:
        return {name: torch.from_numpy(np.array(file[name])).float() for name in file.files}


@pytest.fixture(scope="module")
def faces() -> PStatistics:
    pca = arrays("artefacts/II2S/pretrained_models/ffhq_PCA.npz")
    return PStatistics(*(pca[name] for name in ("X_mean", "X_comp", "X_stdev")))


def test_whitening_and_back_agree_with_ii2s(faces):
    given = arrays("methods/p_space/ii2s_ffhq.npz")
    w = from_pn(given["pn_input"], faces)
    torch.testing.assert_close(w, given["w_from_pn"], rtol=0, atol=1e-5 * float(w.abs().max()))
    # the smallest deviation, 2.6e-4, amplifies the rounding of float32
    torch.testing.assert_close(to_pn(given["w_from_pn"], faces), given["pn_back"], rtol=0, atol=5e-3)


def test_the_norm_and_its_gradient_by_w_agree_with_ii2s(faces):
    given = arrays("methods/p_space/ii2s_ffhq.npz")
    pn = given["pn_back"].clone().requires_grad_()
    loss = 0.001 * p_norm(pn).sum()
    torch.testing.assert_close(loss.detach(), given["p_norm_loss"], rtol=1e-5, atol=0)
    [by_pn] = torch.autograd.grad(loss, pn)
    w = given["w_from_pn"].clone().requires_grad_()
    [by_w] = torch.autograd.grad(to_pn(w, faces), w, by_pn)
    expected = given["p_norm_grad"]
    torch.testing.assert_close(by_w, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_crossing_the_sphere_agrees_with_pulse():
    given = arrays("methods/p_space/pulse.npz")
    torch.testing.assert_close(geocross(given["latent"]).sum(), given["geocross"], rtol=1e-5, atol=0)
    decoded = from_p(given["latent"] * given["gaussian_std"] + given["gaussian_mean"])
    torch.testing.assert_close(decoded, given["decoded"], rtol=1e-5, atol=1e-5)


def test_equal_layers_cross_nothing():
    assert geocross(torch.randn(2, 1, 16).expand(-1, 6, -1)).max() < 1e-6


@pytest.fixture(scope="module")
def samples() -> Tensor:
    """w whose P is a normal distribution with known axes."""
    rng = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(6, 6, generator=rng, dtype=torch.float64)).Q
    p = torch.randn(50_000, 6, generator=rng, dtype=torch.float64) * torch.arange(6, 0, -1) @ axes + 0.5
    return from_p(p).float()


def test_whitened_samples_have_unit_variance_and_a_norm_of_one(samples):
    statistics = p_statistics(samples)
    pn = to_pn(samples, statistics)
    torch.testing.assert_close(torch.cov(pn.T), torch.eye(6), rtol=0, atol=1e-3)
    torch.testing.assert_close(statistics.stdev, torch.arange(6.0, 0, -1), rtol=0.02, atol=0)
    assert p_norm(pn).mean() == pytest.approx(1, abs=1e-3)


def test_there_and_back_is_the_same(samples):
    statistics, w = p_statistics(samples), samples[:12].reshape(3, 4, 6)
    torch.testing.assert_close(from_p(to_p(w)), w)
    torch.testing.assert_close(from_pn(to_pn(w, statistics), statistics), w, rtol=1e-4, atol=1e-5)


def test_an_axis_without_spread_does_not_blow_up():
    flat = torch.randn(1000, 4) * torch.tensor([1.0, 1.0, 1.0, 0.0])
    assert torch.isfinite(to_pn(flat, p_statistics(flat))).all()
