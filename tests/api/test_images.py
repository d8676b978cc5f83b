import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from starlette.testclient import TestClient

from api.pictures import Decoder, sniffed
from jobs.blobs.directory import DirectoryBlobStore
from jobs.errors import BadImage
from jobs.schemas import ImageView

from . import pictures
from .conftest import encoded, png


def upload(client: TestClient, body: bytes, kind: str = "image/png") -> ImageView:
    reply = client.post("/v1/images", content=body, headers={"Content-Type": kind})
    assert reply.status_code in (200, 201), reply.text
    return ImageView.model_validate_json(reply.content)


def stored(client: TestClient, body: bytes, kind: str = "application/octet-stream") -> Image.Image:
    """The picture as the service understood it."""
    content = client.get(upload(client, body, kind).url).content
    image = Image.open(io.BytesIO(content))
    assert (image.format, image.mode) == ("PNG", "RGB")
    return image


def close(image: Image.Image, color: tuple[int, int, int], tolerance: int = 3) -> bool:
    pixels = np.asarray(image).astype(int)
    return bool(np.abs(pixels - np.array(color)).max() <= tolerance)


def test_an_upload_is_found_by_the_hash_of_what_is_stored(
    client: TestClient, blobs: DirectoryBlobStore
) -> None:
    reply = client.post("/v1/images", content=png(40, 30), headers={"Content-Type": "image/png"})
    view = ImageView.model_validate_json(reply.content)
    content = client.get(view.url).content

    assert reply.status_code == 201
    assert (view.width, view.height, view.media_type, view.size_bytes) == (40, 30, "image/png", len(content))
    assert view.sha256 == hashlib.sha256(content).hexdigest()
    assert view.id == f"img_{view.sha256}"
    assert reply.headers["location"].endswith(f"/v1/images/{view.id}")
    assert client.get(reply.headers["location"]).json() == reply.json()
    assert list(blobs.list("t/default")) == [f"t/default/i/{view.sha256}.png"]


def test_the_same_picture_again_is_200_and_the_same_image(client: TestClient) -> None:
    replies = [
        client.post("/v1/images", content=body, headers={"Content-Type": kind})
        for body, kind in ((png(), "image/png"), (png(compress_level=0), "image/png"))
    ]
    assert [reply.status_code for reply in replies] == [201, 200]
    assert replies[0].json() == replies[1].json()


def test_a_form_with_a_file_and_its_hash(client: TestClient) -> None:
    body = png()
    form = {"sha256": hashlib.sha256(body).hexdigest()}
    reply = client.post("/v1/images", files={"file": ("x.bin", body, "image/png")}, data=form)
    assert reply.status_code == 201
    assert client.post("/v1/images", files={"file": body}, data={"sha256": "0" * 64}).status_code == 422


def test_nothing_stays_in_the_upload_folder(client: TestClient, tmp_path: Path) -> None:
    upload(client, png())
    assert list((tmp_path / "var" / "uploads").iterdir()) == []


def test_6_2_23_a_zip_behind_the_picture_is_dropped(client: TestClient) -> None:
    content = client.get(upload(client, pictures.with_zip_behind(png())).url).content
    assert b"PK\x03\x04" not in content


def test_6_2_24_a_script_behind_a_jpeg_is_dropped(client: TestClient) -> None:
    body = encoded(Image.new("RGB", (32, 32)), "JPEG") + b"<script>alert(1)</script>"
    assert b"script" not in client.get(upload(client, body, "image/jpeg").url).content


def test_6_2_27_a_broken_profile_is_ignored(client: TestClient) -> None:
    assert close(stored(client, png(icc_profile=b"not a profile")), (0, 0, 0))


def test_a_profile_that_can_be_read_is_applied(client: TestClient) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    body = encoded(Image.new("RGB", (32, 32), (10, 200, 30)), "PNG", icc_profile=lab)
    assert close(stored(client, body), (10, 200, 30))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_6_2_28_every_orientation_is_applied(client: TestClient, orientation: int) -> None:
    """Against the standard's own words: which corner of the stored picture is the upper left one."""
    stored_pixels = np.zeros((48, 32, 3), np.uint8)
    stored_pixels[:8, :8] = 255  # row 0, column 0
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = encoded(Image.fromarray(stored_pixels), "PNG", exif=exif)

    image = np.asarray(stored(client, body))
    rows, columns = image.shape[:2]
    assert (rows, columns) == ((48, 32) if orientation <= 4 else (32, 48))
    # EXIF 2.3, 4.6.4.A: where row 0 and column 0 are seen, for orientations 1 to 8.
    top, left = {1: (1, 1), 2: (1, 0), 3: (0, 0), 4: (0, 1), 5: (1, 1), 6: (1, 0), 7: (0, 0), 8: (0, 1)}[
        orientation
    ]
    corner = image[0 if top else rows - 1, 0 if left else columns - 1]
    assert corner.tolist() == [255, 255, 255]
    assert (image == 255).all(axis=2).sum() == 64


def test_6_2_29_and_30_metadata_is_stripped(client: TestClient) -> None:
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (48.0, 51.0, 30.0)}
    exif[0x010E] = "a description"
    xmp = b"<?xpacket?><!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>"
    body = encoded(Image.new("RGB", (32, 32)), "JPEG", exif=exif, xmp=xmp, comment=b"hello")
    content = client.get(upload(client, body, "image/jpeg").url).content
    kinds = [content[i + 4 : i + 8] for i in chunk_starts(content)]
    assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}


def chunk_starts(data: bytes) -> list[int]:
    starts, at = [], 8
    while at < len(data):
        starts.append(at)
        at += 12 + int.from_bytes(data[at : at + 4])
    return starts


CMYK_RED = encoded(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "JPEG", quality=95)
SIXTEEN_BIT = encoded(Image.fromarray(np.full((32, 32), 32896, np.uint16)), "PNG")
CLEAR_RED = encoded(Image.new("RGBA", (32, 32), (255, 0, 0, 0)), "WEBP", exact=True)
LOSSLESS = encoded(Image.new("RGB", (32, 32), (9, 99, 199)), "WEBP", lossless=True)


@pytest.mark.parametrize(
    ("what", "body", "color"),
    [
        ("6.2.31 CMYK", CMYK_RED, (254, 0, 0)),
        ("6.2.32 16 bit", SIXTEEN_BIT, (128, 128, 128)),
        ("6.2.33 palette", encoded(Image.new("P", (32, 32), 0), "PNG", transparency=0), (255, 255, 255)),
        ("6.2.34 LA", encoded(Image.new("LA", (32, 32), (0, 128)), "PNG"), (127, 127, 127)),
        ("6.2.34 RGBA", CLEAR_RED, (255, 255, 255)),
        ("6.2.35 1 bit", encoded(Image.new("1", (32, 32), 1), "PNG"), (255, 255, 255)),
        ("6.2.43 all black", png(), (0, 0, 0)),
        ("WebP", LOSSLESS, (9, 99, 199)),
    ],
)
def test_every_kind_of_picture_becomes_8_bit_rgb(
    client: TestClient, what: str, body: bytes, color: tuple[int, int, int]
) -> None:
    assert close(stored(client, body), color), what


def test_6_2_37_an_interlaced_picture_is_read(client: TestClient) -> None:
    gradient = np.arange(64 * 64, dtype=np.uint32).reshape(64, 64) % 251
    pixels = gradient.astype(np.uint8)
    assert np.array_equal(np.asarray(stored(client, interlaced(pixels)))[..., 0], pixels)


def interlaced(pixels: np.ndarray) -> bytes:
    """`pixels` (H, W) as a grey PNG in Adam7 order, which Pillow reads but does not write."""
    import struct
    import zlib

    passes = (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    )
    rows = b"".join(
        b"".join(b"\0" + row.tobytes() for row in pixels[top::down, left::right])
        for top, left, down, right in passes
    )
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 0, 0, 0, 1)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return pictures.SIGNATURE + b"".join(pictures.chunk(kind, data) for kind, data in parts)


def test_6_2_39_the_content_wins_over_the_name(client: TestClient) -> None:
    reply = client.post("/v1/images", files={"file": ("a.gif", png(), "application/octet-stream")})
    assert reply.status_code == 201


def test_a_picture_that_takes_too_long_is_cut_off(tmp_path: Path) -> None:
    """The limit on CPU: noise of 16 megapixels takes seconds, and is given one."""
    noise = np.random.default_rng(0).integers(0, 255, (3900, 4000, 3), dtype=np.uint8)
    (tmp_path / "noise.png").write_bytes(encoded(Image.fromarray(noise), "PNG", compress_level=0))
    with pytest.raises(BadImage, match="too long"):
        Decoder(cpu_s=1).reencode(tmp_path / "noise.png", tmp_path / "out.png")


def test_a_child_that_hangs_is_ended(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    with pytest.raises(BadImage, match="too long"):
        Decoder(wall_s=0.001).reencode(tmp_path / "a.png", tmp_path / "out.png")


def test_the_child_inherits_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    real = __import__("subprocess").run

    def spy(*arguments: object, **options: object) -> object:
        seen.update(options)
        return real(*arguments, **options)

    monkeypatch.setattr("api.pictures.subprocess.run", spy)
    (tmp_path / "a.png").write_bytes(png())
    Decoder().reencode(tmp_path / "a.png", tmp_path / "out.png")
    assert seen["env"] == {}


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "ICO", "DDS", "PDF", "ICNS"])
def test_the_table_of_signatures_knows_what_pillow_writes(format: str) -> None:
    assert sniffed(encoded(Image.new("RGB", (32, 32)), format)[:64]) is not None
