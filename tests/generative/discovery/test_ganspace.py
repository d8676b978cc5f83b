import time

import pytest
import torch

from generative.discovery.ganspace import (
    batch_size,
    directions,
    incremental_pca,
    latent_directions,
    pca,
    random_axes,
    spread,
)
from generative.editing.direction import apply
from generative.spaces import Space

from .vectors import Vectors, cosines


def rows(table, start, count):
    """The official sampling: rows in order, from the beginning again after the last."""
    return table[(start + torch.arange(count)) % len(table)]


def with_zeros(samples, count=2000):
    """What the official estimators see that take all samples at once: a batch of zeros beside the samples."""
    return torch.cat([samples, samples.new_zeros(count, samples.shape[1])])


def assert_components(found, stored, count, tolerance):
    assert cosines(found.axes, stored["act_comp"]).min() > 1 - 1e-5
    torch.testing.assert_close(found.mean.float(), stored["act_mean"].flatten(), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.stdev.float(), stored["act_stdev"], rtol=tolerance, atol=0)
    torch.testing.assert_close(found.share.float(), stored["var_ratio"], rtol=tolerance, atol=0)
    assert len(found.axes) == count


@pytest.mark.parametrize("name, tolerance", [("w_ipca", 1e-4), ("w_pca", 1e-4), ("w_fbpca", 1e-3)])
def test_components_of_w_agree_with_the_official_code(name, tolerance):
    table = Vectors("ganspace", "w_samples_table")["table"]
    stored = Vectors("ganspace", name)
    samples = rows(table, 1, 4000)
    if name == "w_ipca":
        batch = batch_size(500, 16)
        found = incremental_pca(samples.split(batch), 16)
        seen = samples[-batch:]
    else:
        seen = with_zeros(samples)
        found = pca(seen, 16)
        seen = seen[:5000]

    assert_components(found, stored, 16, tolerance)
    if name != "w_fbpca":  # whose signs are random
        assert ((found.axes * stored["act_comp"].flatten(1)).sum(dim=1) > 0).all()
    assert cosines(found.axes, stored["lat_comp"]).min() > 1 - 1e-5
    torch.testing.assert_close(found.mean.float()[None], stored["lat_mean"], rtol=0, atol=1e-4)
    along = spread(rows(table, 1, 5000), found.axes)
    torch.testing.assert_close(along.float(), stored["lat_stdev"], rtol=tolerance, atol=0)
    random = spread(seen, random_axes(16, 32))
    torch.testing.assert_close(random.float(), stored["random_stdevs"], rtol=1e-4, atol=0)
    stored.assert_all_read()


def test_components_of_activations_and_their_latents_agree_with_the_official_code():
    inputs, stored = Vectors("ganspace", "act_inputs"), Vectors("ganspace", "act_pca")

    def layer(z):
        return torch.tanh(z @ inputs["W1"])

    seen = with_zeros(layer(rows(inputs["z_table"], 1, 4000)))
    found = pca(seen, 8)
    z = rows(inputs["z_table"], 6001, 10_000)
    latents, mean = latent_directions(found, ((part, layer(part)) for part in z.split(500)))

    assert_components(found, stored, 8, 1e-4)
    signs = (found.axes * stored["act_comp"].flatten(1)).sum(dim=1).sign()
    torch.testing.assert_close(
        (latents * signs[:, None]).float()[:, None], stored["lat_comp"], rtol=0, atol=1e-4
    )
    torch.testing.assert_close(mean.float()[None], stored["lat_mean"], rtol=0, atol=1e-5)
    random = spread(seen[:5000], random_axes(8, 16))
    torch.testing.assert_close(random.float(), stored["random_stdevs"], rtol=1e-4, atol=0)
    assert torch.equal(stored["lat_stdev"], torch.ones(8))  # nothing is measured there outside of W
    stored.assert_all_read()


def test_batches_give_the_axes_of_all_samples():
    samples = torch.randn(900, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    samples = samples * torch.tensor([6.0, 5.0, 4.0, 3.0, 2.0, 1.0]) + 3
    whole, parts = pca(samples, 6), incremental_pca(samples.split([500, 7, 393]), 6)
    torch.testing.assert_close(parts.axes, whole.axes)
    torch.testing.assert_close(parts.mean, whole.mean)
    torch.testing.assert_close(parts.share, whole.share)
    torch.testing.assert_close(parts.stdev, whole.stdev * (900 / 899) ** 0.5)


def test_samples_with_more_numbers_than_there_are_samples_are_no_trouble():
    samples = torch.randn(20, 300, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = pca(samples, 5)
    _, S, V = torch.linalg.svd(samples - samples.mean(dim=0), full_matrices=False)
    assert cosines(found.axes, V[:5]).min() > 1 - 1e-9
    torch.testing.assert_close(found.stdev, S[:5] / 20**0.5)


def test_a_component_s_direction_moves_by_its_standard_deviation():
    samples = torch.randn(2000, 4, generator=torch.Generator().manual_seed(2)) * torch.tensor(
        [1.0, 4.0, 2, 3]
    )
    found = pca(samples, 2)
    first = directions(found, Space.W, spread(samples, found.axes))[0]
    assert first.name == "ganspace_0" and abs(float(first.vector[1])) > 0.99
    moved = apply(torch.zeros(1, 4), first, 1.0)
    assert float(moved.norm()) == pytest.approx(4, rel=0.05)


@pytest.fixture
def one_thread():
    """Threads that wait for each other on a busy machine would count as time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("batches", [[], [torch.zeros(3, 8)], [torch.zeros(9, 2)]])
def test_too_few_samples_or_numbers_are_refused(batches):
    with pytest.raises(ValueError, match="samples"):
        incremental_pca(batches, 4)


def test_a_hundred_thousand_samples_of_w_take_less_than_a_minute(one_thread):
    rng = torch.Generator().manual_seed(0)
    mix = torch.randn(512, 512, generator=rng) / 512**0.5
    batches = (torch.randn(2000, 512, generator=rng) @ mix for _ in range(50))
    start = time.process_time()
    found = incremental_pca(batches, 80)
    assert time.process_time() - start < 60 and found.axes.shape == (80, 512)
