from pathlib import Path

import pytest
import torch

from bench.editing_study import measuring, tables
from bench.editing_study.editors import Editor, Finder
from bench.editing_study.measuring import Score, Trial
from bench.editing_study.people import FACTORS, Model, People, columns, mixed
from bench.editing_study.records import Records

QUICK = ("regression", "interfacegan", "stylespace", "sefa", "ganspace")  # the others learn for minutes


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load(Path("model_repo/portraits"))


@pytest.fixture(scope="module")
def finder(model: Model) -> Finder:
    samples = People.draw(model, range(240))
    return Finder(model, samples, mixed(model, samples, torch.Generator().manual_seed(0)))


@pytest.fixture(scope="module")
def people(model: Model) -> People:
    return People.draw(model, range(1000, 1012))


def test_an_edit_of_no_strength_changes_nothing(finder: Finder, model: Model, people: People) -> None:
    whole = model.generator.style_rows(people.ws)
    for way, candidates in finder.ways.items():
        if not way[0].startswith(QUICK):
            continue
        codes = candidates("smile")[0].move(people, 0.0)
        expected = whole if "styles" in codes else people.ws
        torch.testing.assert_close(next(iter(codes.values())), expected, atol=1e-5, rtol=1e-5, msg=str(way))


def test_the_turned_head_of_the_regression_is_measured_as_a_turned_head(
    finder: Finder, model: Model, people: People
) -> None:
    [editor] = finder.ways["regression", "w"]("yaw")
    score = measuring.score(model, people, editor, "yaw", people.seen.features)
    assert score.moves["yaw"] == pytest.approx(1, abs=0.15)
    assert score.ratio("yaw") > 1.5 and score.monotone > 0.9 and 0 < score.identity < 1


def test_a_candidate_that_goes_the_wrong_way_is_turned(people: People) -> None:
    kept = Editor("kept", lambda people, t: {"ws": people.ws * t})
    trials = [Trial(kept, {"smile": -1.0, "age": 0.1}), Trial(kept, {"smile": 0.2, "age": 0.0})]
    chosen = measuring.best(trials, "smile")
    assert torch.equal(chosen.move(people, 1.0)["ws"], -people.ws)


def test_factors_of_mixed_samples_are_read_from_their_own_pictures(finder: Finder, model: Model) -> None:
    read = columns(finder.mixed.seen, model.readouts)
    assert read.shape == (240, sum(r.kind != "categorical" for r in model.readouts.values()))
    assert not torch.equal(finder.mixed.ws[:, 0], finder.mixed.ws[:, -1])


def test_scores_that_were_kept_are_read_again_and_the_leak_is_named(tmp_path: Path) -> None:
    records, way = Records(tmp_path), ("a method, of ours", "w+")
    moves = dict.fromkeys(FACTORS, 0.0) | {"smile": 1.0, "age": -0.5}
    kept = Score("", 2.0, moves, others=0.1, identity=0.8, monotone=1.0, strangeness=1.0)
    records.put(way, "smile", kept, torch.zeros(1, 4, 4, 3, dtype=torch.uint8))
    assert records.get(way, "smile") == kept and records.get(way, "age") is None
    row = tables.tables([way], (), records)["ratios"].splitlines()[-1]
    assert "2.0 age" in row and "0 of 1" in row
