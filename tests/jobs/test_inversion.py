"""What an inversion is where its request leaves things out."""

import pytest

from jobs.inversion import Inversion

SPACES = ("z", "w", "w+", "s", "p", "p+")
MASK = {"type": "mask", "image": "img_" + "0" * 64}


def completed(*, encoder: str | None = "w+", spaces: tuple[str, ...] = SPACES, **given: object) -> Inversion:
    return Inversion.model_validate(given).completed(encoder, spaces)


@pytest.mark.parametrize(
    "given, method, space",
    [
        ({}, "hybrid", "w+"),
        ({"encoder": None}, "projector", "w"),
        ({"encoder": None, "spaces": ("z",)}, "projector", "z"),
        ({"encoder": "s"}, "hybrid", "s"),
        ({"encoder": "s", "method": "encoder"}, "encoder", "s"),
        ({"encoder": "s", "method": "projector"}, "projector", "w"),
        ({"encoder": "s", "degradation": MASK}, "hybrid", "s"),
        ({"degradation": {"type": "downsample", "factor": 2}}, "hybrid", "w+"),
        ({"degradation": MASK}, "hybrid", "w"),
        ({"degradation": {"type": "gray"}}, "hybrid", "w"),
        ({"degradation": {"type": "jpeg", "quality": 10}}, "hybrid", "w"),
        ({"degradation": {"type": "gray"}, "space": "w+"}, "hybrid", "w+"),
        ({"degradation": {"type": "gray"}, "method": "in_domain"}, "in_domain", "w+"),
    ],
)
def test_method_and_space_follow_the_model_and_the_degradation(given, method, space):
    found = completed(**given)
    assert (found.method, found.space) == (method, space)
    assert found.completed("w+", SPACES).space == space  # once complete, it stays so


@pytest.mark.parametrize(
    "given, pixel, perceptual",
    [
        ({}, 1, 1),
        ({"method": "projector"}, 0, 1),
        ({"degradation": {"type": "noise"}}, 1, 0),
        ({"degradation": {"type": "noise"}, "method": "projector"}, 1, 0),
        ({"degradation": {"type": "noise"}, "losses": {"perceptual": 2}}, 1, 2),
    ],
)
def test_noise_is_compared_by_pixels(given, pixel, perceptual):
    losses = completed(**given).losses
    assert (losses.pixel, losses.perceptual) == (pixel, perceptual)
