import pytest
import torch

from generative.spaces import broadcast, lerp, mix_styles, slerp, truncate


def test_a_mean_for_each_layer_is_what_that_layer_is_pulled_to():
    w_avg, ws = torch.tensor([[1.0], [2.0], [3.0]]), torch.full((1, 3, 1), 5.0)
    assert truncate(ws, w_avg, 0.5, cutoff=2).flatten().tolist() == [3, 3.5, 5]
    assert torch.equal(truncate(ws, w_avg, 0), w_avg[None])


def test_truncation_pulls_towards_the_mean_and_beyond_it_exaggerates():
    w_avg, ws = torch.tensor([1.0, 2.0]), torch.tensor([[[3.0, 2.0], [1.0, 4.0]]])
    assert torch.equal(truncate(ws, w_avg, 0), w_avg.expand(1, 2, 2))
    assert truncate(ws, w_avg, 1) is ws
    torch.testing.assert_close(truncate(ws, w_avg, 2), w_avg + 2 * (ws - w_avg))


def test_the_cutoff_spares_the_finer_layers():
    ws = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    cut = truncate(ws, torch.zeros(3), 0.5, cutoff=2)
    torch.testing.assert_close(cut[:, :2], ws[:, :2] / 2)
    assert torch.equal(cut[:, 2:], ws[:, 2:])


def test_slerp_keeps_length_and_turns_evenly():
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    way = slerp(a, b, torch.tensor([0.0, 1 / 3, 1.0]))
    angle = torch.atan2(way[:, 1], way[:, 0])
    torch.testing.assert_close(way.norm(dim=1), torch.full((3,), 2.0))
    torch.testing.assert_close(angle, torch.tensor([0.0, torch.pi / 6, torch.pi / 2]))


def test_slerp_between_parallel_vectors_is_a_straight_line():
    a = torch.tensor([1.0, 1.0])
    torch.testing.assert_close(slerp(a, 3 * a, torch.tensor([0.5])), 2 * a[None])


def test_lerp_works_for_latents_of_any_shape():
    a, b = torch.zeros(4, 3), torch.ones(4, 3)
    assert torch.equal(lerp(a, b, torch.tensor([0.25, 1.0]))[0], torch.full((4, 3), 0.25))


def test_mixing_takes_the_named_layers_from_the_columns():
    rows, columns = torch.zeros(2, 4, 3), torch.ones(5, 4, 3)
    mixed = mix_styles(rows, columns, [0, 3])
    assert mixed.shape == (2, 5, 4, 3)
    assert torch.equal(mixed[1, 2, :, 0], torch.tensor([1.0, 0.0, 0.0, 1.0]))


@pytest.mark.parametrize("num_ws", [1, 6])
def test_broadcasting_repeats_w(num_ws):
    w = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(layer, w) for layer in broadcast(w, num_ws).unbind(1))
