import numpy as np
import torch

from generative.pixels import from_uint8, to_uint8


def test_bytes_are_those_of_both_official_formulas():
    x = torch.linspace(-1.5, 1.5, 3001)
    ours = to_uint8(x.reshape(1, 1, 1, -1))[0, 0, :, 0].numpy()

    truncated = (x * 127.5 + 128).clamp(0, 255).to(torch.uint8).numpy()  # stylegan2-ada-pytorch
    rounded = np.floor((np.clip(x.double().numpy(), -1, 1) + 1) / 2 * 255 + 0.5)  # rosinality, genforce

    assert np.array_equal(ours, truncated)
    assert np.abs(ours - rounded).max() <= 1
    assert (ours != rounded).mean() < 1e-3


def test_bytes_survive_the_way_to_floats_and_back():
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    assert torch.equal(to_uint8(from_uint8(images)), images)
