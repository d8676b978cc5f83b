"""A whole evaluation: each number is that of the metric by itself on pictures made by hand."""

import json

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from generative.generator import sample_z
from generative.metrics.__main__ import app
from generative.metrics.evaluation import METRICS, Plan, evaluate
from generative.metrics.examiner import Examiner, plain_run
from generative.metrics.extractors import ShippedFeatures
from generative.metrics.factor_distance import factor_distances
from generative.metrics.frechet import frechet_distance
from generative.metrics.pictures import Renders, noisy, rendered
from generative.metrics.precision_recall import precision_recall
from generative.pixels import from_uint8, to_uint8
from generative.worlds import portraits

from .conftest import SIDE, tiny

N = 48


@pytest.fixture
def found(examiner):
    return evaluate(examiner, Plan(METRICS, N, seed=3), Renders(N, SIDE, 3), plain_run(examiner))


def in_8_bits(images: torch.Tensor) -> torch.Tensor:
    return from_uint8(to_uint8(images))


def test_every_number_is_that_of_the_metric_on_the_pictures(found, generator, network) -> None:
    samples = in_8_bits(generator(sample_z(range(3, 3 + N), generator)))
    real = from_uint8(Renders(N, SIDE, 3).pictures(range(N)))
    a, b = network.embed(samples), network.embed(real)
    row = found.report.sets[0]
    assert row.name == "samples"
    assert row.fid == pytest.approx(frechet_distance(a, b), rel=1e-3)
    shares = precision_recall(b, a)
    assert (row.precision, row.recall) == pytest.approx((shares.precision, shares.recall), abs=0.05)
    kinds = {f.name: f.kind for f in portraits.FACTORS}
    by_hand = factor_distances(network.factors(real), network.factors(samples), kinds)
    for score, distance in zip(found.report.factors, by_hand, strict=True):
        assert score.distance == pytest.approx(distance.distance, rel=1e-3, abs=0.03)


def test_the_controls_are_other_renders_with_and_without_noise(found, network) -> None:
    real, others = Renders(N, SIDE, 3), Renders(N, SIDE, 3, draw=1)
    assert not torch.equal(real.factors, others.factors)
    pictures = others.pictures(range(N))
    for row, shown in zip(found.report.sets[1:], (pictures, noisy(pictures, range(N), 3)), strict=True):
        expected = frechet_distance(network.embed(from_uint8(shown)), network.embed(_shown(real)))
        assert row.fid == pytest.approx(expected, rel=1e-3)


def _shown(renders: Renders) -> torch.Tensor:
    return from_uint8(renders.pictures(range(len(renders))))


def test_the_same_plan_gives_the_same_report_and_another_seed_another(found, examiner) -> None:
    run = plain_run(examiner)
    again = evaluate(examiner, Plan(METRICS, N, seed=3), Renders(N, SIDE, 3), run)
    other = evaluate(examiner, Plan(METRICS, N, seed=4), Renders(N, SIDE, 4), run)
    assert again.report == found.report and torch.equal(again.sheet, found.sheet)
    assert other.report.sets != found.report.sets


def test_progress_rises_to_the_end_and_may_stop_the_work(examiner) -> None:
    heard: list[float] = []
    evaluate(
        examiner,
        Plan(METRICS, N),
        Renders(N, SIDE, 0),
        plain_run(examiner),
        lambda share, _: heard.append(share),
    )
    assert heard == sorted(heard) and heard[0] < 0.2 and heard[-1] == 1

    def stop(share: float, _: str) -> None:
        if share > 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        evaluate(examiner, Plan(METRICS, N), Renders(N, SIDE, 0), plain_run(examiner), stop)


def test_only_what_is_asked_for_is_reported(examiner) -> None:
    run = plain_run(examiner)
    report = evaluate(
        examiner, Plan(("ppl",), N, path_space="z", path_sampling="end"), Renders(N, SIDE, 0), run
    ).report
    assert report.plain().keys() == {"extractor", "count", "psi", "seed", "ppl"}
    assert report.ppl["space"] == "z" and report.ppl["length"] > 0
    report = evaluate(examiner, Plan(("fid",), N), Renders(N, SIDE, 0), run).report
    assert report.sets[0].model_dump(exclude_none=True).keys() == {"name", "fid"}


def test_truncation_moves_samples_towards_the_average(examiner) -> None:
    run, reference = plain_run(examiner), Renders(N, SIDE, 0)
    lengths = [
        evaluate(examiner, Plan(("fid", "pr"), N, psi=psi), reference, run)
        .sheet[:, 0]
        .float()
        .var(dim=0)
        .mean()
        for psi in (0.2, 1.0)
    ]
    assert lengths[0] < 0.3 * lengths[1]


def test_classes_are_drawn_or_given(network) -> None:
    generator = tiny(c_dim=3)
    examiner = Examiner(generator, ShippedFeatures(network), network)
    run, reference = plain_run(examiner), Renders(N, SIDE, 0)
    sheets = [
        evaluate(examiner, Plan(("fid",), N, class_index=index), reference, run).sheet
        for index in (None, 0, 1)
    ]
    assert not torch.equal(sheets[1], sheets[2])
    same = (sheets[0] == sheets[1])[:, 0].flatten(1).all(dim=1)
    assert 0 < same.sum() < len(same)


def test_factors_need_a_network_that_reads_them(generator, network) -> None:
    examiner = Examiner(generator, ShippedFeatures(network))
    with pytest.raises(ValueError, match="reads them"):
        evaluate(examiner, Plan(("factors",), N), Renders(N, SIDE, 0), plain_run(examiner))


def test_the_sheet_shows_what_is_nearest(examiner, network) -> None:
    """Samples that are copies of the reference find themselves."""
    sheet = evaluate(examiner, Plan(("fid",), N), Renders(N, SIDE, 0), plain_run(examiner)).sheet
    assert sheet.shape == (8, 4, SIDE, SIDE, 3)
    real = Renders(N, SIDE, 0).pictures(range(N))
    features = network.embed(from_uint8(real))
    own = network.embed(from_uint8(sheet[:, 0]))
    nearest = torch.cdist(own, features).argmin(dim=1)
    assert torch.equal(sheet[:, 1], real[nearest])


# --- reference pictures ----------------------------------------------------------------------------------


def test_renders_follow_from_seed_and_draw() -> None:
    one = Renders(5, SIDE, seed=1)
    assert torch.equal(one.pictures([0, 3]), Renders(5, SIDE, seed=1).pictures([0, 3]))
    assert torch.equal(one.pictures([3]), rendered(one.factors[[3]], SIDE))
    for other in (Renders(5, SIDE, seed=2), Renders(5, SIDE, seed=1, draw=1)):
        assert not torch.equal(one.factors, other.factors)


def test_noise_is_of_five_per_cent_and_follows_from_the_row() -> None:
    grey = torch.full((4, 32, 32, 3), 128, dtype=torch.uint8)
    found = noisy(grey, range(4), seed=0)
    assert found.float().std() == pytest.approx(0.05 * 255, rel=0.03)
    assert torch.equal(found[2:], noisy(grey[2:], range(2, 4), seed=0))


# --- the command -----------------------------------------------------------------------------------------


@pytest.fixture
def command(folder):
    def run(*arguments: str):
        return CliRunner().invoke(app, ["--model", str(folder), "--count", str(N), *arguments])

    return run


def test_the_command_prints_json_or_tables_and_writes_the_sheet(command, tmp_path) -> None:
    result = command("--metrics", "fid,kid,pr,factors", "--sheet", str(tmp_path / "sheet.png"))
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [s["name"] for s in found["sets"]] == ["samples", "renders", "renders with 5 % noise"]
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (8 * SIDE, 4 * SIDE, 3)
    tables = command("--metrics", "fid,ppl,factors,identity", "--markdown").stdout
    assert f"| against {N} renders | Fréchet distance |" in tables
    assert f"| samples | {found['sets'][0]['fid']:.3g} |" in tables
    assert all(name in tables for name in ("smile", "Perceptual path length (w, full)", "turned head"))


def test_a_folder_of_pictures_may_be_the_reference(command, tmp_path) -> None:
    for i in range(20):
        pixels = np.random.default_rng(i).integers(0, 255, (24, 40, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{i:02d}.png"), pixels)
    (tmp_path / "notes.txt").write_text("no picture")
    found = json.loads(command("--metrics", "fid,pr", "--reference", str(tmp_path)).stdout)
    assert found["reference"] == {"kind": "pictures", "count": 20}
    assert [s["name"] for s in found["sets"]] == ["samples"]


def test_unknown_metrics_are_named(command) -> None:
    result = command("--metrics", "fid,psnr")
    assert result.exit_code == 2 and "psnr" in result.output
