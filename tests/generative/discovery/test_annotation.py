"""What a direction moves, against people whose factors move as we say."""

import pytest
import torch

from generative.discovery import annotation
from generative.discovery.annotation import (
    STEPS,
    Look,
    annotate,
    best_layers,
    main_factor,
    movement,
    reach,
    shifted,
    sigma_of,
    strangeness,
    stride,
)
from generative.editing.direction import Direction
from generative.networks.feature_network import Readout
from generative.spaces import Space
from generative.statistics import w_statistics

N = 200
READOUTS = (
    Readout(name="age", kind="continuous", std=2.0),
    Readout(name="hat", kind="binary"),
    Readout(name="hair_color", kind="categorical", classes=3),
)


def people(age: float = 0.0, hat: float = 0.3, recoloured: int = 0, shift: float = 0.0) -> Look:
    """`recoloured`: how many have another hair colour; `shift`: of all features."""
    rng = torch.Generator().manual_seed(0)
    hair = torch.zeros(N)
    hair[:recoloured] = 1.0
    readings = {"age": torch.randn(N, generator=rng) + age, "hat": torch.full((N,), hat), "hair_color": hair}
    return Look(torch.randn(N, 5, generator=rng) + shift, readings)


def test_single_style_channels_are_followed_further_than_other_directions():
    channel = Direction("c", Space.S, torch.tensor([0.0, -1.0, 0.0]), unit="sigma")
    assert STEPS[-1] * stride(channel) == pytest.approx(10)
    assert stride(Direction("s", Space.S, torch.ones(3))) == 1
    assert stride(Direction("w", Space.W, torch.tensor([0.0, 1.0]))) == 1


def test_movement_is_in_the_worlds_deviations_in_probability_and_in_changed_people():
    moved = movement(people(), people(age=3.0, hat=0.8, recoloured=50), READOUTS)
    assert moved == pytest.approx({"age": 1.5, "hat": 0.5, "hair_color": 0.25}, rel=1e-5)


def test_a_direction_is_named_after_what_it_moves_and_downwards_says_so():
    for sign, name in ((1, "age"), (-1, "less-age")):
        after = [people(age=sign * step, hat=0.3 + 0.02 * step) for step in STEPS]
        found = annotate(people(), people().features, after, {}, READOUTS)
        assert found.name == name
        assert found.effects["age"] == pytest.approx(sign * 1.5, rel=1e-5)
        assert found.moves["hat"] == pytest.approx([0.02 * step for step in STEPS], abs=1e-6)
        assert found.reach == (-3, 3) and found.layers is None


def test_what_moves_little_or_two_things_alike_has_no_name():
    assert main_factor({"age": 0.2, "hat": 0.0}) is None
    assert main_factor({"age": 1.0, "hat": -0.9}) is None
    assert main_factor({"age": 1.0, "hat": -0.3}) == "age"
    assert main_factor({}) is None


def test_categories_have_no_sign():
    after = [people(recoloured=150) for _ in STEPS]
    found = annotate(people(), people().features, after, {}, READOUTS)
    assert found.effects["hair_color"] == pytest.approx(0.75) and found.name == "hair-color"


def test_without_factors_there_is_a_range_and_no_name():
    after = [people(shift=0.0 if abs(step) < 3 else 9.0) for step in STEPS]
    found = annotate(people(), people().features, after, {}, ())
    assert (found.name, found.moves, found.reach) == (None, {}, (-2, 2))


def test_the_best_layers_keep_the_effect_and_move_least_else():
    whole = {"age": 1.0, "hat": 0.5}
    groups = {
        (0, 1): {"age": 0.1, "hat": 0.0},  # pure, but too weak
        (2, 3): {"age": 0.8, "hat": 0.1},
        (4, 5): {"age": 0.9, "hat": 0.4},
    }
    assert best_layers(whole, groups, "age") == (2, 3)
    assert best_layers({"age": 1.0, "hat": 0.0}, groups, "age") is None
    assert best_layers(whole, {}, "age") is None


def test_the_range_ends_where_the_movement_turns_or_pictures_break():
    calm = [1.0] * len(STEPS)
    assert reach(calm, [-3, -2, -1, 1, 2, 1.5]) == (-3, 2)
    assert reach(calm, [-1, -2, -1, 1, 2, 3]) == (-2, 3)
    assert reach([9, 1, 1, 1, 1, 1], None) == (-2, 3)
    assert reach([1, 1, 9, 9, 1, 1], None) == (0, 0)


def test_samples_are_as_strange_as_themselves():
    features = people().features
    assert strangeness(features, features) == pytest.approx(1)
    assert strangeness(features + 3, features) > 2
    still = torch.cat([features, torch.ones(N, 1)], dim=1)
    assert strangeness(still, still) == pytest.approx(1)


def test_one_sigma_moves_latents_by_their_spread():
    torch.manual_seed(0)
    w = torch.randn(5000, 4) * torch.tensor([1.0, 2.0, 3.0, 0.5])
    statistics = w_statistics(w)
    axis = torch.tensor([0.0, 7.0, 0.0, 0.0])  # any length
    for direction in (
        Direction("a", Space.W, axis),
        Direction("a", Space.W_PLUS, torch.stack([axis, axis, 0 * axis])),
    ):
        ws = torch.zeros(1, 3, 4)
        moved = shifted(ws, direction, sigma_of(direction, statistics), None)
        assert float(moved[0, 0, 1]) == pytest.approx(float(w[:, 1].std()), rel=1e-3)
    assert sigma_of(Direction("a", Space.Z, axis), None) == pytest.approx(1 / 7)
    assert sigma_of(Direction("a", Space.W, axis / 7, unit="sigma", sigma=0.7), statistics) == 0.7


def test_a_distance_is_shifted_like_any_vector():
    direction = Direction("a", Space.W, torch.tensor([1.0, 0.0]), unit="distance", layers=(1,))
    ws = torch.ones(1, 3, 2)
    moved = shifted(ws, direction, 2.0, None)
    assert moved[0, :, 0].tolist() == [1, 3, 1]
    assert shifted(ws, direction, 2.0, (0,))[0, :, 0].tolist() == [3, 1, 1]


def test_the_steps_lie_on_both_sides():
    assert tuple(-step for step in reversed(STEPS)) == STEPS
    assert annotation.CLEAR > 1
