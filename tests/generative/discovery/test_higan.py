import pytest
import torch

from generative.discovery.higan import (
    carrying,
    layer_strengths,
    manipulate,
    rescore,
    train_from_labels,
    train_from_scores,
)
from generative.spaces import lerp, mix_styles

from .vectors import Vectors


def accuracies(meta, name):
    return [line.split(":")[1].split("=")[0].strip() for line in meta[name]["log"] if "All:" in line]


def test_boundaries_from_scores_and_from_labels_agree_with_the_official_code():
    stored = Vectors("higan", "train_boundary")
    scored = train_from_scores(stored["data"], stored["scores"], chosen=200, seed=5)
    labelled = train_from_labels(stored["data"], stored["labels"].bool(), seed=6)
    torch.testing.assert_close(scored.normal[None], stored["boundary_scores"], rtol=0, atol=1e-5)
    torch.testing.assert_close(labelled.normal[None], stored["boundary_labels"], rtol=0, atol=1e-5)
    assert accuracies(stored.meta, "boundary_scores") == [
        f"{found.right} / {found.total}" for found in (scored.validation, scored.remaining)
    ]
    validation = labelled.validation
    assert accuracies(stored.meta, "boundary_labels") == [f"{validation.right} / {validation.total}"]
    stored.assert_all_read()


def test_manipulated_codes_agree_with_the_official_code():
    stored = Vectors("higan", "manipulate")
    w, wp, b = stored["codes_w"], stored["codes_wp"], stored["boundary"][0]
    assert torch.equal(layer_strengths(14), stored["strength"])
    wide = torch.linspace(-3, 3, 5)
    ours = {
        "out_plain": manipulate(w, b, torch.linspace(-3, 3, 7)),
        "out_lw_6_11": manipulate(wp, b, wide, tuple(range(6, 12)), stored["strength"]),
        "out_lw_all_defaults": manipulate(wp, b, wide),
        "out_lw_bwp": manipulate(
            wp, stored["boundary_layerwise"][0], torch.linspace(-2, 2, 3), (0, 1, 2, 3, 8)
        ),
        "out_mix": mix_styles(wp[:2], wp[1:3], [0, 1, 2, 3, 8, 9, 10, 11, 12, 13]),
        "out_interp": lerp(wp[0], wp[1], torch.linspace(0, 1, 5))[None],
    }
    for name, value in ours.items():
        torch.testing.assert_close(value, stored[name], rtol=0, atol=1e-6)
    stored.assert_all_read()


def test_rescoring_finds_the_layers_that_matter():
    """The score reads layers 2 and 9 along the boundary; the others do nothing."""
    rng = torch.Generator().manual_seed(0)
    ws, boundary = torch.randn(50, 14, 8, generator=rng), torch.eye(8)[3]
    found = rescore(ws, boundary, lambda codes: codes[:, 2, 3] + 3 * codes[:, 9, 3])
    expected = torch.zeros(14)
    expected[2], expected[9] = 0.7 * 2, 3 * 2
    torch.testing.assert_close(found.layers, expected, atol=1e-5, rtol=0)
    assert float(found.together) == pytest.approx(0.7 * 2 + 3 * 2, abs=1e-4)


def test_layers_carry_a_boundary_if_they_rise_half_as_much_as_the_best():
    assert carrying(torch.tensor([0.1, 0.5, 1.0, 0.49])) == (1, 2)
    assert carrying(torch.zeros(3)) == ()


def test_only_rises_of_the_score_count():
    ws = torch.zeros(2, 3, 4)
    found = rescore(ws, torch.eye(4)[0], lambda codes: -codes[..., 0].sum(dim=1))
    assert float(found.together) == 0 and found.layers.tolist() == [0, 0, 0]


def test_several_attributes_are_scored_at_once():
    ws = torch.zeros(5, 14, 4)
    found = rescore(ws, torch.eye(4)[0], lambda codes: codes[:, :2, 0], psi=1.0)
    assert found.together.shape == (2,) and found.layers.shape == (14, 2)
    torch.testing.assert_close(found.layers[:2], 2 * torch.eye(2))
