"""Files that we write, read back by decoders that we did not write."""

import io
import json
import time
from typing import Any
from xml.etree import ElementTree

import av
import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from workers import encode, plots
from workers.encode import GRID_GAP, GRID_LIMIT, Collage
from workers.provenance import XMP_NAMESPACE, provenance, to_text

ABOUT = provenance("generate", "tiny", "0" * 64, {"psi": 0.7}, seed=7, note="é<\"&'>\\")
TEXT = to_text(ABOUT)
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"


def picture(height: int = 24, width: int = 40, seed: int = 0) -> np.ndarray:
    """A smooth ramp with a little noise, different in every channel."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [x * 255 / width, y * 255 / height, (x + y) * 255 / (height + width)]
    return np.clip(np.stack(planes, axis=-1) + rng.normal(0, 3, (height, width, 3)), 0, 255).astype(np.uint8)


def opened(body: bytes) -> Any:
    return Image.open(io.BytesIO(body))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / max(np.mean((a.astype(float) - b.astype(float)) ** 2), 1e-9))


def xmp(image: Any) -> Any:
    [description] = ElementTree.fromstring(image.info["xmp"]).iter(f"{{{RDF}}}Description")
    return json.loads(description.attrib[f"{{{XMP_NAMESPACE}}}provenance"])


def test_a_png_holds_exactly_the_pixels_in_rgb_order():
    assert np.array_equal(np.asarray(opened(encode.png(picture(), TEXT))), picture())


def test_a_png_carries_its_provenance_as_text_that_pillow_reads():
    with opened(encode.png(picture(), TEXT)) as image:
        image.verify()  # checks every chunk's sum
    with opened(encode.png(picture(), TEXT)) as image:
        image.load()
        assert json.loads(image.text["ganserve"]) == ABOUT


def test_the_same_picture_gives_the_same_bytes_at_any_time():
    files = lambda: [  # noqa: E731
        encode.png(picture(), TEXT),
        encode.jpeg(picture(), 90, TEXT),
        encode.webp(picture(), 90, TEXT),
        encode.npz({"images": picture()[None]}),
        film("mp4", 5),
        film("webp", 5),
    ]
    first = files()
    time.sleep(2.1)  # the times in zip archives have a resolution of two seconds
    assert files() == first


@pytest.mark.parametrize(("format", "pillow"), [("jpeg", "JPEG"), ("webp", "WEBP"), ("png", "PNG")])
def test_each_format_is_what_it_says_and_looks_like_the_picture(format, pillow):
    with opened(encode.picture(picture(), format, 95, TEXT)) as image:
        assert (image.format, image.mode, image.size) == (pillow, "RGB", (40, 24))
        assert psnr(np.asarray(image), picture()) > 28


def test_webp_of_quality_100_loses_nothing():
    assert np.array_equal(np.asarray(opened(encode.webp(picture(), 100, TEXT))), picture())


def test_a_jpeg_carries_its_provenance_in_the_exif_user_comment():
    with opened(encode.jpeg(picture(), 90, TEXT)) as image:
        comment = image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert comment[:8] == b"ASCII\0\0\0" and json.loads(comment[8:]) == ABOUT


@pytest.mark.parametrize("body", [encode.webp(picture(), 90, TEXT), encode.webp(picture(), 100, TEXT)])
def test_a_webp_carries_its_provenance_in_xmp(body):
    with opened(body) as image:
        assert xmp(image) == ABOUT


def test_npz_is_read_by_numpy_without_pickle():
    arrays = {"images": np.stack([picture(), picture(seed=1)]), "provenance": np.array([TEXT, TEXT])}
    with np.load(io.BytesIO(encode.npz(arrays)), allow_pickle=False) as found:
        assert np.array_equal(found["images"], arrays["images"])
        assert json.loads(str(found["provenance"][1])) == ABOUT


def film(format: str, count: int, height: int = 24, width: int = 40) -> bytes:
    made = encode.film(format, TEXT, 90)
    for i in range(count):
        made.add(picture(height, width, seed=i))
    return made.finish()


def test_mp4_has_every_frame_in_its_size_as_h264_with_provenance():
    with av.open(io.BytesIO(film("mp4", 7))) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert json.loads(container.metadata["comment"]) == ABOUT
        assert (stream.codec_context.name, stream.average_rate) == ("h264", encode.FPS)
    assert [frame.shape for frame in frames] == [(24, 40, 3)] * 7
    assert psnr(frames[0], picture()) > 24  # colour is stored at half resolution


def test_mp4_makes_odd_sides_even_by_repeating_the_last_pixels():
    with av.open(io.BytesIO(film("mp4", 3, 25, 41))) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert frames[0].shape == (26, 42, 3)
    assert np.abs(frames[0][-1].astype(int) - frames[0][-2]).mean() < 4


def test_opencv_reads_the_mp4_too(tmp_path):
    (tmp_path / "film.mp4").write_bytes(film("mp4", 7))
    capture = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 7
    capture.release()


def test_animated_webp_has_every_frame_repeats_for_ever_and_carries_provenance():
    with opened(film("webp", 7)) as image:
        assert (image.n_frames, image.size, image.info["loop"]) == (7, (40, 24), 0)
        image.load()
        assert image.info["duration"] == round(1000 / encode.FPS)
        assert xmp(image) == ABOUT


def test_a_grid_shows_every_tile_where_it_belongs():
    collage = Collage.squarish(5, 8, 8)  # 3 columns, 2 rows
    for i in range(5):
        collage.place(i, np.full((8, 8, 3), 40 * i, np.uint8))
    step = 8 + GRID_GAP
    assert collage.pixels.shape == (2 * step - GRID_GAP, 3 * step - GRID_GAP, 3)
    corners = [collage.pixels[i // 3 * step, i % 3 * step, 0] for i in range(5)]
    assert corners == [0, 40, 80, 120, 160]
    assert (collage.pixels[step:, 2 * step :] == encode.BACKGROUND).all()  # the sixth cell is empty


def test_a_grid_of_many_large_pictures_stays_within_its_limit():
    collage = Collage.squarish(1024, 1024, 1024)
    collage.place(1023, np.zeros((1024, 1024, 3), np.uint8))
    assert max(collage.pixels.shape) <= GRID_LIMIT
    assert collage.pixels[-1, -1].tolist() == [0, 0, 0]


@pytest.mark.parametrize("count", [1, 2, 12])
def test_a_loss_plot_is_a_png_for_any_number_of_curves(count):
    curves = [list(np.geomspace(1 + i, 0.1, 50)) for i in range(count)]
    with opened(plots.loss_curves(curves, "tiny: projection into W+")) as image:
        assert image.format == "PNG" and image.size == (864, 504)
        assert len(image.convert("RGB").getcolors(1 << 20)) > 10


def test_a_loss_plot_of_one_step_and_of_zero_loss_is_drawn():
    assert plots.loss_curves([[0.5]], "x").startswith(b"\x89PNG")
    assert plots.loss_curves([[0.5, 0.0]], "x").startswith(b"\x89PNG")
