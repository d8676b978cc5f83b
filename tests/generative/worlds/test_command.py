from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from generative.worlds import png
from generative.worlds.__main__ import app
from generative.worlds.album import read_request

PLATE = Path(__file__).parents[3] / "docs" / "images" / "world.png"


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(*arguments: str, fails: str = "") -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    assert (result.exit_code != 0) == bool(fails), result.output
    assert fails in result.output
    return result.output


def test_a_folder_gets_pictures_parts_and_a_table(tmp_path):
    out = run("render", "--n", "3", "--seed", "5", "--size", "32", "--out", str(tmp_path / "album"))
    assert "3 pictures" in out
    assert pq.read_table(tmp_path / "album" / "portraits.parquet").num_rows == 3
    assert sorted(p.name for p in (tmp_path / "album" / "parts").iterdir()) == [
        f"0000{i}.png" for i in range(3)
    ]


def test_options_become_the_request_of_the_album(tmp_path):
    options = "--n 2 --size 8 --seed 7 --independent --truth normals,parts --views 2 --arc 90 --device cpu"
    run("render", *options.split(), "--out", str(tmp_path))
    request = read_request(tmp_path)
    assert (request.heads, request.size, request.seed, request.independent) == (2, 8, 7, True)
    assert (request.truth, request.views, request.arc) == (("parts", "normals"), 2, 90)
    assert not (tmp_path / "depth").exists()


def test_one_file_holds_one_portrait(tmp_path):
    run("render", "--n", "2", "--out", str(tmp_path / "a.png"), fails="a .png file holds one portrait")
    run("render", "--size", "16", "--out", str(tmp_path / "a.png"))
    assert png.read_pixels(tmp_path / "a.png").shape == (16, 16, 3)


def test_what_is_wrong_is_said_and_nothing_is_written(tmp_path):
    where = ("--out", str(tmp_path / "album"))
    run("render", *where, "--truth", "shadows", fails="'shadows' is not none")
    run("render", *where, "--arc", "400", fails="--arc")
    run("render", *where, "--n", "0", fails="--n")
    assert not (tmp_path / "album").exists()
    (tmp_path / "letter.txt").touch()
    run("render", "--out", str(tmp_path), fails="not empty")


def test_the_plate_of_the_docs_shows_the_world_as_it_is(tmp_path):
    run("plate", "--out", str(tmp_path / "plate.png"))
    drawn, shipped = png.read_pixels(tmp_path / "plate.png"), png.read_pixels(PLATE)
    assert drawn.shape == shipped.shape
    # Letters may be drawn a little differently elsewhere, portraits may not.
    assert (drawn != shipped).mean() < 0.01
