"""ReStyle's loop against the published one, on toy networks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from generative.inversion.restyle import restyle

VECTORS = Path(__file__).parents[4] / "shared/conformance/methods/encoders/restyle_loop.npz"
TOLERANCE = 1e-5


def test_codes_and_pictures_of_all_passes_agree():
    if not VECTORS.exists():
        pytest.skip("the vectors are not beside this repository")
    expected = dict(np.load(VECTORS))
    encoder, decoder, average, x = (
        torch.from_numpy(expected[name]) for name in ("encoder", "decoder", "latent_avg", "x")
    )
    seen = []

    def encode(images, ws):
        seen.append(images)
        return ws + (images.flatten(1) @ encoder).unflatten(1, ws.shape[1:])

    def paint(ws):
        return torch.tanh(ws.flatten(1) @ decoder).unflatten(1, (3, 16, 16))

    passes = list(restyle(x, encode, paint, average))

    ours = {
        "avg_image": seen[0][0, 3:],
        "latents": torch.stack([p.ws for p in passes], dim=1),
        "images": torch.stack([p.images for p in passes], dim=1),
    }
    assert set(ours) | {"encoder", "decoder", "latent_avg", "x"} == set(expected)
    for name, value in ours.items():
        assert tuple(value.shape) == expected[name].shape
        assert (
            np.abs(value.double().numpy() - expected[name]).max() < TOLERANCE * np.abs(expected[name]).max()
        )


def test_an_encoder_that_corrects_half_of_the_error_halves_it_in_every_pass():
    """The code is the picture, so what is left of the error is known."""
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def encode(seen, ws):
        wanted, painted = seen.split(3, dim=1)
        return ws + (wanted - painted).flatten(2).mT / 2

    def paint(ws):
        return ws.mT.unflatten(2, (4, 4))

    average = torch.zeros(16, 3)
    for k, (_, painted) in enumerate(restyle(images, encode, paint, average, passes=4), start=1):
        torch.testing.assert_close(images - painted, images / 2**k)


def test_the_encoder_sees_what_was_painted_at_the_size_of_the_picture():
    sizes = []

    def encode(seen, ws):
        sizes.append(tuple(seen.shape))
        return ws

    list(
        restyle(
            torch.zeros(2, 3, 6, 8), encode, lambda ws: torch.zeros(len(ws), 3, 24, 32), torch.zeros(4, 5), 2
        )
    )

    assert sizes == [(2, 6, 6, 8)] * 2
