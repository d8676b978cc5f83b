import hashlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from generative.pixels import to_uint8
from generative.worlds import album, png
from generative.worlds.album import Request, read_cameras, read_factors, write_album
from generative.worlds.portraits import FACTORS, Camera, caption, render

REQUEST = Request(heads=5, size=16, seed=3, truth=("parts", "depth", "normals"), views=2)


class Stop(Exception):
    pass


def content(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("album") / "new"
    write_album(folder, REQUEST)
    return folder


def test_every_row_of_the_table_renders_to_its_files(written):
    table = pq.read_table(written / "portraits.parquet")
    factors, cameras = read_factors(table), read_cameras(table)
    assert table.num_rows == 10 and torch.equal(factors[::2], REQUEST.factors())
    for i, row in enumerate(table.to_pylist()):
        name = Path(row["file"]).name
        again = render(factors[i : i + 1], 16, camera=cameras[i], truth=True)
        pixels = png.read_pixels(written / row["file"])
        assert np.array_equal(pixels, to_uint8(again.image)[0].numpy())
        with Image.open(written / "parts" / name) as parts:
            assert np.array_equal(np.asarray(parts), again.parts[0].numpy())
        assert np.abs(png.read_depth(written / "depth" / name) - again.depth[0, 0].numpy()).max() < 1e-4
        normals = again.normals[0].permute(1, 2, 0).numpy()
        assert np.abs(png.read_normals(written / "normals" / name) - normals).max() < 1e-4
        assert row["caption"] == caption(factors[i : i + 1], seed=3)[0]


def test_the_table_speaks_of_factors_as_people_do(written):
    row = pq.read_table(written / "portraits.parquet").to_pylist()[0]
    assert isinstance(row["glasses"], bool) and isinstance(row["smile"], float)
    assert row["hair_color"] in next(f.values for f in FACTORS if f.name == "hair_color")
    assert (row["head"], row["view"], row["file"]) == (0, 0, "images/00000_0.png")


def test_the_sheet_shows_a_head_in_each_row(written):
    sheet = png.read_pixels(written / "sheet.png")
    assert sheet.shape == (5 * 16, 2 * 16, 3)
    assert np.array_equal(sheet[32:48, 16:], png.read_pixels(written / "images" / "00002_1.png"))


def test_a_sheet_is_filled_up_with_white(tmp_path):
    write_album(tmp_path, Request(heads=9, size=8, truth=()))
    sheet = png.read_pixels(tmp_path / "sheet.png")
    assert sheet.shape == (16, 64, 3) and (sheet[8:, 8:] == 255).all() and (sheet[8:, :8] != 255).any()
    assert {path.name for path in tmp_path.iterdir()} == {"images", "portraits.parquet", "sheet.png"}


def test_views_span_their_arc_around_the_front():
    assert Request(heads=1).cameras() == [Camera()]
    yaws = [camera.yaw for camera in Request(heads=1, views=3, arc=90).cameras()]
    assert yaws == pytest.approx([-torch.pi / 4, 0, torch.pi / 4])
    turn = [camera.yaw for camera in Request(heads=1, views=4, arc=360).cameras()]
    assert turn == pytest.approx([0, torch.pi / 2, torch.pi, 3 * torch.pi / 2])


@pytest.mark.parametrize("done", [4, 8])
def test_an_interrupted_album_ends_with_the_same_bytes_even_after_a_half_written_file(
    tmp_path, monkeypatch, done
):
    monkeypatch.setattr(album, "HEADS_AT_ONCE", 2)
    request = Request(heads=9, size=8, truth=("parts",))
    write_album(tmp_path / "whole", request)

    def stop(heads: int) -> None:
        if heads == done:
            raise Stop

    with pytest.raises(Stop):
        write_album(tmp_path / "cut", request, callback=stop)
    last = tmp_path / "cut" / "parts" / request.name(done - 1, 0)
    last.write_bytes(last.read_bytes()[:20])
    assert not (tmp_path / "cut" / "images" / request.name(done, 0)).exists()
    again: list[int] = []
    write_album(tmp_path / "cut", request, callback=again.append)
    assert again[0] == done  # only the last batch is painted again
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_a_folder_with_something_else_is_left_alone(tmp_path, written):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="not empty"):
        write_album(tmp_path, REQUEST)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    before = content(written)
    with pytest.raises(ValueError, match="another album"):
        write_album(written, REQUEST.model_copy(update={"seed": 4}))
    assert content(written) == before
    (tmp_path / "portraits.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="holds no album"):
        write_album(tmp_path, REQUEST)


def test_an_album_in_order_of_its_heads_has_names_that_sort(written):
    names = [Request(heads=200_001).name(head, 0) for head in (0, 99_999, 200_000)]
    assert names == sorted(names) and len({len(name) for name in names}) == 1
