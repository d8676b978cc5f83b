import numpy as np
import pytest
import torch
from PIL import Image

from generative.pixels import to_uint8
from generative.worlds import png
from generative.worlds.palettes import PART_COLORS
from generative.worlds.portraits import PARTS, render, sample

ONE = render(sample(1, torch.Generator().manual_seed(0)), 32, truth=True)


def test_a_part_map_is_read_as_labels_and_seen_in_colours(tmp_path):
    png.write_parts(tmp_path / "a.png", ONE.parts[0])
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "P"
        assert np.array_equal(np.asarray(picture), ONE.parts[0].numpy())
        colors = np.array(list(PART_COLORS.values()))
        assert np.array_equal(np.asarray(picture.convert("RGB")), colors[ONE.parts[0].numpy()])


def test_every_part_has_a_colour_of_its_own():
    assert tuple(PART_COLORS) == PARTS
    colors = torch.tensor(list(PART_COLORS.values()), dtype=torch.float32)
    assert torch.pdist(colors).min() > 20


def test_depth_comes_back_to_half_a_step(tmp_path):
    png.write_depth(tmp_path / "a.png", ONE.depth[0])
    assert np.abs(png.read_depth(tmp_path / "a.png") - ONE.depth[0, 0].numpy()).max() <= 0.51e-4
    with Image.open(tmp_path / "a.png") as picture:
        assert np.asarray(picture).max() == 60_000  # the backdrop


def test_normals_come_back_in_their_order(tmp_path):
    png.write_normals(tmp_path / "a.png", ONE.normals[0])
    there = ONE.normals[0].permute(1, 2, 0).numpy()
    assert np.abs(png.read_normals(tmp_path / "a.png") - there).max() < 2e-5


def test_a_picture_has_red_first_for_other_readers(tmp_path):
    png.write_image(tmp_path / "a.png", ONE.image[0])
    with Image.open(tmp_path / "a.png") as picture:
        assert np.array_equal(np.asarray(picture), to_uint8(ONE.image)[0].numpy())
    assert np.array_equal(png.read_pixels(tmp_path / "a.png"), to_uint8(ONE.image)[0].numpy())


def test_what_cannot_be_written_or_read_is_an_error(tmp_path):
    with pytest.raises(OSError, match="cannot write"):
        png.write_image(tmp_path / "missing" / "a.png", ONE.image[0])
    with pytest.raises(OSError, match="cannot read"):
        png.read_pixels(tmp_path / "a.png")
