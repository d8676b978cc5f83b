import pytest
import torch

from generative.metrics.judging import (
    CHANGES,
    DISTURBANCES,
    IDENTITY,
    MOMENT,
    Judge,
    Sitting,
    Trials,
    agreement,
    blur,
    by_factors,
    fewer_changes,
    jpeg,
    mean_squared,
    noise,
    only_disturbed,
    same_person,
    shift,
)
from generative.metrics.judging import _mixed as mixed
from generative.networks.feature_network import FeatureNetwork, FeatureRecord, Readout
from generative.worlds.portraits import FACTORS, NAMES, render, sample

PEOPLE = sample(12, torch.Generator().manual_seed(1))
STRANGERS = sample(12, torch.Generator().manual_seed(2))
IMAGES = render(PEOPLE, 32).image


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_blurred_point_is_a_gaussian_and_flat_pictures_stay_flat():
    point = torch.zeros(1, 3, 33, 33)
    point[:, :, 16, 16] = 1
    x = torch.arange(33.0) - 16
    bell = torch.exp(-0.5 * (x[:, None] ** 2 + x[None] ** 2) / 1.5**2)
    assert torch.allclose(blur(point, 1.5)[0, 1], bell / bell.sum(), atol=1e-5)
    assert torch.allclose(blur(torch.full((1, 3, 20, 20), 0.4), 2.0), torch.tensor(0.4), atol=1e-6)


def test_a_shift_moves_every_pixel_and_repeats_the_edge():
    moved = shift(IMAGES, 3)
    assert torch.equal(moved[..., 3:], IMAGES[..., :-3])
    assert torch.equal(moved[..., 0], IMAGES[..., 0])


def test_noise_has_the_spread_that_was_asked_for_and_is_the_same_each_time():
    added = noise(IMAGES, 0.2) - IMAGES
    assert added.std().item() == pytest.approx(0.2, rel=0.02)
    assert torch.equal(noise(IMAGES, 0.2), noise(IMAGES, 0.2))


def test_jpeg_loses_more_at_lower_quality():
    errors = [mean_squared(IMAGES, jpeg(IMAGES, q)).mean() for q in (95, 60, 20)]
    assert errors[0] < errors[1] < errors[2] and errors[0] < 0.004


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_changes_what_it_says_and_stays_in_the_world(name):
    changed = CHANGES[name](PEOPLE, STRANGERS)
    render(changed, 8)  # refuses what is out of range
    columns = {NAMES[i] for i in (changed != PEOPLE).any(0).nonzero().flatten().tolist()}
    if name == "another person":
        assert columns <= set(IDENTITY) and len(columns) > 10
    elif name == "another moment":
        assert columns <= set(MOMENT) and len(columns) > 8
    else:
        assert len(columns) == 1 and (changed != PEOPLE).any(1).all()


def test_a_factor_belongs_to_the_person_or_to_the_moment():
    assert set(IDENTITY) | set(MOMENT) == {f.name for f in FACTORS} and not set(IDENTITY) & set(MOMENT)


def test_mixed_people_have_as_many_factors_of_the_stranger_as_asked_where_they_differ():
    counts = torch.arange(1, 13)[:, None]
    people = mixed(PEOPLE, STRANGERS, counts, rng())
    same = (PEOPLE == STRANGERS).sum(1)
    assert torch.equal((people != PEOPLE).sum(1), counts[:, 0].clamp(max=(27 - same)))
    assert ((people == PEOPLE) | (people == STRANGERS)).all()


def test_a_distance_of_factors_agrees_with_the_truth_and_its_opposite_never():
    """Pictures stand for their number of changes: what a perfect distance would see."""
    trials = Trials(*(torch.full((6, 3, 2, 2), v) for v in (0.0, 0.1, 0.2)))
    assert agreement(mean_squared, trials) == 1
    assert agreement(lambda a, b: -mean_squared(a, b), trials) == 0


def test_the_larger_the_gap_the_easier_the_choice():
    shares = [agreement(mean_squared, fewer_changes(60, gap, 16, rng())) for gap in (2, 12, 22)]
    assert shares[0] < shares[1] < shares[2] and shares[2] > 0.9
    with pytest.raises(ValueError, match="gap"):
        fewer_changes(2, 27, 16, rng())


def test_the_same_person_is_near_and_another_far():
    trials, again = same_person(20, 16, rng(3)), rng(3)
    people, strangers = sample(20, again), sample(20, again)
    assert torch.equal(trials.reference, render(people, 16).image)
    assert torch.equal(trials.near, render(CHANGES["another moment"](people, strangers), 16).image)
    assert torch.equal(trials.far, render(CHANGES["another person"](people, strangers), 16).image)


@pytest.mark.parametrize("name", DISTURBANCES)
def test_what_is_only_disturbed_is_near_and_a_changed_face_far(name):
    level = DISTURBANCES[name].levels[0]
    trials = only_disturbed(5, name, level, 16, rng(4))
    assert torch.equal(trials.near, DISTURBANCES[name].apply(trials.reference, level))
    assert ((trials.far - trials.reference).abs().flatten(1).amax(1) > 0.05).all()


def test_a_judge_counts_in_distances_between_strangers():
    sitting = Sitting(8, 16, rng())
    judge = Judge(mean_squared, sitting)
    assert Judge(lambda a, b: 2 * mean_squared(a, b), sitting).disturbed("noise") == pytest.approx(
        judge.disturbed("noise")
    )
    whole = mean_squared(sitting.images, sitting.others).mean().item()
    glasses = render(CHANGES["glasses"](sitting.people, sitting.strangers), 16).image
    expected = mean_squared(sitting.images, glasses).mean().item() / whole
    assert judge.changed("glasses") == pytest.approx(expected)


def test_factors_that_a_network_reads_are_compared_in_standard_scores_and_probabilities():
    readouts = (
        Readout(name="yaw", kind="continuous", mean=0.5, std=2.0),
        Readout(name="glasses", kind="binary"),
        Readout(name="hair_color", kind="categorical", classes=2),
    )
    network = FeatureNetwork(FeatureRecord(resolution=8, channels=(4, 4), readouts=readouts)).eval()
    outputs = iter(torch.tensor([[[0.0, 0.0, 0.0, 0.0]], [[3.0, 50.0, 0.0, 50.0]]]))
    network.read = lambda last: next(outputs)
    found = by_factors(network)(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
    assert found.tolist() == pytest.approx([(9 + 0.25 + 0.5 * (0.25 + 0.25)) / 3])
