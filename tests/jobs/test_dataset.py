"""What becomes of sample i: seeds, shares and splits; and that the table of factors is the world's."""

import json
from collections import Counter

import pytest
from pydantic import ValidationError

from generative.worlds.factors import FACTORS as WORLD
from jobs.dataset import MAX_TRIES, DatasetInput
from jobs.factors import BINARY, CATEGORICAL, CONTINUOUS


def given(**fields):
    return DatasetInput.model_validate_json(json.dumps({"count": 1000} | fields))


def test_the_factors_are_those_of_the_world():
    kinds = {
        kind: [f.name for f in WORLD if f.kind == kind] for kind in ("continuous", "binary", "categorical")
    }
    assert (list(CONTINUOUS), list(BINARY), list(CATEGORICAL)) == tuple(kinds.values())
    assert {f.name: f.values for f in WORLD if f.kind == "categorical"} == CATEGORICAL


def test_no_two_samples_share_a_seed_whatever_is_tried():
    data = given(seed=2**32 - 500)
    seeds = [data.seed_of(i, attempt) for i in range(1000) for attempt in range(MAX_TRIES)]
    assert len(set(seeds)) == 1000 * MAX_TRIES and max(seeds) < 2**32
    assert [given(seed=7).seed_of(i) for i in (0, 1, 999)] == [7, 8, 1006]


@pytest.mark.parametrize("seed", [0, 1, 12345])
@pytest.mark.parametrize("start", [0, 999_000])
def test_shares_and_splits_hold_in_every_run_together_too(seed, start):
    mix = [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.2}]
    data = given(seed=seed, mix=mix, splits={"train": 0.9, "test": 0.1})
    run = range(start, start + 1000)
    counts = Counter((data.share_of(i), data.split_of(i)) for i in run)
    for share, part in ((0, 0.5), (1, 0.2), (None, 0.3)):
        for split, of_split in (("train", 0.9), ("test", 0.1)):
            assert abs(counts[share, split] - 1000 * part * of_split) < 12


def test_a_longer_dataset_begins_like_a_shorter_one():
    mix = [{"name": "a", "share": 0.5}]
    short, long = given(mix=mix), given(count=5000, mix=mix)
    assert [short.share_of(i) for i in range(1000)] == [long.share_of(i) for i in range(1000)]


def test_seeds_that_are_given_are_taken_in_their_order():
    data = given(count=None, seeds="5-7,100,0-1")
    assert data.samples == 6
    assert [data.seed_of(i) for i in range(6)] == [5, 6, 7, 100, 0, 1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"count": None}, "either count or seeds"),
        ({"seeds": "1-5"}, "either count or seeds"),
        ({"count": None, "seeds": "1-5,5"}, "counts once"),
        ({"count": None, "seeds": "0-4294967295"}, "at most"),
        ({"count": None, "seeds": "9-5"}, "upwards"),
        ({"mix": [{"name": "a", "share": 0.7}, {"name": "b", "share": 0.7}]}, "more than 1"),
        ({"mix": [{"name": "a", "share": 0.1}, {"name": "a", "share": 0.1}]}, "name of its own"),
        ({"splits": {"train": 0.5}}, "1 together"),
        ({"original": False}, "no picture is left"),
        ({"variants": [{"name": "mask", "edits": [{"name": "smile"}]}]}, "other than mask"),
        ({"mix": [{"name": "a", "share": 1, "require": {"age": {"min": 1, "max": 0}}}]}, "above max"),
        ({"mix": [{"name": "a", "share": 1, "require": {"age": {}}}]}, "give min, max"),
    ],
)
def test_what_does_not_go_together_is_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        given(**wrong)
