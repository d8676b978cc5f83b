from pathlib import Path

import pytest
import torch
from PIL import Image

from bench import perceptual
from generative.metrics.judging import CHANGES, DISTURBANCES, Sitting


@pytest.fixture
def numbers() -> tuple[perceptual.Graded, perceptual.Changed, perceptual.Agreed]:
    """What a perfect perceptual distance would get, and a squared error that knows nothing."""
    names = ("squared error", "perceptual", "factors read")
    graded = {d: {name: [0.1, 0.2, 0.3, 0.4, 0.5] for name in names} for d in DISTURBANCES}
    changed = {change: {name: 0.1 for name in names} for change in CHANGES}
    choices = ("4 factors fewer changed", "shift by 1 px, not a changed face")
    agreed = {choice: {"squared error": 0.5, "perceptual": 0.9, "factors read": 0.9} for choice in choices}
    return graded, changed, agreed


def test_the_limits_hold_for_good_numbers_and_fail_for_bad_ones(numbers):
    graded, _, agreed = numbers
    assert perceptual.fine(graded, agreed)
    falling = graded | {"blur": graded["blur"] | {"perceptual": [0.5, 0.4, 0.3, 0.2, 0.1]}}
    assert not perceptual.fine(falling, agreed)
    for choice, name in (
        ("4 factors fewer changed", "perceptual"),
        ("shift by 1 px, not a changed face", "factors read"),
    ):
        assert not perceptual.fine(graded, agreed | {choice: agreed[choice] | {name: 0.4}})


def test_a_report_names_every_number_and_a_picture_is_drawn(numbers, tmp_path: Path, capsys):
    perceptual.report(*numbers)
    told = capsys.readouterr().out
    assert all(name in told for name in ("iris colour", "JPEG", "shift by 1 px", "mean"))
    sitting = Sitting(6, perceptual.SIZE, torch.Generator().manual_seed(0))
    perceptual.draw(tmp_path / "a.png", sitting, *numbers)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 1000 and len(picture.convert("RGB").getcolors(10**7)) > 100
