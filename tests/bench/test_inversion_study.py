from pathlib import Path

import pytest
import torch

from bench.inversion_study.measuring import BATCH, PLAN, plan
from bench.inversion_study.records import Record, Records
from bench.inversion_study.restoration import DAMAGES
from bench.inversion_study.subjects import Portraits, as_file
from bench.inversion_study.tables import constants, curve, reached
from jobs.inversion import METHODS


@pytest.fixture
def records(tmp_path: Path) -> Records:
    """Two batches of two pictures."""
    found, pictures = Records(tmp_path), torch.zeros(2, 3, 4, 4)
    found.put("a", 0, Record([{"x": 1.0}, {"x": 2.0}], {"pixel": [4.0, 2.0]}), {"found": pictures})
    found.put("a", 2, Record([{"x": 3.0}, {"x": 6.0}], {"pixel": [2.0, 1.0]}), {"found": pictures + 1})
    return found


def test_records_of_batches_are_read_as_one(records: Records) -> None:
    whole, first = records.get("a"), records.get("a", below=2)
    assert whole is not None and first is not None
    assert whole.mean == {"x": 3.0} and whole.curves == {"pixel": [3.0, 1.5]}
    assert first.mean == {"x": 1.5} and records.next_batch("a") == 4
    pictures = records.pictures("a", "found")
    assert pictures is not None and pictures[:, 0, 0, 0].tolist() == [128, 128, 255, 255]


def test_what_was_not_measured_is_none(records: Records) -> None:
    assert records.get("b") is None and records.pictures("a", "smiling") is None
    assert records.has("a", 2) and not records.has("a", 4)


def test_a_loss_is_the_sum_of_its_terms_and_is_reached_once() -> None:
    losses = curve(
        Record([], {"pixel": [3.0, 2.0, 1.0], "perceptual": [0.5, 0.5, 0.5]}), "pixel + perceptual"
    )
    assert losses == [3.5, 2.5, 1.5]
    assert reached(losses, 2.5) == 2 and reached(losses, 1.0) is None


def test_the_page_tells_the_constants_that_hold() -> None:
    assert constants() in Path("docs/inversion.md").read_text()


def test_every_method_is_planned_but_the_one_without_a_truth() -> None:
    assert {variant.method for variant in PLAN} == set(METHODS) - {"diffusion"}
    assert all(METHODS[variant.method].allows(variant.space) for variant in PLAN)


def test_the_plan_takes_the_first_portraits_of_all_methods_first() -> None:
    numbers = [first for first, _, _ in plan(3 * BATCH)]
    assert numbers == sorted(numbers) and set(numbers) == {0, BATCH, 2 * BATCH}


def test_a_portrait_is_the_same_in_any_selection() -> None:
    some, one = Portraits.draw(2, 3, 16), Portraits.draw(3, 1, 16)
    assert torch.equal(some.images[1:2], one.images) and torch.equal(some.factors[1:2], one.factors)


@pytest.mark.parametrize("damage", DAMAGES)
def test_observations_are_those_of_a_file_and_every_remedy_restores_their_size(damage: str) -> None:
    what, truth = DAMAGES[damage], Portraits.draw(0, 2, 64).images
    constants = what.constants(0, 2, 64)
    observed = what.observe(truth, constants)
    kept = constants.get("mask", torch.ones(1)) * torch.ones_like(observed) > 0
    if damage != "grey":  # three channels of one value, weighted again
        assert torch.equal(observed[kept], as_file(observed)[kept])
    for restored in what.baselines.values():
        assert restored(observed, constants).shape == truth.shape
